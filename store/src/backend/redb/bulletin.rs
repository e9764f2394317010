//! Overrides, resets and the audit log of a namespace.

use redb::{ReadTransaction, ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};
use tollgate::lease::client::ClientId;

use super::table::{self, failed};
use crate::backend::{BULLETIN_REMEMBERS, BackendError, Bulletin, OverrideRow};

/// Lines of the log that are kept.
const AUDIT_KEPT: u64 = 10_000;

/// What counts up in a namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// See [`Bulletin::revision`].
    revision: u64,
    /// See [`Bulletin::since`].
    since: u64,
    /// Rows of [`table::NEWS`].
    news: u64,
    /// The number of the log's newest line.
    lines: u64,
}

impl Counters {
    fn from_row(row: [u64; 4]) -> Self {
        let [revision, since, news, lines] = row;
        Self { revision, since, news, lines }
    }

    fn to_row(self) -> [u64; 4] {
        [self.revision, self.since, self.news, self.lines]
    }
}

/// What a node may have missed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    /// This client was reset.
    Reset(ClientId),
    /// This consumer's override was removed.
    Removed(String),
}

/// Sets or removes an override.
pub(super) fn put_override(
    transaction: &WriteTransaction,
    namespace: &str,
    consumer: &str,
    value: Option<&[u8]>,
    audit: &[u8],
) -> Result<u64, BackendError> {
    let news = value.is_none().then(|| News::Removed(consumer.to_owned()));
    let revision = tell(transaction, namespace, news.as_ref(), audit)?;
    let mut overrides = transaction.open_table(table::OVERRIDES).map_err(failed)?;
    overrides.insert((namespace, consumer), (revision, value)).map_err(failed)?;
    Ok(revision)
}

/// Tells that `client` was reset.
pub(super) fn tell_reset(
    transaction: &WriteTransaction,
    namespace: &str,
    client: ClientId,
    audit: &[u8],
) -> Result<u64, BackendError> {
    tell(transaction, namespace, Some(&News::Reset(client)), audit)
}

/// Counts the revision up, remembers `news`, and writes the line.
fn tell(
    transaction: &WriteTransaction,
    namespace: &str,
    news: Option<&News>,
    audit: &[u8],
) -> Result<u64, BackendError> {
    let mut table = transaction.open_table(table::COUNTERS).map_err(failed)?;
    let row = table.get(namespace).map_err(failed)?.map(|row| row.value());
    let mut counters = Counters::from_row(row.unwrap_or_default());
    counters.revision = counters.revision.saturating_add(1);
    counters.lines = counters.lines.saturating_add(1);
    {
        let mut lines = transaction.open_table(table::AUDIT).map_err(failed)?;
        lines.insert((namespace, counters.lines), audit).map_err(failed)?;
        if let Some(oldest) = counters.lines.checked_sub(AUDIT_KEPT) {
            lines.remove((namespace, oldest)).map_err(failed)?;
        }
    }
    if let Some(news) = news {
        let bytes = postcard::to_allocvec(news).map_err(|error| BackendError::Corrupt(error.to_string()))?;
        let mut table = transaction.open_table(table::NEWS).map_err(failed)?;
        table.insert((namespace, counters.revision), bytes.as_slice()).map_err(failed)?;
        counters.news = counters.news.saturating_add(1);
        if counters.news > BULLETIN_REMEMBERS as u64 {
            counters.news = counters.news.saturating_sub(1);
            counters.since = forget_oldest(transaction, &mut table, namespace)?.unwrap_or(counters.since);
        }
    }
    table.insert(namespace, counters.to_row()).map_err(failed)?;
    Ok(counters.revision)
}

/// Forgets the oldest news, and with it a removed override that nothing has replaced. What comes back is its revision.
fn forget_oldest(
    transaction: &WriteTransaction,
    news: &mut redb::Table<'_, (&str, u64), &[u8]>,
    namespace: &str,
) -> Result<Option<u64>, BackendError> {
    let oldest = news
        .range((namespace, 0)..=(namespace, u64::MAX))
        .map_err(failed)?
        .next()
        .transpose()
        .map_err(failed)?
        .map(|(key, bytes)| (key.value().1, bytes.value().to_vec()));
    let Some((revision, bytes)) = oldest else { return Ok(None) };
    news.remove((namespace, revision)).map_err(failed)?;
    if let News::Removed(consumer) = read_news(&bytes)? {
        let mut overrides = transaction.open_table(table::OVERRIDES).map_err(failed)?;
        let key = (namespace, consumer.as_str());
        let still = overrides.get(key).map_err(failed)?.is_some_and(|row| row.value() == (revision, None));
        if still {
            overrides.remove(key).map_err(failed)?;
        }
    }
    Ok(Some(revision))
}

pub(super) fn revision(transaction: &ReadTransaction, namespace: &str) -> Result<u64, BackendError> {
    Ok(counters(transaction, namespace)?.revision)
}

pub(super) fn read(transaction: &ReadTransaction, namespace: &str) -> Result<Bulletin, BackendError> {
    let counters = counters(transaction, namespace)?;
    let mut bulletin = Bulletin { revision: counters.revision, since: counters.since, ..Bulletin::default() };
    // From the namespace's first consumer on, until another namespace begins.
    let table = transaction.open_table(table::OVERRIDES).map_err(failed)?;
    for row in table.range((namespace, "")..).map_err(failed)? {
        let (key, row) = row.map_err(failed)?;
        let (owner, consumer) = key.value();
        if owner != namespace {
            break;
        }
        let (revision, value) = row.value();
        let value = value.map(<[u8]>::to_vec);
        bulletin.overrides.push(OverrideRow { revision, consumer: consumer.to_owned(), value });
    }
    let table = transaction.open_table(table::NEWS).map_err(failed)?;
    for row in table.range((namespace, 0)..=(namespace, u64::MAX)).map_err(failed)? {
        let (key, bytes) = row.map_err(failed)?;
        if let News::Reset(client) = read_news(bytes.value())? {
            bulletin.resets.push((key.value().1, client));
        }
    }
    Ok(bulletin)
}

pub(super) fn audit(
    transaction: &ReadTransaction,
    namespace: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
    let table = transaction.open_table(table::AUDIT).map_err(failed)?;
    let end = before.unwrap_or(u64::MAX);
    let lines = table.range((namespace, 0)..(namespace, end)).map_err(failed)?.rev().take(limit);
    lines
        .map(|line| {
            let (key, bytes) = line.map_err(failed)?;
            Ok((key.value().1, bytes.value().to_vec()))
        })
        .collect()
}

fn counters(transaction: &ReadTransaction, namespace: &str) -> Result<Counters, BackendError> {
    let table = transaction.open_table(table::COUNTERS).map_err(failed)?;
    let row = table.get(namespace).map_err(failed)?.map(|row| row.value());
    Ok(Counters::from_row(row.unwrap_or_default()))
}

fn read_news(bytes: &[u8]) -> Result<News, BackendError> {
    postcard::from_bytes(bytes).map_err(|_| BackendError::Corrupt("a reset or removal is damaged".into()))
}
