//! How a consumer's name is written wherever it is text: in JSON, in CSV, in URLs, in the log of changes.
//!
//! A gateway passes on any bytes as a consumer's name. These rules give each name one text, and no two consumers the same:
//!
//! - A name of at most 1,024 bytes is written as it is if it is UTF-8 without control characters and does not begin with
//!   `%:`.
//! - Any other name of at most 1,024 bytes is written as `%:` and its bytes, of which `%`, `~` and those that are not such
//!   text are percent-encoded: `%:caf%E9`.
//! - A longer name is written as `%:`, its first 64 bytes encoded in the same way, `~`, and its [number](ClientId) in 32
//!   hexadecimal digits.
//!
//! Gateways send the store a long name in its third form, since no record has room for it, and all others as their bytes.

use std::borrow::Cow;
use std::fmt::Write;

use crate::client::{Client, ClientId, Namespace};

/// The longest name of a namespace or consumer, bytes.
pub const MAX_NAME: usize = 1_024;

/// The beginning of a name that is not written as it is.
const MARK: &str = "%:";

/// The character between the beginning of a long name and its number.
const CUT: char = '~';

/// How many bytes of a long name are kept.
const KEPT: usize = 64;

/// The longest text that is read as a name, in characters. Every text that is written is shorter.
pub const MAX_TEXT: usize = 4_096;

/// A consumer as a text names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its number.
    pub client: ClientId,
    /// The name as accounts keep it.
    pub stored: Vec<u8>,
    /// The only text that the name is written as.
    pub text: String,
    /// Whether the text had all of the name. A long name's may have had only the beginning, which nobody has compared.
    pub is_whole: bool,
}

/// What a gateway sends the store as the name of `client`, whose name is `name`.
#[must_use]
pub fn as_sent(name: &[u8], client: ClientId) -> Cow<'_, [u8]> {
    if name.len() <= MAX_NAME { Cow::Borrowed(name) } else { Cow::Owned(long(name, client).into_bytes()) }
}

/// Whether `stored` is what a gateway sends as the name of `client` in `namespace`.
#[must_use]
pub fn is_of(stored: &[u8], client: ClientId, namespace: &Namespace) -> bool {
    number_in(stored) == Some(client) || namespace.id(&Client::Consumer(stored)) == client
}

/// The text of the stored name of `client`.
#[must_use]
pub fn text(stored: &[u8], client: ClientId) -> Cow<'_, str> {
    match std::str::from_utf8(stored) {
        Ok(text) if is_plain(text) || number_in(stored) == Some(client) => Cow::Borrowed(text),
        _ => Cow::Owned(format!("{MARK}{}", Encoded(stored))),
    }
}

/// The consumer of `namespace` that `text` names; `None` if no consumer is written like that.
#[must_use]
pub fn read(text: &str, namespace: &Namespace) -> Option<Named> {
    if let Some(client) = number_in(text.as_bytes()) {
        return Some(Named { client, stored: text.into(), text: text.to_owned(), is_whole: false });
    }
    let name = bytes(text)?;
    let client = namespace.id(&Client::Consumer(&name));
    let stored = as_sent(&name, client);
    let text = self::text(&stored, client).into_owned();
    Some(Named { client, stored: stored.into_owned(), text, is_whole: true })
}

/// The name that is written as `text`, if the text has all of it.
#[must_use]
pub fn bytes(text: &str) -> Option<Cow<'_, [u8]>> {
    if text.is_empty() {
        return None;
    }
    let Some(encoded) = text.strip_prefix(MARK) else {
        return is_plain(text).then_some(Cow::Borrowed(text.as_bytes()));
    };
    let name = decoded(encoded).filter(|name| !name.is_empty() && name.len() <= MAX_NAME)?;
    // Only its one spelling counts, and only if needed.
    let is_as_it_is = std::str::from_utf8(&name).is_ok_and(is_plain);
    (!is_as_it_is && Encoded(&name).to_string() == encoded).then_some(Cow::Owned(name))
}

/// The encoded text of a name: what to write instead of `text`, which is not a name's text, to name just these bytes.
#[must_use]
pub fn spelled(text: &[u8]) -> String {
    format!("{MARK}{}", Encoded(text))
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(MARK) && !text.contains(char::is_control)
}

fn long(name: &[u8], client: ClientId) -> String {
    let kept = name.get(..KEPT).unwrap_or(name);
    format!("{MARK}{}{CUT}{client}", Encoded(kept))
}

/// The number in the text of a long name; `None` if it is not one.
fn number_in(text: &[u8]) -> Option<ClientId> {
    const MOST: usize = MARK.len() + 3 * KEPT + 1 + 32;
    if text.len() > MOST {
        return None;
    }
    let (kept, number) = std::str::from_utf8(text).ok()?.strip_prefix(MARK)?.split_once(CUT)?;
    let client = ClientId(u128::from_str_radix(number, 16).ok()?.to_be_bytes());
    let name = decoded(kept).filter(|name| name.len() == KEPT)?;
    // Number and name each have one spelling.
    (client.to_string() == number && Encoded(&name).to_string() == kept).then_some(client)
}

/// Bytes as text: invalid UTF-8, control characters and the characters that [`decoded`] and [`number_in`] read are
/// percent-encoded.
struct Encoded<'a>(&'a [u8]);

impl std::fmt::Display for Encoded<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let encode = |bytes: &[u8], out: &mut std::fmt::Formatter<'_>| {
            bytes.iter().try_for_each(|byte| write!(out, "%{byte:02X}"))
        };
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if char.is_control() || char == '%' || char == CUT {
                    encode(char.encode_utf8(&mut [0; 4]).as_bytes(), out)?;
                } else {
                    out.write_char(char)?;
                }
            }
            encode(chunk.invalid(), out)?;
        }
        Ok(())
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let ([high, low], after) = rest.split_first_chunk()?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = digit(*high)?.checked_mul(16)?.checked_add(digit(*low)?)?;
        bytes.push(u8::try_from(byte).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
