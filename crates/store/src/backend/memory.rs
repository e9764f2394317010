//! Accounts in this process's memory: gone when it stops, shared with no replica.
//!
//! A namespace's accounts lie in shards, each under a lock of its own that is held for one account at a time. They are
//! ordered, so that a walk over all of them can go on after a lock was let go: see [`Memory::usages`].

mod overrides;
mod shard;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tollgate_core::units::UnixMicros;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tollgate_core::client::ClientId;

use self::overrides::Overrides;
use self::shard::Shard;
use super::{
    AccountEntry, AccountStore, AppliedBatch, Backend, BackendError, Changed, Mark, NamespaceSnapshot,
    NamespaceStore, OverrideChange, Usage,
};

/// Shards a namespace; a client's number is uniform, so its first byte picks one.
const SHARDS: usize = 64;

/// Accounts that a walk takes out at a time.
const CHUNK: usize = 256;

/// Microseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> UnixMicros + Send + Sync>;

/// The system's clock.
#[must_use]
pub fn wall_clock() -> Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that the time comes in by")]
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    })
}

/// See the [module](self).
pub struct Memory {
    clock: Clock,
    spaces: RwLock<BTreeMap<String, Arc<NamespaceState>>>,
}

/// One namespace.
struct NamespaceState {
    shards: [Mutex<Shard>; SHARDS],
    board: Mutex<Overrides>,
}

impl NamespaceState {
    fn shard(&self, client: ClientId) -> MutexGuard<'_, Shard> {
        let [first, ..] = client.0;
        // There is a shard for every remainder; the first one is only for the compiler.
        let [fallback, ..] = &self.shards;
        locked(self.shards.get(usize::from(first) % SHARDS).unwrap_or(fallback))
    }
}

/// Nothing is left half done under these locks, so what a panic elsewhere has left is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// No accounts yet; `clock` is the backend's time.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, spaces: RwLock::default() }
    }

    fn space(&self, namespace: &str) -> Option<Arc<NamespaceState>> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    fn space_or_new(&self, namespace: &str) -> Arc<NamespaceState> {
        if let Some(space) = self.space(namespace) {
            return space;
        }
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            Arc::new(NamespaceState {
                shards: std::array::from_fn(|_| Mutex::default()),
                board: Mutex::default(),
            })
        };
        Arc::clone(spaces.entry(namespace.to_owned()).or_insert_with(fresh))
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
        // Memory that cannot be had ends the process.
        Ok(())
    }
}

#[async_trait]
impl AccountStore for Memory {
    async fn apply(&self, namespace: &str, entries: Vec<AccountEntry>) -> Result<AppliedBatch, BackendError> {
        let space = self.space_or_new(namespace);
        let now = (self.clock)();
        let answers = entries.into_iter().map(|entry| space.shard(entry.client).apply(entry, now)).collect();
        Ok(AppliedBatch { now, answers })
    }

    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError> {
        let now = (self.clock)();
        Ok(self.space(namespace).and_then(|space| space.shard(client).usage(client, month, now)))
    }

    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>> {
        let Some(space) = self.space(namespace) else { return stream::empty().boxed() };
        let now = (self.clock)();
        let chunks = stream::unfold((0, None), move |(index, after)| {
            let chunk =
                space.shards.get(index).map(|shard| locked(shard).usages_after(after, month, now, CHUNK));
            let next = chunk.map(|(usages, last)| match last {
                Some(_) => (usages, (index, last)),
                None => (usages, (index.saturating_add(1), None)),
            });
            std::future::ready(next)
        });
        chunks.flat_map(|usages| stream::iter(usages.into_iter().map(Ok))).boxed()
    }
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
        let space = self.space_or_new(namespace);
        let mut board = locked(&space.board);
        let now = (self.clock)();
        space.shard(client).reset(client, bucket, month, now);
        Ok(board.reset(client, audit, now))
    }

    async fn change_override(
        &self,
        namespace: &str,
        consumer: &str,
        change: OverrideChange,
    ) -> Result<Changed, BackendError> {
        Ok(locked(&self.space_or_new(namespace).board).change_override(consumer, change, (self.clock)()))
    }

    async fn revision(&self, namespace: &str) -> Result<u64, BackendError> {
        Ok(self.space(namespace).map_or(0, |space| locked(&space.board).revision()))
    }

    async fn snapshot(&self, namespace: &str, after: Mark) -> Result<NamespaceSnapshot, BackendError> {
        Ok(self
            .space(namespace)
            .map_or_else(NamespaceSnapshot::default, |space| locked(&space.board).snapshot(after)))
    }

    async fn audit(
        &self,
        namespace: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        Ok(self.space(namespace).map_or_else(Vec::new, |space| locked(&space.board).audit(before, limit)))
    }

    async fn document(&self, namespace: &str) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.space(namespace).and_then(|space| locked(&space.board).document.clone()))
    }

    async fn put_document(&self, namespace: &str, document: Vec<u8>) -> Result<(), BackendError> {
        locked(&self.space_or_new(namespace).board).document = Some(document);
        Ok(())
    }

    async fn namespaces(&self) -> Result<Vec<String>, BackendError> {
        Ok(self.spaces.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests;
