//! Accounts in this process's memory. They are gone when it stops, and no other replica sees them.
//!
//! A namespace's accounts are in shards. Each has its own lock, which is held for one account at a time. The accounts
//! are ordered, so a walk over all of them can release the lock and go on later: see [`Memory::usages`].

mod customers;
mod overrides;
mod reservations;
mod shard;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use tollgate_core::units::UnixMicros;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tollgate_core::client::ClientId;

use self::customers::Customers;
use self::overrides::Overrides;
use self::shard::Shard;
use super::clock::Clock;
use super::{
    AccountEntry, AccountStore, AppliedBatch, Backend, BackendError, Changed, DayStore, Days, DaysUsed, Mark,
    NamespaceSnapshot, NamespaceStore, OverrideChange, Usage,
};
use crate::locks;

/// The shards of a namespace. A client's identifier is uniform, so its first byte picks one.
const SHARDS: usize = 64;

/// How many accounts a walk reads under one lock.
const CHUNK: usize = 256;

/// See the [module](self).
pub struct Memory {
    clock: Clock,
    namespaces: RwLock<BTreeMap<String, Arc<NamespaceState>>>,
}

/// One namespace.
struct NamespaceState {
    shards: [Mutex<Shard>; SHARDS],
    overrides: Mutex<Overrides>,
    customers: Mutex<Customers>,
}

impl NamespaceState {
    fn shard(&self, client: ClientId) -> MutexGuard<'_, Shard> {
        let [first, ..] = client.0;
        // Every remainder has a shard; the fallback is never used.
        let [fallback, ..] = &self.shards;
        locks::lock(self.shards.get(usize::from(first) % SHARDS).unwrap_or(fallback))
    }
}

impl Memory {
    /// A backend without accounts. `clock` is its time.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, namespaces: RwLock::default() }
    }

    fn state(&self, namespace: &str) -> Option<Arc<NamespaceState>> {
        locks::read(&self.namespaces).get(namespace).cloned()
    }

    fn state_or_new(&self, namespace: &str) -> Arc<NamespaceState> {
        if let Some(state) = self.state(namespace) {
            return state;
        }
        let mut namespaces = locks::write(&self.namespaces);
        let fresh = || {
            Arc::new(NamespaceState {
                shards: std::array::from_fn(|_| Mutex::default()),
                overrides: Mutex::default(),
                customers: Mutex::default(),
            })
        };
        Arc::clone(namespaces.entry(namespace.to_owned()).or_insert_with(fresh))
    }
}

#[async_trait]
impl Backend for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn now(&self) -> Result<UnixMicros, BackendError> {
        Ok((self.clock)())
    }

    async fn probe(&self) -> Result<(), BackendError> {
        // A process that runs out of memory ends.
        Ok(())
    }
}

#[async_trait]
impl AccountStore for Memory {
    async fn apply(&self, namespace: &str, entries: Vec<AccountEntry>) -> Result<AppliedBatch, BackendError> {
        let state = self.state_or_new(namespace);
        let now = (self.clock)();
        let answers = entries.into_iter().map(|entry| state.shard(entry.client).apply(entry, now)).collect();
        Ok(AppliedBatch { now, answers })
    }

    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError> {
        let now = (self.clock)();
        Ok(self.state(namespace).and_then(|state| state.shard(client).usage(client, month, now)))
    }

    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>> {
        let Some(state) = self.state(namespace) else { return stream::empty().boxed() };
        let now = (self.clock)();
        walk(move |index, after| {
            state.shards.get(index).map(|shard| locks::lock(shard).usages_after(after, month, now, CHUNK))
        })
    }
}

#[async_trait]
impl DayStore for Memory {
    async fn days_used(
        &self,
        namespace: &str,
        client: ClientId,
        days: Days,
    ) -> Result<Option<DaysUsed>, BackendError> {
        let now = (self.clock)();
        Ok(self.state(namespace).and_then(|state| state.shard(client).days_used(client, days, now)))
    }

    fn all_days_used(
        &self,
        namespace: &str,
        days: Days,
    ) -> BoxStream<'static, Result<DaysUsed, BackendError>> {
        let Some(state) = self.state(namespace) else { return stream::empty().boxed() };
        let now = (self.clock)();
        walk(move |index, after| {
            state.shards.get(index).map(|shard| locks::lock(shard).all_days_after(after, days, now, CHUNK))
        })
    }
}

/// Reads one chunk after the other: `read` gets the place of a shard, and the client after which to go on.
fn walk<T: Send + 'static>(
    read: impl Fn(usize, Option<ClientId>) -> Option<(Vec<T>, Option<ClientId>)> + Send + 'static,
) -> BoxStream<'static, Result<T, BackendError>> {
    let chunks = stream::unfold((0, None), move |(index, after): (usize, Option<ClientId>)| {
        let next = read(index, after).map(|(chunk, last)| match last {
            Some(_) => (chunk, (index, last)),
            None => (chunk, (index.saturating_add(1), None)),
        });
        std::future::ready(next)
    });
    chunks.flat_map(|chunk| stream::iter(chunk.into_iter().map(Ok))).boxed()
}

#[async_trait]
impl NamespaceStore for Memory {
    async fn reset(
        &self,
        namespace: &str,
        client: ClientId,
        bucket: bool,
        month: bool,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError> {
        let state = self.state_or_new(namespace);
        let mut overrides = locks::lock(&state.overrides);
        let now = (self.clock)();
        state.shard(client).reset(client, bucket, month, now);
        Ok(overrides.reset(client, audit, now))
    }

    async fn change_override(
        &self,
        namespace: &str,
        consumer: &str,
        change: OverrideChange,
    ) -> Result<Changed, BackendError> {
        Ok(locks::lock(&self.state_or_new(namespace).overrides).change_override(
            consumer,
            change,
            (self.clock)(),
        ))
    }

    async fn revision(&self, namespace: &str) -> Result<u64, BackendError> {
        Ok(self.state(namespace).map_or(0, |state| locks::lock(&state.overrides).revision()))
    }

    async fn snapshot(&self, namespace: &str, after: Mark) -> Result<NamespaceSnapshot, BackendError> {
        Ok(self
            .state(namespace)
            .map_or_else(NamespaceSnapshot::default, |state| locks::lock(&state.overrides).snapshot(after)))
    }

    async fn audit(
        &self,
        namespace: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        Ok(self
            .state(namespace)
            .map_or_else(Vec::new, |state| locks::lock(&state.overrides).audit(before, limit)))
    }

    async fn document(&self, namespace: &str) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.state(namespace).and_then(|state| locks::lock(&state.overrides).document.clone()))
    }

    async fn put_document(&self, namespace: &str, document: Vec<u8>) -> Result<(), BackendError> {
        locks::lock(&self.state_or_new(namespace).overrides).document = Some(document);
        Ok(())
    }

    async fn namespaces(&self) -> Result<Vec<String>, BackendError> {
        Ok(locks::read(&self.namespaces).keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests;
