//! A borrowed view of one request, and what only the gateway can say about it.

use std::borrow::Cow;

use tollgate_core::price::Price;

/// What the gateway can be asked about the request at hand. Each answer costs a call into the gateway, so ask once.
pub trait Gateway {
    /// A property of the request, such as `source.address`; the path's segments are separated by zero bytes.
    fn property(&self, path: &str) -> Option<Vec<u8>>;
    /// The request target as the client sent it, if the pseudo-header `:path` is something else.
    fn target(&self) -> Option<Vec<u8>> {
        None
    }
    /// A request header by its lower-case name, for when [`Headers`] may not have it.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// All lines of that header, joined by commas if there are several.
    fn header_lines(&self, name: &str) -> Option<Vec<u8>> {
        self.header(name)
    }
    /// Who is calling, where the host itself knows; then no source of the policy is read.
    fn introduced(&self) -> Option<Introduced<'_>> {
        None
    }
    /// What the request costs, where the host itself knows; then no price of the policy is read.
    fn price(&self) -> Option<Price> {
        None
    }
}

/// A client, as a host introduces it that knows who is calling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Introduced<'a> {
    /// The consumer's name; without one the client is anonymous.
    pub consumer: Option<&'a [u8]>,
    /// What may name the consumer's tier, as a source of the policy would: a name, or several with commas between them.
    pub tier: Option<&'a [u8]>,
}

/// All request headers, pseudo-headers included, in the bytes that the gateway hands over in one call: the number of pairs, two
/// lengths per pair, and then every name and value, each followed by a zero byte.
///
/// They are read in place, and only as far as needed, because most headers of a request do not matter here. Reading never
/// leaves the buffer, whatever lengths it claims.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    lengths: &'a [[u8; 8]],
    texts: &'a [u8],
    /// Whether there are other headers, for which the gateway has to be asked by name.
    is_part: bool,
}

impl<'a> Headers<'a> {
    /// The headers in `bytes`, as far as they are well formed.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        let Some((count, rest)) = bytes.split_first_chunk() else {
            return Self { lengths: &[], texts: &[], is_part: false };
        };
        // The lengths of all pairs have to fit, so a false count does no harm.
        let (all, _) = rest.as_chunks();
        let lengths = all.get(..u32::from_le_bytes(*count) as usize).unwrap_or(all);
        let texts = rest.get(lengths.len().saturating_mul(8)..).unwrap_or_default();
        Self { lengths, texts, is_part: false }
    }

    /// The headers in `bytes`, which are not all that the request has.
    #[must_use]
    pub fn part(bytes: &'a [u8]) -> Self {
        Self { is_part: true, ..Self::new(bytes) }
    }

    /// Names and values in the order in which they came. Kong keeps the client's case of names, Envoy has lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let texts = self.texts;
        self.places().map_while(move |place| Some((place.name(texts)?, place.value(texts)?)))
    }

    /// The names, in that order.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let texts = self.texts;
        self.places().map_while(move |place| place.name(texts))
    }

    /// The values of all lines of the header with this lower-case `name`, in the order in which they came.
    pub fn values<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let texts = self.texts;
        // Most names differ in length, and then their bytes are not compared.
        self.places()
            .filter(|place| place.name_length == name.len() as u64)
            .filter(move |place| place.name(texts).is_some_and(|key| is_called(key, name)))
            .filter_map(move |place| place.value(texts))
    }

    /// Whether the request has headers that are not here.
    #[must_use]
    pub const fn is_part(&self) -> bool {
        self.is_part
    }

    /// The places at which the pairs claim to be.
    fn places(&self) -> impl Iterator<Item = Place> + use<'a> {
        self.lengths.iter().scan(0_u64, |next, both| {
            let both = u64::from_le_bytes(*both);
            let place = Place { starts: *next, name_length: both & 0xFFFF_FFFF, value_length: both >> 32 };
            // A buffer fits at most 2²⁹ pairs, whose lengths do not wrap 64 bits.
            *next = place.value_starts().wrapping_add(place.value_length).wrapping_add(1);
            Some(place)
        })
    }
}

