//! The clients of one node, in fixed memory: a set-associative table in the gateway's shared data.
//!
//! ```text
//! fingerprint(client) ──▶ slot "tollgate/aXYZ" ──▶ one of 7 ways ──▶ Record { buckets, month, lease }
//!                         consumers │ anonymous clients     get, decide, compare-and-swap; if lost, get and decide again
//! ```
//!
//! Shared data has no delete that all hosts honor, so there is a fixed number of slots of one size, and a request only ever
//! replaces a slot's value. A host that silently drops values to make room gets no new ones once the policy is loaded:
//! [`Table::open`] writes every slot. On a host that keeps everything, a slot is made when it is first used.
//!
//! A new client takes an empty way of its slot, or one whose record equals none, with full buckets and an untouched or past
//! month. If all 7 ways are in use, the record that means the least is evicted and counted.
//!
//! Anonymous clients have slots of their own, so however many addresses they use, they evict no consumer.

mod fingerprint;
mod geometry;
pub mod known_good;
mod marker;
mod slot;

use std::cell::Cell;

use tollgate_core::client::{Client, ClientId};
use tollgate_core::units::UnixNanos;

pub use self::fingerprint::{Fingerprint, FingerprintKey};
pub use self::geometry::{Geometry, SlotKey};
use self::marker::Marker;
pub use self::slot::{Record, SLOT_BYTES, State, WAYS};
use crate::clock::{NodeNanos, Now};

/// The part of the node's shared data that the table needs. Many workers may call every method at once.
pub trait SharedData {
    /// The value of `key` and its version.
    fn get(&self, key: &SlotKey) -> Read;
    /// Writes `value` if the key's state is still `expected`.
    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write;
    /// Whether there is always room and every value stays, so that a slot need not be written before it is used.
    fn keeps_all(&self) -> bool;
}

/// What [`SharedData::get`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// There is no value, or the host has dropped it.
    Missing,
    /// The bytes, which may be torn or foreign, and the version that a write has to name.
    Value(Vec<u8>, u32),
    /// The host does not answer.
    Failed,
}

/// The state of a key that a write requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The key does not exist.
    Missing,
    /// The key's version is this.
    Version(u32),
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The value was written.
    Done,
    /// Another worker was first.
    Lost,
    /// The host does not answer.
    Failed,
}

/// What a closure decides to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Leave the record as it is.
    Keep,
    /// Write this.
    Write(State),
}

/// The result of [`Table::update`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated<T> {
    /// The closure's answer, which the table now holds.
    Done {
        /// The answer.
        answer: T,
    },
    /// Nothing is known: there was too much contention for the record, or the host does not answer.
    Unknown,
}

/// The node's records, as one step of a worker sees them.
#[derive(Debug)]
pub struct Records<'a, S> {
    /// The table that says where each record is.
    pub table: &'a Table,
    /// The shared data that holds them.
    pub data: &'a S,
    /// The moment of the step.
    pub now: Now,
}

impl<S: SharedData> Records<'_, S> {
    /// [`Table::update`], at this step's moment.
    pub fn update<T>(&self, client: Fingerprint, decide: impl FnMut(State) -> (Change, T)) -> Updated<T> {
        self.table.update(self.data, client, self.now, decide)
    }
}

/// How often an update is decided before it is given up. Each lost try means that another worker's has won, so only a client
/// that floods as many workers at once comes near.
const MAX_TRIES: u32 = 64;

/// The table of one node. Cheap to clone: the records are in shared data.
#[derive(Clone, Debug)]
pub struct Table {
    geometry: Geometry,
    key: FingerprintKey,
    /// Evictions through this clone.
    evictions: Cell<u32>,
}

/// An open table.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The table.
    pub table: Table,
    /// Whether this call has made the table, which is true once per node.
    pub is_new: bool,
}

/// Why a table cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The shared memory drops records that were just written; it needs this many bytes.
    TooSmall {
        /// Bytes that the table needs.
        needed: u64,
    },
    /// The host does not answer.
    Failed,
}

impl Table {
    /// Whether the node has a table, or a worker is making it.
    pub fn is_there(data: &impl SharedData) -> bool {
        Marker::is_there(data)
    }

