//! Accounts in one file on this machine: durable, embedded, and for one store process. This is the default.
//!
//! One thread writes. It takes all queued calls, applies them in one transaction, commits, and answers them. So the
//! disk is waited for once per group and not once per call, and what was answered survives a kill. Reads see the last
//! commit and never wait for a write.
//!
//! | module | what it is |
//! | --- | --- |
//! | `file` | the file, reopened after an error of its disk |
//! | `table` | the tables |
//! | `row` | what is kept of one client |
//! | `days` | what clients use by day |
//! | `reservation` | what applications hold until they know the cost |
//! | `writer` | the thread that writes, and group commit |
//! | `snapshot` | overrides, resets, audit log |
//! | `customers` | who pays for which consumer |
//! | `sweep` | forgets anonymous clients whose buckets are full again, old reservations and old days |

mod customers;
mod days;
mod file;
mod reservation;
mod row;
mod snapshot;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;
use tollgate_core::units::{Cost, UnixMicros};

use crate::accounts::Applied;
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use redb::ReadableTable as _;
use tollgate_core::client::ClientId;
use tollgate_core::wire::{Answer, Ask};

use super::clock::{self, Clock};
use super::{
    AccountEntry, AccountStore, AppliedBatch, Backend, BackendError, Changed, Mark, NamespaceSnapshot,
    NamespaceStore, OverrideChange, Usage, probe,
};
use file::File;
use row::Row;
use writer::Writer;

/// The size of the cache of the file's pages, in bytes.
const CACHE: usize = 128 << 20;

/// What a probe writes besides its charge, in bytes. If there is room for this, there is room for many charges.
const BALLAST: usize = 65_536;

/// How many consumers a listing reads at once.
const PAGE: usize = 512;

/// What was read, and the last client, or `None` at the end.
type Page<T> = (Vec<T>, Option<[u8; 16]>);

/// Accounts in one redb file.
pub struct Redb {
    writer: Writer,
    file: Arc<File>,
    clock: Clock,
}