/// The place at which a pair claims to be in the texts.
#[derive(Clone, Copy)]
struct Place {
    starts: u64,
    name_length: u64,
    value_length: u64,
}

impl Place {
    const fn value_starts(self) -> u64 {
        self.starts.wrapping_add(self.name_length).wrapping_add(1)
    }

    fn name(self, texts: &[u8]) -> Option<&[u8]> {
        text(texts, self.starts, self.name_length)
    }

    fn value(self, texts: &[u8]) -> Option<&[u8]> {
        text(texts, self.value_starts(), self.value_length)
    }
}

/// The text that starts at `starts` in `texts`, if it and its zero byte are there.
fn text(texts: &[u8], starts: u64, length: u64) -> Option<&[u8]> {
    let ends = starts.wrapping_add(length);
    // From here on, all numbers fit a `usize`.
    if ends >= texts.len() as u64 {
        return None;
    }
    texts.get(starts as usize..ends as usize)
}

/// Whether `key` is the lower-case `name` in any case. This is asked of every header of a request, and the length or the last
/// letter almost always rules it out.
fn is_called(key: &[u8], name: &[u8]) -> bool {
    let last = |text: &[u8]| text.last().map_or(0, |byte| byte | 0x20);
    key.len() == name.len()
        && last(key) == last(name)
        && (is_same(key, name) || key.eq_ignore_ascii_case(name))
}

/// Whether two texts of one length are the same, eight bytes at a time: the C library for Wasm compares single bytes.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((chunks, rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let word = |chunk: &[u8; 8]| u64::from_le_bytes(*chunk);
    chunks.iter().zip(others).all(|(one, other)| word(one) == word(other))
        && rest.iter().zip(other_rest).all(|(one, other)| one == other)
}

/// One request.
#[derive(Clone)]
pub struct Request<'a, G> {
    /// The method; empty if the gateway does not say.
    pub method: &'a [u8],
    /// The pseudo-header `:path`, with the query. Not every gateway routes by it; see [`Request::target`].
    pub path: &'a [u8],
    /// All headers.
    pub headers: Headers<'a>,
    /// The gateway, to ask for the rest.
    pub gateway: &'a G,
}

impl<'a, G: Gateway> Request<'a, G> {
    /// The request that `headers` describe.
    #[must_use]
    pub fn new(headers: Headers<'a>, gateway: &'a G) -> Self {
        let (mut method, mut path): (&[u8], &[u8]) = (b"", b"");
        // Pseudo-headers come first. The second of two with one name would be a forgery.
        for (name, value) in headers.iter().take_while(|(name, _)| name.starts_with(b":")) {
            match name {
                b":method" if method.is_empty() => method = value,
                b":path" if path.is_empty() => path = value,
                _ => {}
            }
        }
        Self { method, path, headers, gateway }
    }

    /// The request target by which the gateway routes, with the query. The gateway is asked whether it is not the
    /// pseudo-header.
    #[must_use]
    pub fn target(&self) -> Cow<'a, [u8]> {
        self.gateway.target().map_or(Cow::Borrowed(self.path), Cow::Owned)
    }

    /// The value of the header with this lower-case `name`. Of several lines the last counts: a proxy that adds a line without
    /// removing the client's adds it behind.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        match self.headers.values(name.as_bytes()).last() {
            Some(value) => Some(value.into()),
            None if self.headers.is_part() => self.gateway.header(name).map(Into::into),
            None => None,
        }
    }

    /// What `find` finds first in the lines of the header with this lower-case `name`, which is a list: its lines are one list
    /// (RFC 9110, 5.3).
    pub fn find_in_list<T>(&self, name: &str, mut find: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let found = self.headers.values(name.as_bytes()).find_map(&mut find);
        if found.is_some() || !self.headers.is_part() {
            return found;
        }
        find(&self.gateway.header_lines(name)?)
    }
}

