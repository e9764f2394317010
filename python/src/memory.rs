//! The node's table in the memory of the process, which has one thread for it.

use std::cell::RefCell;

use hashbrown::HashMap;
use tollgate_node::table::{Expected, Read, SharedData, SlotKey, Write};

/// Slots by their keys, each with its version. A slot is made when it is first used, and the table's size bounds their number.
#[derive(Debug, Default)]
pub struct Memory(RefCell<HashMap<SlotKey, (Vec<u8>, u32)>>);

impl SharedData for Memory {
    fn get(&self, key: &SlotKey) -> Read {
        match self.0.borrow().get(key) {
            Some((value, version)) => Read::Value(value.clone(), *version),
            None => Read::Missing,
        }
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        let mut slots = self.0.borrow_mut();
        match (slots.get_mut(key), expected) {
            (None, Expected::Missing) => drop(slots.insert(*key, (value.to_vec(), 1))),
            (Some((held, version)), Expected::Version(of)) if *version == of => {
                held.clear();
                held.extend_from_slice(value);
                *version = version.wrapping_add(1);
            }
            _ => return Write::Lost,
        }
        Write::Done
    }

    fn keeps_all(&self) -> bool {
        true
    }
}

/// What would be in the memory after some writes, which are dropped.
#[derive(Debug)]
pub struct Draft<'a> {
    memory: &'a Memory,
    written: Memory,
}

impl<'a> Draft<'a> {
    /// A draft without any writes yet.
    pub fn of(memory: &'a Memory) -> Self {
        Self { memory, written: Memory::default() }
    }
}

impl SharedData for Draft<'_> {
    fn get(&self, key: &SlotKey) -> Read {
        match self.written.get(key) {
            Read::Missing => self.memory.get(key),
            found => found,
        }
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        // Nobody else writes meanwhile, so what is expected is what was read.
        let version = match expected {
            Expected::Missing => 1,
            Expected::Version(version) => version.wrapping_add(1),
        };
        drop(self.written.0.borrow_mut().insert(*key, (value.to_vec(), version)));
        Write::Done
    }

    fn keeps_all(&self) -> bool {
        true
    }
}
