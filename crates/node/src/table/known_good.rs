//! The last good policy of each namespace, as text in the node's shared data.
//!
//! Kong loads a policy even if its meaning is wrong. A worker that starts under such a policy, as after a crash, continues with
//! the last good policy of its namespace. The text is kept in pieces of one size, which are written once, before the table's
//! slots, and only ever replaced. A value in Kong's shared data must not grow, and a zone that is too small for both then drops
//! these pieces and no client's record.
//!
//! ```text
//! area 0 │ head: namespace, length, checksum │ piece 1 │ piece 2 │ …     7 areas, one per namespace
//! ```

use super::marker::checksum;
use super::{Expected, Read, SharedData, SlotKey, Write};

/// How many namespaces have room on a node.
const AREAS: u8 = 7;
/// How many values an area has, its head included.
const PIECES: u8 = 32;
/// With the key and what Kong's zones add, a value takes a piece of 1,024 bytes, as the table's slots do.
const PIECE_BYTES: usize = 896;
const MAGIC: [u8; 4] = *b"TGp\x01";

/// The longest policy that is kept, in bytes.
pub const MAX_BYTES: usize = (PIECES as usize - 1) * PIECE_BYTES;
/// How many values all areas have.
pub const VALUES: u32 = AREAS as u32 * PIECES as u32;

/// Workers that keep different texts at the same time agree on one within fewer rounds, unless the host breaks its rules.
const MAX_TRIES: u32 = 8;

/// The last good policy of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastGood {
    /// This policy.
    Text(Vec<u8>),
    /// There was none since the gateway was started.
    Never,
    /// There may have been one that was too long to be kept, or had no room.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    namespace: u64,
    length: u32,
    sum: u64,
}

impl Head {
    fn of(namespace: &str, text: &[u8]) -> Self {
        Self {
            namespace: checksum(namespace.as_bytes()),
            // Of a text that is too long, only the head is kept.
            length: u32::try_from(text.len()).unwrap_or(u32::MAX),
            sum: checksum(text),
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = [
            MAGIC.as_slice(),
            &self.length.to_le_bytes(),
            &self.namespace.to_le_bytes(),
            &self.sum.to_le_bytes(),
        ]
        .concat();
        bytes.resize(PIECE_BYTES, 0);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (namespace, rest) = rest.split_first_chunk()?;
        let (sum, _) = rest.split_first_chunk()?;
        (*magic == MAGIC).then(|| Self {
            namespace: u64::from_le_bytes(*namespace),
            length: u32::from_le_bytes(*length),
            sum: u64::from_le_bytes(*sum),
        })
    }
}

/// The key of a piece, of which the head is number 0. No slot's name has a tilde.
const fn key(area: u8, piece: u8) -> SlotKey {
    SlotKey::named([b'p', b'A'.saturating_add(area), b'A'.saturating_add(piece), b'~'])
}

/// The keys of all pieces.
pub fn keys() -> impl Iterator<Item = SlotKey> {
    (0..AREAS).flat_map(|area| (0..PIECES).map(move |piece| key(area, piece)))
}

/// Makes room for all pieces. Call it on a node that has no table yet: later it might cost a client's record.
pub fn reserve(data: &impl SharedData) {
    for key in keys() {
        if data.set(&key, &[0; PIECE_BYTES], Expected::Missing) == Write::Failed {
            return;
        }
    }
}

/// Keeps `text` as the last good policy of `namespace`, if there is room for it.
#[inline(never)]
pub fn keep(data: &impl SharedData, namespace: &str, text: &[u8]) {
    let head = Head::of(namespace, text);
    for _ in 0..MAX_TRIES {
        let Place::At(area, version, held) = place(data, head.namespace) else { return };
        if held == Some(head) && (text.len() > MAX_BYTES || read(data, area, head).is_some()) {
            return;
        }
        if data.set(&key(area, 0), &head.to_bytes(), Expected::Version(version)) != Write::Done {
            continue;
        }
        if text.len() <= MAX_BYTES {
            write(data, area, text);
        }
    }
}

/// The last good policy of `namespace`.
#[inline(never)]
pub fn last_good(data: &impl SharedData, namespace: &str) -> LastGood {
    match place(data, checksum(namespace.as_bytes())) {
        Place::At(_, _, None) => LastGood::Never,
        Place::At(area, _, Some(head)) => read(data, area, head).map_or(LastGood::Unknown, LastGood::Text),
        Place::None => LastGood::Unknown,
    }
}

/// The place of a namespace.
enum Place {
    /// The area, the version of its head, and the head; `None` if the area is free.
    At(u8, u32, Option<Head>),
    /// Other namespaces have all areas, or the areas were never made.
    None,
}

#[inline(never)]
fn place(data: &impl SharedData, namespace: u64) -> Place {
    let mut free = Place::None;
    for area in 0..AREAS {
        let Read::Value(bytes, version) = data.get(&key(area, 0)) else { return Place::None };
        match Head::from_bytes(&bytes) {
            Some(head) if head.namespace == namespace => return Place::At(area, version, Some(head)),
            None if matches!(free, Place::None) => free = Place::At(area, version, None),
            _ => {}
        }
    }
    free
}

fn write(data: &impl SharedData, area: u8, text: &[u8]) {
    for (piece, part) in (1..PIECES).zip(text.chunks(PIECE_BYTES)) {
        let key = key(area, piece);
        if let Read::Value(_, version) = data.get(&key) {
            let mut bytes = part.to_vec();
            bytes.resize(PIECE_BYTES, 0);
            data.set(&key, &bytes, Expected::Version(version));
        }
    }
}

/// The text of `head`, if all of it is there.
#[inline(never)]
fn read(data: &impl SharedData, area: u8, head: Head) -> Option<Vec<u8>> {
    let length = usize::try_from(head.length).ok().filter(|length| *length <= MAX_BYTES)?;
    let mut text = Vec::with_capacity(length);
    for piece in 1..PIECES {
        if text.len() >= length {
            break;
        }
        let Read::Value(bytes, _) = data.get(&key(area, piece)) else { return None };
        text.extend_from_slice(&bytes);
    }
    text.truncate(length);
    (checksum(&text) == head.sum).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fake, Rules};
    use super::*;

