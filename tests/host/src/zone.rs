//! One zone of Kong's shared data: an nginx shared-memory zone with a slab allocator.
//!
//! Calibrated on a real Kong: 200,000 values of 64 bytes in 12 MB kept the newest 48,479.

use std::collections::{BTreeMap, HashMap};

use crate::rules::{Rule, RuleBroken};
use crate::shared_data::{Entry, Written};

/// Bytes that the host keeps beside key and value.
const NODE_BYTES: usize = 96;
/// The size of a slab page, and its cost with its share of the zone's own bookkeeping.
const PAGE_BYTES: usize = 4_096;
const PAGE_COST: usize = 4_160;
/// The zone's own structures take these.
const HEAD_PAGES: usize = 4;
/// An entry larger than half a page takes whole pages.
const LARGEST_CHUNK: usize = PAGE_BYTES / 2;
const SMALLEST_CHUNK: usize = 8;

/// What a full zone does with a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The default: drops the least recently used entry, of the same size class first.
    Slru,
    /// Traps.
    None,
}

/// A zone.
#[derive(Debug)]
pub struct Zone {
    name: String,
    room: usize,
    eviction: Eviction,
    used: usize,
    entries: HashMap<u32, (Entry, usize, u64)>,
    /// The entries by size class and last use.
    recency: BTreeMap<(usize, u64), u32>,
    uses: u64,
    evicted: u64,
}

impl Zone {
    /// A zone of `bytes` for keys `name/…`; `*` is the zone for the rest.
    #[must_use]
    pub fn new(name: &str, bytes: usize, eviction: Eviction) -> Self {
        Self {
            name: name.to_owned(),
            room: (bytes / PAGE_COST).saturating_sub(HEAD_PAGES) * PAGE_BYTES,
            eviction,
            used: 0,
            entries: HashMap::new(),
            recency: BTreeMap::new(),
            uses: 0,
            evicted: 0,
        }
    }

    /// The zone's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries have been dropped for lack of room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Vec<u8>> {
        self.entries.values_mut().map(|(entry, _, _)| &mut entry.value)
    }

    pub(crate) fn get(&mut self, key: &[u8]) -> Option<&Entry> {
        let hash = crc32(key);
        self.use_now(hash);
        self.entries.get(&hash).map(|(entry, _, _)| entry)
    }

    /// Plays another worker's write, of the same value or of `value`. Returns whether there is an entry now.
    pub(crate) fn touch(&mut self, key: &[u8], value: Option<&[u8]>) -> bool {
        let hash = crc32(key);
        if let Some((entry, _, _)) = self.entries.get_mut(&hash) {
            entry.cas += 1;
            return true;
        }
        matches!(self.set(key, value, 0), Ok(Written::Created))
    }

    pub(crate) fn set(&mut self, key: &[u8], value: Option<&[u8]>, cas: u32) -> Result<Written, RuleBroken> {
        let hash = crc32(key);
        let old = self.entries.get_mut(&hash);
        if old.as_ref().map_or(0, |(entry, _, _)| entry.cas) != cas {
            return Ok(Written::Mismatch);
        }
        let Some(value) = value else {
            return Ok(if self.remove(hash) { Written::Updated } else { Written::Mismatch });
        };
        if let Some((entry, _, _)) = old {
            if value.len() > entry.value.len() {
                let what = format!("let a value grow from {} to {} bytes", entry.value.len(), value.len());
                return Err(RuleBroken::new(Rule::ValueGrows, what));
            }
            entry.before = Some(std::mem::replace(&mut entry.value, value.to_vec()));
            entry.cas += 1;
            self.use_now(hash);
            return Ok(Written::Updated);
        }
        let size = chunk(NODE_BYTES + key.len() + value.len());
        self.make_room(size)?;
        self.used += size;
        self.uses += 1;
        self.recency.insert((size, self.uses), hash);
        let entry = Entry { value: value.to_vec(), cas: 1, ..Entry::default() };
        self.entries.insert(hash, (entry, size, self.uses));
        Ok(Written::Created)
    }

    fn make_room(&mut self, size: usize) -> Result<(), RuleBroken> {
        while self.used + size > self.room {
            let Some(oldest) = self.oldest_for(size).filter(|_| self.eviction == Eviction::Slru) else {
                let what = format!("wrote {size} more bytes into the zone {:?}, which is full", self.name);
                return Err(RuleBroken::new(Rule::FullZone, what));
            };
            self.remove(oldest);
            self.evicted += 1;
        }
        Ok(())
    }

    /// The entry to drop for one of `size`: of the same size class or a larger one, else of the next smaller one.
    fn oldest_for(&self, size: usize) -> Option<u32> {
        let same_or_larger = self.recency.range((size, 0)..).next();
        let smaller = || self.recency.range(..(size, 0)).next_back().map(|((class, _), _)| *class);
        let oldest = same_or_larger.or_else(|| self.recency.range((smaller()?, 0)..).next());
        oldest.map(|(_, hash)| *hash)
    }

    fn remove(&mut self, hash: u32) -> bool {
        let Some((_, size, used)) = self.entries.remove(&hash) else { return false };
        self.recency.remove(&(size, used));
        self.used -= size;
        true
    }

    fn use_now(&mut self, hash: u32) {
        let Some((_, size, used)) = self.entries.get_mut(&hash) else { return };
        self.recency.remove(&(*size, *used));
        self.uses += 1;
        *used = self.uses;
        self.recency.insert((*size, self.uses), hash);
    }
}

/// The bytes that the slab allocator uses for `bytes`.
fn chunk(bytes: usize) -> usize {
    if bytes > LARGEST_CHUNK {
        bytes.next_multiple_of(PAGE_BYTES)
    } else {
        bytes.next_power_of_two().max(SMALLEST_CHUNK)
    }
}

/// CRC-32 (IEEE 802.3). Kong compares nothing else of a key.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}