impl Redb {
    /// Opens the file at `path`, or creates it. Its time is the machine's.
    ///
    /// # Errors
    /// [`BackendError::Away`] if the file cannot be opened or another process has it, [`BackendError::Corrupt`] if it
    /// is not a store's file.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        Self::open_with(path, clock::system()).await
    }

    /// Opens the file with another clock.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub async fn open_with(path: impl AsRef<Path>, clock: Clock) -> Result<Self, BackendError> {
        let path = path.as_ref().to_owned();
        let file = tokio::task::spawn_blocking(move || File::open(&path)).await.map_err(stopped)??;
        let file = Arc::new(file);
        let writer = Writer::start(Arc::clone(&file), Arc::clone(&clock))?;
        Ok(Self { writer, file, clock })
    }

    /// Reads one page after the other: `page` gets the client after which to go on, and returns the last one that it has read.
    fn walk<T: Send + 'static>(
        &self,
        namespace: &str,
        page: impl Fn(&redb::ReadTransaction, &str, Option<[u8; 16]>) -> Result<Page<T>, BackendError>
        + Clone
        + Send
        + 'static,
    ) -> BoxStream<'static, Result<T, BackendError>> {
        let start = Some((Arc::clone(&self.file), namespace.to_owned(), None));
        stream::try_unfold(start, move |place| {
            let page = page.clone();
            async move {
                let Some((file, namespace, after)) = place else { return Ok::<_, BackendError>(None) };
                let ((items, last), namespace) = read(Arc::clone(&file), move |transaction| {
                    Ok((page(transaction, &namespace, after)?, namespace))
                })
                .await?;
                let next = last.map(|last| (file, namespace, Some(last)));
                Ok(Some((stream::iter(items.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
        .boxed()
    }

    /// Reads from the last commit, on a thread that serves no requests.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&redb::ReadTransaction) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        read(Arc::clone(&self.file), query).await
    }
}

async fn read<T: Send + 'static>(
    file: Arc<File>,
    query: impl FnOnce(&redb::ReadTransaction) -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    let work = move || query(&file.read()?);
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

#[async_trait]
impl Backend for Redb {
    fn kind(&self) -> &'static str {
        "redb"
    }

    async fn now(&self) -> Result<UnixMicros, BackendError> {
        self.read(|_| Ok(())).await?;
        Ok((self.clock)())
    }

    async fn probe(&self) -> Result<(), BackendError> {
        let entries = [probe::charge(ClientId::default())];
        let write = move |transaction: &redb::WriteTransaction, now| {
            apply(transaction, probe::NAMESPACE, &entries, now)?;
            let mut documents = transaction.open_table(table::DOCUMENTS).map_err(table::failed)?;
            documents.insert(probe::NAMESPACE, [0; BALLAST].as_slice()).map_err(table::failed)?;
            Ok(())
        };
        self.writer.change(write).await
    }
}

#[async_trait]
impl AccountStore for Redb {
    async fn apply(&self, namespace: &str, entries: Vec<AccountEntry>) -> Result<AppliedBatch, BackendError> {
        let namespace = namespace.to_owned();
        let work = move |transaction: &redb::WriteTransaction, now| {
            register(transaction, &namespace)?;
            apply(transaction, &namespace, &entries, now)
        };
        self.writer.change(work).await
    }

    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError> {
        let (namespace, now) = (namespace.to_owned(), (self.clock)());
        self.read(move |transaction| {
            let accounts = transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
            let found = accounts.get((namespace.as_str(), client.0)).map_err(table::failed)?;
            found.map(|bytes| Ok(Row::from_bytes(bytes.value())?.usage(client, month, now))).transpose()
        })
        .await
    }

    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>> {
        let now = (self.clock)();
        self.walk(namespace, move |transaction, namespace, after| {
            page(transaction, namespace, after, month, now)
        })
    }
}

#[async_trait]
impl NamespaceStore for Redb {
    async fn reset(
        &self,
        namespace: &str,
        client: ClientId,
        bucket: bool,
        month: bool,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError> {
        let namespace = namespace.to_owned();
        let work = move |transaction: &redb::WriteTransaction, now| {
            {
                let mut accounts = transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
                let key = (namespace.as_str(), client.0);
                let found = accounts.get(key).map_err(table::failed)?;
                let row = found.map(|bytes| Row::from_bytes(bytes.value())).transpose()?;
                if let Some(mut row) = row {
                    row.account.reset(bucket, month, now);
                    accounts.insert(key, row.to_bytes().as_slice()).map_err(table::failed)?;
                }
            }
            snapshot::record_reset(transaction, &namespace, client, &audit, now)
        };
        self.writer.change(work).await
    }

    async fn change_override(
        &self,
        namespace: &str,
        consumer: &str,
        change: OverrideChange,
    ) -> Result<Changed, BackendError> {
        let (namespace, consumer) = (namespace.to_owned(), consumer.to_owned());
        let work = move |transaction: &redb::WriteTransaction, now| {
            snapshot::change_override(transaction, &namespace, &consumer, &change, now)
        };
        self.writer.change(work).await
    }

    async fn revision(&self, namespace: &str) -> Result<u64, BackendError> {
        let namespace = namespace.to_owned();
        self.read(move |transaction| snapshot::revision(transaction, &namespace)).await
    }

    async fn snapshot(&self, namespace: &str, after: Mark) -> Result<NamespaceSnapshot, BackendError> {
        let namespace = namespace.to_owned();
        self.read(move |transaction| snapshot::read(transaction, &namespace, after)).await
    }

    async fn audit(
        &self,
        namespace: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        let namespace = namespace.to_owned();
        self.read(move |transaction| snapshot::audit(transaction, &namespace, before, limit)).await
    }

    async fn document(&self, namespace: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let namespace = namespace.to_owned();
        self.read(move |transaction| {
            let documents = transaction.open_table(table::DOCUMENTS).map_err(table::failed)?;
            let found = documents.get(namespace.as_str()).map_err(table::failed)?;
            Ok(found.map(|bytes| bytes.value().to_vec()))
        })
        .await
    }

    async fn put_document(&self, namespace: &str, document: Vec<u8>) -> Result<(), BackendError> {
        let namespace = namespace.to_owned();
        let work = move |transaction: &redb::WriteTransaction, _| {
            let mut documents = transaction.open_table(table::DOCUMENTS).map_err(table::failed)?;
            documents.insert(namespace.as_str(), document.as_slice()).map_err(table::failed)?;
            Ok(())
        };
        self.writer.change(work).await
    }

    async fn namespaces(&self) -> Result<Vec<String>, BackendError> {
        self.read(|transaction| {
            let namespaces = transaction.open_table(table::NAMESPACES).map_err(table::failed)?;
            let all = namespaces.iter().map_err(table::failed)?;
            all.map(|row| Ok(row.map_err(table::failed)?.0.value().to_owned())).collect()
        })
        .await
    }
}

/// Adds `namespace` to the namespaces that have accounts.
fn register(transaction: &redb::WriteTransaction, namespace: &str) -> Result<(), BackendError> {
    let mut namespaces = transaction.open_table(table::NAMESPACES).map_err(table::failed)?;
    let is_known = namespaces.get(namespace).map_err(table::failed)?.is_some();
    if !is_known {
        namespaces.insert(namespace, ()).map_err(table::failed)?;
    }
    Ok(())
}

/// Applies `entries` in order. If an account cannot be read, only its entry fails: one damaged client must not fail
/// every batch that it is in.
fn apply(
    transaction: &redb::WriteTransaction,
    namespace: &str,
    entries: &[AccountEntry],
    now: UnixMicros,
) -> Result<AppliedBatch, BackendError> {
    let mut accounts = transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
    let mut answers = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = (namespace, entry.client.0);
        let found = accounts.get(key).map_err(table::failed)?;
        let row = found.map_or_else(|| Ok(Row::default()), |bytes| Row::from_bytes(bytes.value()));
        let mut row = match row {
            Ok(row) => row,
            Err(error) => {
                tracing::error!("{namespace}: client {}: {error}", entry.client);
                answers.push(Answer::Failed);
                continue;
            }
        };
        let applied = match &entry.ask {
            Ask::Lease(lease) => row.account.apply(&entry.terms, entry.node, lease, now),
            Ask::Charge { cost } => Applied::Grant(row.account.charge(&entry.terms, *cost, now)),
        };
        let moved = row.account.take_moved();
        if !entry.is_anonymous {
            days::add(transaction, namespace, entry.client, &moved, now)?;
        }
        row.describe(entry);
        accounts.insert(key, row.to_bytes().as_slice()).map_err(table::failed)?;
        answers.push(match applied {
            Applied::Grant(grant) => Answer::Grant(grant),
            Applied::Stale => Answer::Stale,
        });
    }
    Ok(AppliedBatch { now, answers })
}

/// The consumers after `after` that used something in `month`; and the last client that was read, or `None` at the end.
fn page(
    transaction: &redb::ReadTransaction,
    namespace: &str,
    after: Option<[u8; 16]>,
    month: u16,
    now: UnixMicros,
) -> Result<Page<Usage>, BackendError> {
    use std::ops::Bound::{Excluded, Included};
    let accounts = transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
    let start = after.map_or(Included((namespace, [0; 16])), |after| Excluded((namespace, after)));
    let rows = accounts
        .range::<(&str, [u8; 16])>((start, Included((namespace, [0xff; 16]))))
        .map_err(table::failed)?;
    let (mut usages, mut last, mut seen) = (Vec::new(), None, 0_usize);
    for row in rows.take(PAGE) {
        let (key, bytes) = row.map_err(table::failed)?;
        let id = key.value().1;
        let usage = Row::from_bytes(bytes.value())?.usage(ClientId(id), month, now);
        if usage.name.is_some() && usage.used > Cost(0) {
            usages.push(usage);
        }
        seen = seen.saturating_add(1);
        last = Some(id);
    }
    Ok((usages, last.filter(|_| seen == PAGE)))
}

fn stopped(error: impl std::fmt::Display) -> BackendError {
    BackendError::Away(format!("its thread has stopped: {error}"))
}
