//! What the Redis backend sends to its scripts, and how it reads their answers. Only the fuzz target `redis` uses this.

pub use redis::Value;
use tollgate_core::client::ClientId;
use tollgate_core::units::UnixMicros;
use tollgate_core::wire::{Answer, Ask};

pub use super::account::Stored;
use super::fault::Redirection;
use super::key::{self, Keys};
use super::target::Address;
use super::{apply, cluster, listing, snapshot as namespace_snapshot};
use crate::backend::{AccountEntry, NamespaceSnapshot};

/// One call of `apply.lua`.
#[derive(Clone, Debug)]
pub struct Call {
    /// KEYS.
    pub keys: Vec<String>,
    /// ARGV.
    pub arguments: Vec<Vec<u8>>,
    /// The places of its entries in the batch, in the call's order.
    pub entries: Vec<usize>,
}

/// A batch as calls, for one server or for a cluster, where all keys of a call are in one slot.
#[must_use]
pub fn calls(
    namespace: &str,
    entries: &[AccountEntry],
    is_cluster: bool,
    at: Option<UnixMicros>,
) -> Vec<Call> {
    let keys = Keys::new(namespace);
    let chunks = apply::chunks(&keys, entries, |slot| if is_cluster { slot } else { 0 });
    let calls = chunks.into_iter().map(|chunk| {
        let call = apply::call(&keys, entries, &chunk, at);
        Call { keys: call.keys, arguments: call.arguments, entries: chunk }
    });
    calls.collect()
}

/// The key of a client's account, and the key of the set that its name is in.
#[must_use]
pub fn keys(namespace: &str, client: ClientId) -> (String, String) {
    let keys = Keys::new(namespace);
    (keys.account(client), keys.names(key::shard_of(client)))
}

/// The slot of a key in a cluster.
#[must_use]
pub fn slot_of(key: &str) -> u16 {
    key::slot_of(key)
}

/// What `apply.lua` returned for `asks`: its clock, and each answer, or `None` if the account is damaged.
#[must_use]
pub fn answers(reply: Value, asks: &[Ask]) -> Option<(u64, Vec<Option<Answer>>)> {
    let (now, answers) = apply::read(reply, asks.len()).ok()?;
    Some((now.0, answers.iter().zip(asks).map(|(bytes, ask)| apply::answer(bytes, ask)).collect()))
}

/// What `snapshot.lua` returned.
#[must_use]
pub fn snapshot(reply: Value) -> Option<NamespaceSnapshot> {
    namespace_snapshot::read_snapshot(reply).ok()
}

/// What `audit.lua` returned.
#[must_use]
pub fn lines(reply: Value) -> Option<Vec<(u64, Vec<u8>)>> {
    namespace_snapshot::read_lines(reply).ok()
}

/// The client of a member of a set of names.
#[must_use]
pub fn member(text: &str) -> Option<ClientId> {
    listing::client(text)
}

/// What CLUSTER SLOTS returned: first slot, last slot, and the master's name and port.
#[must_use]
pub fn slots(reply: &Value) -> Option<Vec<(u16, u16, String, u16)>> {
    let ranges = cluster::ranges(reply, &asked())?;
    Some(ranges.into_iter().map(|(first, last, host)| (first, last, host.name, host.port)).collect())
}

/// Where a node's error leads: name, port, and whether it is only for this command.
#[must_use]
pub fn redirection(error: &str) -> Option<(String, u16, bool)> {
    let (code, details) = error.split_once(' ')?;
    let is_asking = match code {
        "ASK" => true,
        "MOVED" => false,
        _ => return None,
    };
    let host = Redirection::parse(is_asking, details)?.to(&asked());
    Some((host.name, host.port, is_asking))
}

/// The node that has answered.
fn asked() -> Address {
    Address { name: "asked".to_owned(), port: 6_379 }
}
