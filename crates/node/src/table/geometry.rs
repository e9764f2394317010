//! How many slots there are, what they are called, and how much memory they take.

use super::fingerprint::Fingerprint;
use super::known_good;
use super::slot::{SLOT_BYTES, WAYS};

/// The letter of this layout of slots. It is in every slot's key, so that a filter with another layout, which may run beside
/// this one during an upgrade, has other keys and never meets a value of another size. A table of more than 64³ slots uses the
/// next letter as well.
const LAYOUT: u8 = b'f';

/// 64 characters, six bits each.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The most slots that three characters, and the one after the layout's letter, can name.
const MAX_SLOTS: u32 = 2 * 64 * 64 * 64;

/// There is a slot of 7 ways for every three clients of `memory.clients`, and one for anonymous clients for every 16. Then
/// about six in a thousand clients find their slot full.
const CLIENTS_PER_SLOT: u64 = 3;
const CLIENTS_PER_ANONYMOUS_SLOT: u64 = 16;

/// How Kong's zones store a value: with a node of 96 bytes and the key, rounded up to the next power of two. A page of 4,096
/// bytes has 4 such pieces, and itself costs 24 bytes in the zone's directory.
const KONG_PIECE: u64 = 1_024;
const KONG_PAGE: u64 = 4_096;
const KONG_PAGE_ENTRY: u64 = 24;
const KONG_ZONE_HEAD: u64 = 16 * KONG_PAGE;
const _: () = assert!(SLOT_BYTES + 96 + SlotKey::LENGTH <= KONG_PIECE as usize);

/// The key of one slot: `tollgate/` and four characters.
///
/// Kong finds keys by their CRC32 alone. Keys with a fixed text followed by 32 bits that vary have different CRC32s, so Kong
/// can tell all of them apart (a test tries every one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotKey([u8; Self::LENGTH]);

impl SlotKey {
    const LENGTH: usize = 13;

    /// The key `tollgate/` and `name`. It is no slot's key if `name` has a character outside of the alphabet.
    #[must_use]
    pub const fn named(name: [u8; 4]) -> Self {
        let [a, b, c, d] = name;
        Self([b't', b'o', b'l', b'l', b'g', b'a', b't', b'e', b'/', a, b, c, d])
    }

    fn numbered(index: u32) -> Self {
        let digit = |shift: u32| {
            let six_bits = (index >> shift) & 63;
            ALPHABET.get(six_bits as usize).copied().unwrap_or(b'A')
        };
        let first = LAYOUT.saturating_add(u8::from(index >= 64 * 64 * 64));
        Self::named([first, digit(12), digit(6), digit(0)])
    }

    /// The key's text. ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The table's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Slots for consumers; they come first.
    pub consumers: u32,
    /// Slots for anonymous clients.
    pub anonymous: u32,
}

impl Geometry {
    /// The most consumers that a table can have room for.
    pub const MAX_CLIENTS: u32 = 1_048_576;

    /// A table that rarely has to evict with `clients` consumers and a quarter as many anonymous clients.
    #[must_use]
    pub fn for_clients(clients: u32) -> Self {
        let clients = u64::from(clients.clamp(1, Self::MAX_CLIENTS));
        let slots = |slots: u64| u32::try_from(slots).unwrap_or(MAX_SLOTS / 2).max(1);
        Self {
            consumers: slots(clients.div_ceil(CLIENTS_PER_SLOT)),
            anonymous: slots(clients.div_ceil(CLIENTS_PER_ANONYMOUS_SLOT)),
        }
    }

    /// Whether [`Self::for_clients`] could have made this table, as far as one can tell.
    #[must_use]
    pub const fn is_plausible(&self) -> bool {
        self.consumers > 0 && self.anonymous > 0 && self.consumers.saturating_add(self.anonymous) <= MAX_SLOTS
    }

    /// The number of slots.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.consumers.saturating_add(self.anonymous)
    }

    /// The number of records that the table has room for.
    #[must_use]
    pub const fn records(&self) -> u64 {
        (self.count() as u64).saturating_mul(WAYS as u64)
    }

    /// Every slot's key.
    pub fn slots(&self) -> impl Iterator<Item = SlotKey> + use<> {
        (0..self.count()).map(SlotKey::numbered)
    }

    /// The key of slot number `index`, if there is one.
    #[must_use]
    pub fn slot(&self, index: u32) -> Option<SlotKey> {
        (index < self.count()).then(|| SlotKey::numbered(index))
    }

    /// Where a client's record is.
    #[must_use]
    pub fn slot_of(&self, client: &Fingerprint) -> SlotKey {
        // The hash, as a fraction of the slots, spreads clients evenly without a division.
        let of = |slots: u32| (u64::from(client.place).wrapping_mul(u64::from(slots)) >> 32) as u32;
        SlotKey::numbered(if client.is_anonymous {
            self.consumers.saturating_add(of(self.anonymous))
        } else {
            of(self.consumers)
        })
    }

    /// Bytes of shared memory that the table takes in Kong's zones. Envoy needs no more.
    #[must_use]
    pub const fn shared_bytes(&self) -> u64 {
        // The marker and the last good policies take pieces, too.
        let pieces = (self.count() as u64).saturating_add(known_good::VALUES as u64).saturating_add(1);
        let pages = pieces.div_ceil(KONG_PAGE / KONG_PIECE);
        pages.saturating_mul(KONG_PAGE + KONG_PAGE_ENTRY).saturating_add(KONG_ZONE_HEAD)
    }

    /// The size of the zone to configure in Kong, in MiB: the value of `KONG_NGINX_WASM_SHM_KV_TOLLGATE` without its `m`.
    #[must_use]
    pub const fn zone_mebibytes(&self) -> u64 {
        self.shared_bytes().div_ceil(1_048_576)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    #[test]
    fn no_two_slots_are_the_same_key_to_kong() {
        assert_eq!(crc32(b"plumless"), crc32(b"buckeroo"), "the pair that shows how Kong compares");
        let mut seen: Vec<u32> =
            (0..MAX_SLOTS).map(|index| crc32(SlotKey::numbered(index).as_bytes())).collect();
        seen.push(crc32(super::super::marker::KEY.as_bytes()));
        seen.extend(known_good::keys().map(|key| crc32(key.as_bytes())));
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }

    #[test]
    fn the_default_table_fits_the_zone_that_the_docs_name() {
        let geometry = Geometry::for_clients(65_536);
        assert_eq!((geometry.consumers, geometry.anonymous), (21_846, 4_096));
        assert_eq!(geometry.zone_mebibytes(), 26);
    }

    #[test]
    fn the_largest_table_has_a_key_for_every_slot() {
        let geometry = Geometry::for_clients(u32::MAX);
        assert!(geometry.count() <= MAX_SLOTS && geometry.is_plausible());
        assert!(Geometry::for_clients(0).is_plausible());
    }

    #[test]
    fn consumers_and_anonymous_clients_never_share_a_slot() {
        let geometry = Geometry::for_clients(1_000);
        let slots: Vec<SlotKey> = geometry.slots().collect();
        let (consumers, anonymous) = slots.split_at(geometry.consumers as usize);
        for top in [0, 1, u32::MAX / 2, u32::MAX] {
            let client = |is_anonymous| Fingerprint { is_anonymous, bits: [1, 1], place: top };
            assert!(consumers.contains(&geometry.slot_of(&client(false))));
            assert!(anonymous.contains(&geometry.slot_of(&client(true))));
        }
    }
}
