//! The marker, on which all workers of a node agree: the table's size and the key of fingerprints, under one well-known key.

use super::fingerprint::FingerprintKey;
use super::geometry::{Geometry, SlotKey};
use super::{Expected, Read, SharedData, Write};

/// No slot's name has a tilde.
pub(super) const KEY: SlotKey = SlotKey::named(*b"f~~~");

const MAGIC: [u8; 4] = *b"TGm\x03";
const BYTES: usize = 40;
/// Workers that start at the same time agree within one round each. More rounds mean that the host breaks its rules.
const MAX_TRIES: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) geometry: Geometry,
    pub(super) key: FingerprintKey,
    /// Whether every slot has been written. Workers need not agree on it.
    pub(super) is_filled: bool,
}

impl Marker {
    /// The node's marker, which is the one that is there or else a new one of `geometry` and `key`, and whether it is new.
    pub(super) fn agree(
        data: &impl SharedData,
        geometry: Geometry,
        key: FingerprintKey,
    ) -> Option<(Self, bool)> {
        let mine = Self { geometry, key, is_filled: false };
        for _ in 0..MAX_TRIES {
            let expected = match data.get(&KEY) {
                Read::Value(bytes, version) => match Self::from_bytes(&bytes) {
                    Some(theirs) => return Some((theirs, false)),
                    None => Expected::Version(version),
                },
                Read::Missing => Expected::Missing,
                Read::Failed => return None,
            };
            match data.set(&KEY, &mine.to_bytes(), expected) {
                Write::Done => return Some((mine, true)),
                Write::Lost => {}
                Write::Failed => return None,
            }
        }
        None
    }

    /// Whether the node's marker is still `marker`.
    pub(super) fn is_agreed(data: &impl SharedData, marker: &Self) -> bool {
        match data.get(&KEY) {
            Read::Value(bytes, _) => Self::from_bytes(&bytes)
                .is_some_and(|found| (found.geometry, found.key) == (marker.geometry, marker.key)),
            Read::Missing | Read::Failed => false,
        }
    }

    /// Whether the node has a marker.
    pub(super) fn is_there(data: &impl SharedData) -> bool {
        matches!(data.get(&KEY), Read::Value(..))
    }

    /// Tells workers that start later that all slots were written. A worker that loses this race has lost it to the same value.
    pub(super) fn set_filled(data: &impl SharedData, marker: &Self) {
        if let Read::Value(_, version) = data.get(&KEY) {
            let filled = Self { is_filled: true, ..*marker };
            data.set(&KEY, &filled.to_bytes(), Expected::Version(version));
        }
    }

    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let fields = [
            MAGIC.as_slice(),
            &self.geometry.consumers.to_le_bytes(),
            &self.geometry.anonymous.to_le_bytes(),
            &u32::from(self.is_filled).to_le_bytes(),
            &self.key.0,
        ];
        let mut place = bytes.iter_mut();
        for (to, from) in place.by_ref().zip(fields.concat()) {
            *to = from;
        }
        let sum = sum_of(&bytes);
        if let Some(end) = bytes.last_chunk_mut() {
            *end = sum.to_le_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (magic, rest) = bytes.split_first_chunk()?;
        let (consumers, rest) = rest.split_first_chunk()?;
        let (anonymous, rest) = rest.split_first_chunk()?;
        let (is_filled, rest) = rest.split_first_chunk()?;
        let (key, _) = rest.split_first_chunk()?;
        let marker = Self {
            geometry: Geometry {
                consumers: u32::from_le_bytes(*consumers),
                anonymous: u32::from_le_bytes(*anonymous),
            },
            key: FingerprintKey(*key),
            is_filled: u32::from_le_bytes(*is_filled) == 1,
        };
        let whole = *magic == MAGIC && bytes.ends_with(&sum_of(bytes).to_le_bytes());
        (whole && marker.geometry.is_plausible()).then_some(marker)
    }
}

/// FNV-1a.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The checksum of all but the last eight bytes.
fn sum_of(bytes: &[u8; BYTES]) -> u64 {
    checksum(bytes.split_last_chunk::<8>().map_or(&[], |(rest, _)| rest))
}