    /// Opens the node's table, or makes it, with room for `clients` consumers.
    ///
    /// The first policy that loads on a node decides the size, and the first worker draws `key`. All others use what is there,
    /// so that two policies or two workers never disagree on where a client's record is. Another size takes effect when the
    /// gateway is restarted, because moving the records would hand every client a fresh bucket.
    ///
    /// # Errors
    /// [`OpenError`] when shared memory cannot hold the table.
    pub fn open(data: &impl SharedData, clients: u32, key: FingerprintKey) -> Result<Opened, OpenError> {
        let (marker, is_new) =
            Marker::agree(data, Geometry::for_clients(clients), key).ok_or(OpenError::Failed)?;
        let table = Self { geometry: marker.geometry, key: marker.key, evictions: Cell::new(0) };
        if marker.is_filled || data.keeps_all() {
            return Ok(Opened { table, is_new });
        }
        let too_small = OpenError::TooSmall { needed: table.geometry.shared_bytes() };
        let empty = slot::empty();
        for slot in table.geometry.slots() {
            // A slot that is there already was written by another worker, which fills the same table.
            match data.get(&slot) {
                Read::Value(..) => {}
                Read::Missing => match data.set(&slot, &empty, Expected::Missing) {
                    Write::Done | Write::Lost => {}
                    Write::Failed => return Err(too_small),
                },
                Read::Failed => return Err(OpenError::Failed),
            }
        }
        // A host that drops the oldest values to make room does not report it.
        let holds = |slot: SlotKey| matches!(data.get(&slot), Read::Value(..));
        if !table.geometry.slots().all(holds) || !Marker::is_agreed(data, &marker) {
            return Err(too_small);
        }
        Marker::set_filled(data, &marker);
        Ok(Opened { table, is_new })
    }

    /// The table's size.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// A client's fingerprint: where its record is, and how the record names it.
    #[must_use]
    pub fn fingerprint(&self, namespace: &str, client: &Client<'_>) -> Fingerprint {
        self.key.fingerprint(namespace, client)
    }

    /// The fingerprint of a client by the number under which the store knows it.
    #[must_use]
    pub fn fingerprint_of(&self, id: ClientId, is_anonymous: bool) -> Fingerprint {
        self.key.of_id(id, is_anonymous)
    }

    /// This node's number in messages to the store, if its gateway calls it `identity`.
    #[must_use]
    pub fn node(&self, identity: &[u8]) -> u64 {
        self.key.node(identity)
    }

    /// How many records were evicted through this clone since the last call.
    #[must_use]
    pub const fn take_evictions(&self) -> u32 {
        self.evictions.replace(0)
    }

    /// Calls `see` with every record of slot number `index`, and whether it is an anonymous client's.
    pub fn each(&self, data: &impl SharedData, index: u32, mut see: impl FnMut(&Record, bool)) {
        let Some(key) = self.geometry.slot(index) else { return };
        if let Read::Value(bytes, _) = data.get(&key)
            && slot::is_ours(&bytes)
        {
            slot::records(&bytes).for_each(|record| see(&record, index >= self.geometry.consumers));
        }
    }

    /// Lets `decide` read a client's state and change it, in one atomic step.
    ///
    /// If another worker was first, `decide` is called again with the new state, and its earlier answer is dropped.
    pub fn update<T>(
        &self,
        data: &impl SharedData,
        client: Fingerprint,
        now: impl Into<Now>,
        mut decide: impl FnMut(State) -> (Change, T),
    ) -> Updated<T> {
        let mut answer = None;
        // One function for all kinds of answers, or its copies would be most of the module.
        let updated = self.update_by(data, client, now.into(), &mut |state| {
            let (change, found) = decide(*state);
            answer = Some(found);
            match change {
                Change::Keep => false,
                Change::Write(changed) => {
                    *state = changed;
                    true
                }
            }
        });
        match (updated, answer) {
            (Updated::Done { .. }, Some(answer)) => Updated::Done { answer },
            _ => Updated::Unknown,
        }
    }

    #[inline(never)]
    fn update_by(
        &self,
        data: &impl SharedData,
        client: Fingerprint,
        now: Now,
        decide: &mut dyn FnMut(&mut State) -> bool,
    ) -> Updated<()> {
        let key = self.geometry.slot_of(&client);
        for _ in 0..MAX_TRIES {
            let (mut bytes, expected) = match data.get(&key) {
                Read::Value(bytes, version) => (bytes, Expected::Version(version)),
                Read::Missing => (Vec::new(), Expected::Missing),
                Read::Failed => return Updated::Unknown,
            };
            if !slot::is_ours(&bytes) {
                bytes = slot::empty();
            }
            let found = slot::find(&bytes, &client);
            let mut state = found.as_ref().map_or_else(State::default, |(_, record)| record.state);
            state.account.at = now.to_unix(NodeNanos(state.account.at.0));
            if !decide(&mut state) {
                return Updated::Done { answer: () };
            }
            let (way, evicted) = match found {
                Some((way, _)) => (way, false),
                None => slot::way_for_newcomer(&bytes, now),
            };
            state.account.at = UnixNanos(now.to_node(state.account.at).0);
            slot::put(&mut bytes, way, &Record::new(&client, state));
            match data.set(&key, &bytes, expected) {
                Write::Done => {
                    self.evictions.update(|before| before.saturating_add(evicted.into()));
                    return Updated::Done { answer: () };
                }
                Write::Lost => {}
                Write::Failed => return Updated::Unknown,
            }
        }
        Updated::Unknown
    }
}

#[cfg(test)]
pub(crate) mod tests;
