//! A node's shared data, by both hosts' rules.
//!
//! | | Kong | Envoy |
//! | --- | --- | --- |
//! | set with version 0 | creates; fails on an entry that exists | overwrites |
//! | absent key, any other version | fails | creates |
//! | versions | count up per entry | one counter for all |
//! | a read while another worker writes | may be half old, half new | never torn |

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use tollgate_node::table::{Expected, Read, SharedData, SlotKey, Write};

use super::Cluster;
use super::gateway::{Node, Worker};
use crate::plan::Personality;

/// See the [module](self).
#[derive(Debug)]
pub struct Zone {
    personality: Personality,
    entries: RefCell<HashMap<SlotKey, Entry, Plain>>,
    last_version: Cell<u32>,
}

/// A hasher for keys, which differ in their last four bytes.
type Plain = BuildHasherDefault<LastWord>;

#[derive(Debug, Default)]
struct LastWord(u64);

impl Hasher for LastWord {
    fn write(&mut self, bytes: &[u8]) {
        let last = bytes.last_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        self.0 = u64::from(last).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    before: Vec<u8>,
    version: u32,
}

impl Zone {
    /// Empty shared data.
    #[must_use]
    pub fn new(personality: Personality) -> Self {
        Self { personality, entries: RefCell::default(), last_version: Cell::new(0) }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self, key: &SlotKey, is_torn: bool) -> Read {
        let entries = self.entries.borrow();
        let Some(entry) = entries.get(key) else { return Read::Missing };
        if is_torn && self.personality == Personality::Kong && entry.before.len() == entry.value.len() {
            // The version is that of before the other worker's write.
            let half = entry.value.len() / 2;
            let torn = [&entry.value[..half], &entry.before[half..]].concat();
            return Read::Value(torn, entry.version.wrapping_sub(1).max(1));
        }
        Read::Value(entry.value.clone(), entry.version)
    }

    fn write(&self, key: &SlotKey, value: &[u8], version: u32) -> Write {
        let mut entries = self.entries.borrow_mut();
        let held = entries.get(key).map(|entry| entry.version);
        let is_welcome = match (self.personality, held) {
            (Personality::Kong, None) => version == 0,
            (Personality::Kong, Some(held)) => version == held,
            (Personality::Envoy, None) => true,
            (Personality::Envoy, Some(held)) => version == held || version == 0,
        };
        if !is_welcome {
            return Write::Lost;
        }
        let next = self.next_version(held);
        match entries.get_mut(key) {
            Some(entry) => {
                std::mem::swap(&mut entry.before, &mut entry.value);
                entry.value.clear();
                entry.value.extend_from_slice(value);
                entry.version = next;
            }
            None => {
                entries.insert(*key, Entry { value: value.to_vec(), before: Vec::new(), version: next });
            }
        }
        Write::Done
    }

    fn next_version(&self, held: Option<u32>) -> u32 {
        self.last_version.set(self.last_version.get() + 1);
        match self.personality {
            Personality::Kong => held.unwrap_or(0) + 1,
            Personality::Envoy => self.last_version.get(),
        }
    }

    /// Another worker writes the same value again.
    fn touch(&self, key: &SlotKey) {
        let held = self.entries.borrow().get(key).map(|entry| entry.version);
        let next = self.next_version(held);
        if let Some(entry) = self.entries.borrow_mut().get_mut(key) {
            entry.version = next;
        }
    }

    /// Overwrites a value with other bytes.
    pub fn spoil(&self, key: &SlotKey, mut byte: impl FnMut() -> u8) {
        self.touch(key);
        if let Some(entry) = self.entries.borrow_mut().get_mut(key) {
            entry.value.iter_mut().for_each(|place| *place = byte());
        }
    }
}

/// A node's shared data, as one of its workers reaches it. Between two of its calls other workers may act.
pub struct Shared<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The node that the data belongs to.
    pub node: &'a Node,
    /// The worker that calls.
    pub worker: &'a Worker,
}

/// A version that no value has, as the filter gives it for a key that must not exist in Envoy.
const NO_VERSION: u32 = u32::MAX;

impl SharedData for Shared<'_> {
    fn get(&self, key: &SlotKey) -> Read {
        let memory = &self.cluster.plan.memory;
        let is_torn = self.cluster.chance.memory.happens(memory.torn);
        self.node.shared.read(key, is_torn)
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        let memory = &self.cluster.plan.memory;
        if memory.meddling > 0 && self.cluster.chance.memory.happens(memory.meddling) {
            self.cluster.meddle(self.node, self.worker);
        }
        if memory.lost > 0 && self.cluster.chance.memory.happens(memory.lost) {
            self.node.shared.touch(key);
        }
        let version = match (self.node.shared.personality, expected) {
            (_, Expected::Version(version)) => version,
            (Personality::Kong, Expected::Missing) => 0,
            (Personality::Envoy, Expected::Missing) => NO_VERSION,
        };
        self.node.shared.write(key, value, version)
    }

    fn keeps_all(&self) -> bool {
        self.node.shared.keeps_all()
    }
}

/// Shared data while a worker loads its policy, when no other worker acts.
impl SharedData for Zone {
    fn get(&self, key: &SlotKey) -> Read {
        self.read(key, false)
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        let version = match (self.personality, expected) {
            (_, Expected::Version(version)) => version,
            (Personality::Kong, Expected::Missing) => 0,
            (Personality::Envoy, Expected::Missing) => NO_VERSION,
        };
        self.write(key, value, version)
    }

    fn keeps_all(&self) -> bool {
        self.personality == Personality::Envoy
    }
}