#[cfg(test)]
#[allow(missing_docs)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// `pairs`, in the form in which a gateway hands them over.
    pub fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
        let word = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
        let mut bytes = word(pairs.len()).to_vec();
        for (name, value) in pairs {
            bytes.extend([word(name.len()), word(value.len())].concat());
        }
        for (name, value) in pairs {
            bytes.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
        }
        bytes
    }

    /// A consumer and its tier.
    pub type Introduction = (Option<Vec<u8>>, Option<Vec<u8>>);

    /// A gateway that answers from two tables.
    #[derive(Default)]
    pub struct Answers {
        pub properties: HashMap<String, Vec<u8>>,
        pub target: Option<Vec<u8>>,
        pub headers: HashMap<String, Vec<u8>>,
        pub introduced: Option<Introduction>,
        pub price: Option<Price>,
    }

    impl Gateway for Answers {
        fn property(&self, path: &str) -> Option<Vec<u8>> {
            self.properties.get(&path.replace('\0', ".")).cloned()
        }
        fn target(&self) -> Option<Vec<u8>> {
            self.target.clone()
        }
        fn header(&self, name: &str) -> Option<Vec<u8>> {
            self.headers.get(name).cloned()
        }
        fn introduced(&self) -> Option<Introduced<'_>> {
            let (consumer, tier) = self.introduced.as_ref()?;
            Some(Introduced { consumer: consumer.as_deref(), tier: tier.as_deref() })
        }
        fn price(&self) -> Option<Price> {
            self.price
        }
    }

    #[test]
    fn headers_come_out_as_they_went_in() {
        let bytes =
            pairs(&[(":method", "GET"), (":path", "/a?b"), ("X-Empty", ""), ("x-two", "1"), ("x-two", "2")]);
        let gateway = Answers::default();
        let request = Request::new(Headers::new(&bytes), &gateway);
        assert_eq!((request.method, request.path), (b"GET".as_slice(), b"/a?b".as_slice()));
        assert_eq!(request.header("x-empty").as_deref(), Some(b"".as_slice()));
        assert_eq!(request.header("x-two").as_deref(), Some(b"2".as_slice()), "who comes last has added it");
        let lines: Vec<_> = request.headers.values(b"x-two").collect();
        assert_eq!(lines, [b"1", b"2"]);
        assert_eq!(request.header("x-none"), None);
        assert_eq!(request.headers.iter().count(), 5);
    }

    #[test]
    fn a_second_path_is_a_forgery() {
        let bytes = pairs(&[(":method", "GET"), (":path", "/compare"), ("a", "b"), (":path", "/health")]);
        assert_eq!(Request::new(Headers::new(&bytes), &Answers::default()).path, b"/compare");
    }

    #[test]
    fn a_header_that_is_not_in_a_part_is_asked_for() {
        let bytes = pairs(&[(":method", "GET"), (":path", "/")]);
        let gateway =
            Answers { headers: [("x-consumer".into(), b"acme".to_vec())].into(), ..Answers::default() };
        assert_eq!(
            Request::new(Headers::part(&bytes), &gateway).header("x-consumer").as_deref(),
            Some(b"acme".as_slice())
        );
        assert_eq!(
            Request::new(Headers::new(&bytes), &gateway).header("x-consumer"),
            None,
            "no call into the host"
        );
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_read_within_their_bounds(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0_u32..20, cut in 0_usize..200,
        ) {
            let _ = Headers::new(&bytes).iter().count();
            if let Some(head) = bytes.first_chunk_mut::<4>() {
                *head = count.to_le_bytes();
            }
            for (name, value) in Headers::new(&bytes).iter() {
                prop_assert!(name.len() + value.len() <= bytes.len());
            }
            let good = pairs(&[("a", "bb"), ("ccc", "dddd")]);
            let cut = &good[..cut.min(good.len())];
            prop_assert!(Headers::new(cut).iter().count() <= 2);
        }
    }
}