    fn kong() -> Fake {
        let data = Fake::new(Rules::Kong);
        reserve(&data);
        data
    }

    fn text(of: &str) -> LastGood {
        LastGood::Text(of.as_bytes().to_vec())
    }

    #[test]
    fn each_namespace_has_its_last_policy() {
        let data = kong();
        assert_eq!(last_good(&data, "a"), LastGood::Never);
        let long = "x".repeat(MAX_BYTES);
        for (namespace, policy) in [("a", "old"), ("b", long.as_str()), ("a", "new"), ("c", "")] {
            keep(&data, namespace, policy.as_bytes());
            assert_eq!(last_good(&data, namespace), text(policy), "{namespace}");
        }
        assert_eq!((last_good(&data, "a"), last_good(&data, "b")), (text("new"), text(&long)));
        assert_eq!(last_good(&data, "d"), LastGood::Never);
    }

    #[test]
    fn what_has_no_room_is_not_taken_for_what_never_was() {
        let data = kong();
        keep(&data, "long", "x".repeat(MAX_BYTES + 1).as_bytes());
        assert_eq!(last_good(&data, "long"), LastGood::Unknown);
        keep(&data, "long", b"short");
        assert_eq!(last_good(&data, "long"), text("short"));
        for number in 0..20 {
            keep(&data, &format!("namespace-{number}"), b"policy");
        }
        assert_eq!(last_good(&data, "namespace-5"), text("policy"));
        assert_eq!(last_good(&data, "namespace-6"), LastGood::Unknown);
    }

    #[test]
    fn nothing_is_added_once_the_table_is_there_and_no_value_changes_its_size() {
        let none = Fake::new(Rules::Kong);
        keep(&none, "a", b"policy");
        assert_eq!((none.writes.get(), last_good(&none, "a")), (0, LastGood::Unknown));

        let data = kong();
        keep(&data, "a", "policy ".repeat(1_000).as_bytes());
        for key in keys() {
            let Read::Value(bytes, _) = data.get(&key) else { panic!("{key:?} is gone") };
            assert_eq!(bytes.len(), PIECE_BYTES);
        }
        assert_eq!(keys().count(), VALUES as usize);
    }

    #[test]
    fn a_text_of_which_a_part_is_another_is_none() {
        let data = kong();
        keep(&data, "a", "a".repeat(2_000).as_bytes());
        let Read::Value(_, version) = data.get(&key(0, 2)) else { panic!() };
        data.set(&key(0, 2), &[b'b'; PIECE_BYTES], Expected::Version(version));
        assert_eq!(last_good(&data, "a"), LastGood::Unknown);
        keep(&data, "a", "a".repeat(2_000).as_bytes());
        assert_eq!(last_good(&data, "a"), text(&"a".repeat(2_000)), "and the next worker mends it");
    }

    #[test]
    fn the_same_policy_is_written_once() {
        let data = kong();
        keep(&data, "a", b"policy");
        let writes = data.writes.get();
        keep(&data, "a", b"policy");
        assert_eq!(data.writes.get(), writes);
    }
}
