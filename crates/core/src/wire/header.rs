//! A batch in a header instead of a body.
//!
//! A request must not make a call with a body on Kong's host. If no answer comes, the host sends the spent buffer as the
//! request's next bytes, and the client gets nothing, or the worker loops for ever. So a request asks by a `POST` without a
//! body, whose header [`NAME`] is its batch in base64url without padding ([RFC 4648, 5](https://www.rfc-editor.org/rfc/rfc4648#section-5)).
//! It is a `POST` because nobody repeats or caches one: a repeated charge would count twice.

use super::{Batch, Entry};

/// The header's name.
pub const NAME: &str = "tollgate-batch";

/// The longest message in a header, in bytes, as far as the policy can make it long. It takes 4,000 characters, half of the
/// line that proxies commonly accept.
pub const LONGEST: usize = 3_000;

impl Batch {
    /// The header's value for a batch of one entry. If all offers would be too long, it has only the entry's own; the others
    /// come with the next tick.
    #[must_use]
    pub fn to_header(&self) -> String {
        let all = self.to_bytes();
        match self.entries.first() {
            Some(entry) if all.len() > LONGEST => encode(&self.with_one_offer(entry).to_bytes()),
            _ => encode(&all),
        }
    }

    fn with_one_offer(&self, entry: &Entry) -> Self {
        Self {
            namespace: self.namespace.clone(),
            offers: self.offers.get(usize::from(entry.offer)).into_iter().cloned().collect(),
            entries: vec![Entry { offer: 0, ..entry.clone() }],
            ..*self
        }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// `bytes` in base64url.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=chunk.len() {
            let shift = 18_usize.saturating_sub(digit.saturating_mul(6));
            let digit = DIGITS.get((word >> shift & 63) as usize);
            text.push(char::from(digit.copied().unwrap_or_default()));
        }
    }
    text
}

/// The bytes in `text`, if it is base64url.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len().div_ceil(4).saturating_mul(3));
    for chunk in text.chunks(4) {
        let mut word = 0_u32;
        for place in 0..4 {
            let digit = match chunk.get(place) {
                Some(digit) => value(*digit)?,
                None => 0,
            };
            word = word << 6 | digit;
        }
        let [_, first, second, third] = word.to_be_bytes();
        // One digit alone is no byte, and bits beyond the last byte are none of anybody's.
        match (chunk.len(), second, third) {
            (4, ..) => bytes.extend([first, second, third]),
            (3, _, 0) => bytes.extend([first, second]),
            (2, 0, 0) => bytes.push(first),
            _ => return None,
        }
    }
    Some(bytes)
}

/// What a digit stands for.
fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit.wrapping_sub(b'A'),
        b'a'..=b'z' => digit.wrapping_sub(b'a').wrapping_add(26),
        b'0'..=b'9' => digit.wrapping_sub(b'0').wrapping_add(52),
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
#[allow(missing_docs)]
mod tests {
    use super::*;
    use crate::name::MAX_NAME;
    use crate::terms::{Offer, Rate};
    use proptest::prelude::*;

    fn offer(name: &str) -> Offer {
        let rate = Rate { units: 1_000_000_000, seconds: 86_400, burst: 100_000 };
        Offer { tier: name.into(), rates: vec![rate; 3], monthly: Some(u64::MAX) }
    }

    /// A batch of one entry, as long as the lists and numbers in it can be.
    fn batch(tiers: usize, name: usize) -> Batch {
        let entry = Entry {
            name: Some(vec![0xFF; name]),
            offer: u8::try_from(tiers - 1).unwrap(),
            ..Entry::default()
        };
        let offers = (0..tiers).map(|number| offer(&format!("{number:064}"))).collect();
        Batch { namespace: "n".repeat(64), node: u64::MAX, revision: u64::MAX, offers, entries: vec![entry] }
    }

    #[test]
    fn it_is_the_base64url_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(encode(&[0xFB, 0xFF]), "-_8");
        for wrong in ["Z", "Zm9vY", "Zg==", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm 9", "Zm9v\n"] {
            assert_eq!(decode(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_policy_of_few_tiers_tells_of_all_of_them() {
        let batch = batch(4, 20);
        let bytes = decode(batch.to_header().as_bytes()).unwrap();
        assert_eq!(Batch::from_bytes(&bytes), Ok(batch));
    }

    #[test]
    fn the_longest_question_fits_a_line_and_keeps_what_it_asks() {
        let batch = batch(65, MAX_NAME);
        let header = batch.to_header();
        assert!(header.len() <= 4 * LONGEST / 3, "{}", header.len());
        let sent = Batch::from_bytes(&decode(header.as_bytes()).unwrap()).unwrap();
        assert_eq!(sent.offers, [batch.offers[64].clone()]);
        assert_eq!(sent.entries, [Entry { offer: 0, ..batch.entries[0].clone() }]);
        assert_eq!((sent.namespace, sent.node, sent.revision), (batch.namespace, batch.node, batch.revision));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }

        #[test]
        fn hostile_text_is_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes).into_bytes(), text, "one text for each");
            }
        }
    }
}
