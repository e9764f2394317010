//! A slot's bytes: a head, and 14 records of one width. Numbers are little-endian.
//!
//! ```text
//! slot    0  4  magic "TGs" and the layout's number        record   0  16  fingerprint; zero: an empty way
//!         4 12  zero, for later layouts                            16   8  at, ns
//!        16 64  way 0                                              24  24  three levels, work
//!        80 64  way 1 …                                            48   6  used in the month, thousandths
//!       912     the end                                            54   2  month
//!                                                                  56   4  full again, unix seconds, rounded up
//!                                                                  60   4  checksum of the 60 bytes before it
//! ```
//!
//! The checksum is a record's, not the slot's: what another client's bytes say never matters to a decision, a torn
//! slot cannot be written back (its version has moved on), and 60 bytes cost a tenth of 900.

use super::fingerprint::Fingerprint;
use crate::limit::{Account, Level, Month};
use crate::units::{Cost, UnixNanos};

/// Records in a slot.
pub const WAYS: usize = 14;
/// A slot's size. With Kong's own 109 bytes it just fits a piece of 1,024.
pub const SLOT_BYTES: usize = HEAD_BYTES + WAYS * RECORD_BYTES;

const HEAD_BYTES: usize = 16;
const RECORD_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"TGs\x01";
/// The month's use has 48 bits: 281 thousand million units.
const MAX_USED: u64 = (1 << 48) - 1;

/// One client's state, as the table keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub client: Fingerprint,
    /// What it has spent.
    pub account: Account,
    /// Unix seconds from which its buckets are full, so that only the month may still matter.
    pub full_at: u32,
}

impl Record {
    /// The record of `account`, whose buckets are all full at `full_at`.
    #[must_use]
    pub fn new(client: Fingerprint, account: Account, full_at: UnixNanos) -> Self {
        let full_at = u32::try_from(full_at.seconds_rounded_up()).unwrap_or(u32::MAX);
        Self { client, account, full_at }
    }

    /// What would be lost with it: the month's use, then the time until its buckets are full. All zero: nothing, it
    /// equals an absent record.
    fn worth(&self, now: UnixNanos, month: Month) -> (u64, u64) {
        let counts = self.account.used.0 > 0 && self.account.month >= month;
        let used = if counts { self.account.used.0 } else { 0 };
        (used, u64::from(self.full_at).saturating_sub(now.seconds()))
    }

    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let [first, second] = self.client.bits;
        let [a, b, c] = self.account.levels;
        let month = u64::from(self.account.month.0) << 48 | self.account.used.0.min(MAX_USED);
        let words = [first, second, self.account.at.0, a.0, b.0, c.0, month];
        let (body, tail) = bytes.split_at_mut(56);
        for (place, word) in body.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let end = u64::from(checksum(&words, self.full_at)) << 32 | u64::from(self.full_at);
        tail.copy_from_slice(&end.to_le_bytes());
        bytes
    }

    /// The record in `bytes`, unless they are torn or foreign. Strangers and consumers are told apart by their slot.
    fn from_bytes(bytes: &[u8], is_stranger: bool) -> Option<Self> {
        let mut words = [0; 8];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().ok()?);
        }
        let [first, second, at, a, b, c, month, end] = words;
        let full_at = end as u32;
        if checksum(&[first, second, at, a, b, c, month], full_at) != (end >> 32) as u32 {
            return None;
        }
        Some(Self {
            client: Fingerprint { is_stranger, bits: [first, second] },
            account: Account {
                at: UnixNanos(at),
                levels: [Level(a), Level(b), Level(c)],
                month: Month((month >> 48) as u16),
                used: Cost(month & MAX_USED),
            },
            full_at,
        })
    }
}

/// Tells torn and foreign bytes from a record: multiply and fold, a word at a time. Not a secret.
fn checksum(words: &[u64; 7], full_at: u32) -> u32 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let start = u64::from(full_at) ^ u64::from_le_bytes(*b"tollgate");
    let mixed = words.iter().fold(start, |sum, word| {
        let product = (sum ^ word).wrapping_mul(ODD);
        product ^ (product >> 29)
    });
    (mixed.wrapping_mul(ODD) >> 32) as u32
}

/// A slot without a record.
#[must_use]
pub(super) fn empty() -> Vec<u8> {
    let mut bytes = vec![0; SLOT_BYTES];
    if let Some(magic) = bytes.first_chunk_mut() {
        *magic = MAGIC;
    }
    bytes
}

/// Whether `bytes` are a slot of this layout at all.
#[must_use]
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    bytes.len() == SLOT_BYTES && bytes.starts_with(&MAGIC)
}

/// The way and the record of `client`, if it has one that is whole.
#[must_use]
pub(super) fn find(bytes: &[u8], client: &Fingerprint) -> Option<(usize, Record)> {
    let [first, second] = client.bits;
    let (first, second) = (first.to_le_bytes(), second.to_le_bytes());
    let (way, record) = ways(bytes)
        .enumerate()
        .find(|(_, record)| record.starts_with(&first) && record.get(8..16) == Some(&second))?;
    Record::from_bytes(record, client.is_stranger).map(|record| (way, record))
}

/// The way that a client without a record takes, and whether somebody else's goes that still means something.
#[must_use]
pub(super) fn way_for_newcomer(bytes: &[u8], now: UnixNanos) -> (usize, bool) {
    let month = Month::of(now);
    let mut least = (0, (u64::MAX, u64::MAX));
    for (way, record) in ways(bytes).enumerate() {
        let worth = match Record::from_bytes(record, false) {
            Some(record) if record.client.bits != [0, 0] => record.worth(now, month),
            // Empty, or torn and so not to be trusted.
            _ => return (way, false),
        };
        if worth == (0, 0) {
            return (way, false);
        }
        if worth < least.1 {
            least = (way, worth);
        }
    }
    (least.0, true)
}

/// Puts `record` into `way`.
pub(super) fn put(bytes: &mut [u8], way: usize, record: &Record) {
    if let Some(place) =
        bytes.get_mut(HEAD_BYTES..).and_then(|body| body.chunks_exact_mut(RECORD_BYTES).nth(way))
    {
        place.copy_from_slice(&record.to_bytes());
    }
}

fn ways(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.get(HEAD_BYTES..).unwrap_or_default().chunks_exact(RECORD_BYTES)
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
