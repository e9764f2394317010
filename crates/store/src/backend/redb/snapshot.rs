//! Overrides, resets and the audit log of a namespace.

use std::collections::BTreeSet;
use tollgate_core::units::UnixMicros;

use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};
use tollgate_core::client::ClientId;

use super::table::{self, failed};
use crate::backend::{
    AUDIT_KEPT, BackendError, CHANGES_REMEMBERED, Changed, Mark, NOTICES_REMEMBERED, NamespaceSnapshot,
    OverrideChange, OverrideRow,
};

/// The counters of a namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// See [`NamespaceSnapshot::revision`].
    revision: u64,
    /// See [`NamespaceSnapshot::since`].
    since: u64,
    /// How many rows [`table::NOTICES`] has.
    notices: u64,
    /// The number of the log's newest line.
    lines: u64,
}

impl Counters {
    fn from_row(row: [u64; 4]) -> Self {
        let [revision, since, notices, lines] = row;
        Self { revision, since, notices, lines }
    }

    fn to_row(self) -> [u64; 4] {
        [self.revision, self.since, self.notices, self.lines]
    }
}

/// A change that a node may have missed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ChangeKind {
    /// This client was reset.
    Reset(ClientId),
    /// This consumer's override was removed.
    Removed(String),
    /// This consumer's override was set. Only the changes have it, because every snapshot has all overrides.
    Set(String),
}

/// Sets or removes an override if that is allowed.
pub(super) fn change_override(
    transaction: &WriteTransaction,
    namespace: &str,
    consumer: &str,
    change: &OverrideChange,
    now: UnixMicros,
) -> Result<Changed, BackendError> {
    let mut overrides = transaction.open_table(table::OVERRIDES).map_err(failed)?;
    let counters = counters(&transaction.open_table(table::COUNTERS).map_err(failed)?, namespace)?;
    let count = count(transaction, &overrides, namespace, counters.revision)?;
    let value = change.value.as_deref();
    let line = {
        let found = overrides.get((namespace, consumer)).map_err(failed)?;
        let current = found.as_ref().and_then(|row| {
            let (revision, value) = row.value();
            Some((revision, value?))
        });
        if let Some(refused) = change.refused(current.map(|(revision, _)| revision), || count) {
            return Ok(refused);
        }
        (change.line_with(current.map(|(_, before)| before)), current.is_some())
    };
    let (line, was_set) = line;
    let made = match value {
        Some(_) => ChangeKind::Set(consumer.to_owned()),
        None => ChangeKind::Removed(consumer.to_owned()),
    };
    let revision = record_change(transaction, &mut overrides, namespace, &made, &line, now)?;
    overrides.insert((namespace, consumer), (revision, value)).map_err(failed)?;
    let count = match (was_set, value.is_some()) {
        (false, true) => count.saturating_add(1),
        (true, false) => count.saturating_sub(1),
        _ => count,
    };
    let mut counts = transaction.open_table(table::COUNTS).map_err(failed)?;
    counts.insert(namespace, (revision, count)).map_err(failed)?;
    Ok(Changed::To(revision))
}

/// How many overrides the namespace has at `revision`.
fn count(
    transaction: &WriteTransaction,
    overrides: &impl ReadableTable<(&'static str, &'static str), table::Override<'static>>,
    namespace: &str,
    revision: u64,
) -> Result<u64, BackendError> {
    let counts = transaction.open_table(table::COUNTS).map_err(failed)?;
    let known = counts.get(namespace).map_err(failed)?.map(|row| row.value());
    if let Some((_, count)) = known.filter(|(at, _)| *at == revision) {
        return Ok(count);
    }
    let mut count = 0_u64;
    for row in overrides.range((namespace, "")..).map_err(failed)? {
        let (key, row) = row.map_err(failed)?;
        if key.value().0 != namespace {
            break;
        }
        count = count.saturating_add(row.value().1.is_some().into());
    }
    Ok(count)
}

/// Records that `client` was reset.
pub(super) fn record_reset(
    transaction: &WriteTransaction,
    namespace: &str,
    client: ClientId,
    audit: &[u8],
    now: UnixMicros,
) -> Result<u64, BackendError> {
    let mut overrides = transaction.open_table(table::OVERRIDES).map_err(failed)?;
    let before = counters(&transaction.open_table(table::COUNTERS).map_err(failed)?, namespace)?.revision;
    let revision =
        record_change(transaction, &mut overrides, namespace, &ChangeKind::Reset(client), audit, now)?;
    let mut counts = transaction.open_table(table::COUNTS).map_err(failed)?;
    let known = counts.get(namespace).map_err(failed)?.map(|row| row.value());
    if let Some((_, count)) = known.filter(|(at, _)| *at == before) {
        counts.insert(namespace, (revision, count)).map_err(failed)?;
    }
    Ok(revision)
}

/// Writes a line about something that no gateway has to know: the revision stays.
pub(super) fn record_line(
    transaction: &WriteTransaction,
    namespace: &str,
    line: &[u8],
) -> Result<(), BackendError> {
    let mut table = transaction.open_table(table::COUNTERS).map_err(failed)?;
    let mut counters = counters(&table, namespace)?;
    write_line(transaction, &mut counters, namespace, line)?;
    table.insert(namespace, counters.to_row()).map_err(failed)?;
    Ok(())
}

/// Writes the next line of the log, and forgets the oldest one.
fn write_line(
    transaction: &WriteTransaction,
    counters: &mut Counters,
    namespace: &str,
    line: &[u8],
) -> Result<(), BackendError> {
    counters.lines = counters.lines.saturating_add(1);
    let mut lines = transaction.open_table(table::AUDIT).map_err(failed)?;
    lines.insert((namespace, counters.lines), line).map_err(failed)?;
    if let Some(oldest) = counters.lines.checked_sub(AUDIT_KEPT) {
        lines.remove((namespace, oldest)).map_err(failed)?;
    }
    Ok(())
}

/// Increments the revision, remembers `change`, and writes the line.
fn record_change(
    transaction: &WriteTransaction,
    overrides: &mut Overrides<'_>,
    namespace: &str,
    change: &ChangeKind,
    line: &[u8],
    now: UnixMicros,
) -> Result<u64, BackendError> {
    let mut table = transaction.open_table(table::COUNTERS).map_err(failed)?;
    let mut counters = counters(&table, namespace)?;
    counters.revision = counters.revision.saturating_add(1);
    write_line(transaction, &mut counters, namespace, line)?;
    let bytes = postcard::to_allocvec(change).map_err(|error| BackendError::Corrupt(error.to_string()))?;
    {
        let mut changes = transaction.open_table(table::CHANGES).map_err(failed)?;
        changes.insert((namespace, counters.revision), (now.0, bytes.as_slice())).map_err(failed)?;
        if let Some(oldest) = counters.revision.checked_sub(CHANGES_REMEMBERED) {
            changes.remove((namespace, oldest)).map_err(failed)?;
        }
    }
    if !matches!(change, ChangeKind::Set(_)) {
        let mut table = transaction.open_table(table::NOTICES).map_err(failed)?;
        table.insert((namespace, counters.revision), bytes.as_slice()).map_err(failed)?;
        counters.notices = counters.notices.saturating_add(1);
        if counters.notices > NOTICES_REMEMBERED as u64 {
            counters.notices = counters.notices.saturating_sub(1);
            counters.since = forget_oldest(overrides, &mut table, namespace)?.unwrap_or(counters.since);
        }
    }
    table.insert(namespace, counters.to_row()).map_err(failed)?;
    Ok(counters.revision)
}

type Overrides<'a> = redb::Table<'a, (&'static str, &'static str), table::Override<'static>>;

/// Forgets the oldest notice, and the removed override that it is about unless that was set again. The result is its
/// revision.
fn forget_oldest(
    overrides: &mut Overrides<'_>,
    notices: &mut redb::Table<'_, (&str, u64), &[u8]>,
    namespace: &str,
) -> Result<Option<u64>, BackendError> {
    let oldest = notices
        .range((namespace, 0)..=(namespace, u64::MAX))
        .map_err(failed)?
        .next()
        .transpose()
        .map_err(failed)?
        .map(|(key, bytes)| (key.value().1, bytes.value().to_vec()));
    let Some((revision, bytes)) = oldest else { return Ok(None) };
    notices.remove((namespace, revision)).map_err(failed)?;
    if let ChangeKind::Removed(consumer) = read_change(&bytes)? {
        let key = (namespace, consumer.as_str());
        let still = overrides.get(key).map_err(failed)?.is_some_and(|row| row.value() == (revision, None));
        if still {
            overrides.remove(key).map_err(failed)?;
        }
    }
    Ok(Some(revision))
}

pub(super) fn revision(transaction: &ReadTransaction, namespace: &str) -> Result<u64, BackendError> {
    Ok(counters(&transaction.open_table(table::COUNTERS).map_err(failed)?, namespace)?.revision)
}

pub(super) fn read(
    transaction: &ReadTransaction,
    namespace: &str,
    after: Mark,
) -> Result<NamespaceSnapshot, BackendError> {
    let counters = counters(&transaction.open_table(table::COUNTERS).map_err(failed)?, namespace)?;
    let changes = transaction.open_table(table::CHANGES).map_err(failed)?;
    let made_at = |revision: u64| -> Result<u64, BackendError> {
        Ok(changes.get((namespace, revision)).map_err(failed)?.map_or(0, |row| row.value().0))
    };
    let (revision, since, at) = (counters.revision, counters.since, made_at(counters.revision)?);
    let mut snapshot = NamespaceSnapshot { revision, at, since, ..NamespaceSnapshot::default() };
    if after.revision > 0
        && after.revision <= revision
        && after.at > 0
        && made_at(after.revision)? == after.at
    {
        snapshot.after = after.revision;
        return read_changes(transaction, &changes, namespace, snapshot);
    }
    // The rows of this namespace end where another namespace begins.
    let table = transaction.open_table(table::OVERRIDES).map_err(failed)?;
    for row in table.range((namespace, "")..).map_err(failed)? {
        let (key, row) = row.map_err(failed)?;
        let (owner, consumer) = key.value();
        if owner != namespace {
            break;
        }
        let (revision, value) = row.value();
        let value = value.map(<[u8]>::to_vec);
        snapshot.overrides.push(OverrideRow { revision, consumer: consumer.to_owned(), value });
    }
    let table = transaction.open_table(table::NOTICES).map_err(failed)?;
    for row in table.range((namespace, 0)..=(namespace, u64::MAX)).map_err(failed)? {
        let (key, bytes) = row.map_err(failed)?;
        if let ChangeKind::Reset(client) = read_change(bytes.value())? {
            snapshot.resets.push((key.value().1, client));
        }
    }
    Ok(snapshot)
}

/// Adds to `snapshot` what has changed after its first revision.
fn read_changes(
    transaction: &ReadTransaction,
    changes: &impl ReadableTable<(&'static str, u64), (u64, &'static [u8])>,
    namespace: &str,
    mut snapshot: NamespaceSnapshot,
) -> Result<NamespaceSnapshot, BackendError> {
    let overrides = transaction.open_table(table::OVERRIDES).map_err(failed)?;
    let (first, last) = (snapshot.after.saturating_add(1), snapshot.revision);
    if first > last {
        return Ok(snapshot);
    }
    let mut told = BTreeSet::new();
    for row in changes.range((namespace, first)..=(namespace, last)).map_err(failed)? {
        let (key, row) = row.map_err(failed)?;
        let revision = key.value().1;
        match read_change(row.value().1)? {
            ChangeKind::Reset(client) => snapshot.resets.push((revision, client)),
            ChangeKind::Set(consumer) | ChangeKind::Removed(consumer) if !told.contains(&consumer) => {
                let row = overrides.get((namespace, consumer.as_str())).map_err(failed)?;
                // The removal may have been forgotten.
                let (revision, value) = row.as_ref().map_or((revision, None), |row| row.value());
                let value = value.map(<[u8]>::to_vec);
                snapshot.overrides.push(OverrideRow { revision, consumer: consumer.clone(), value });
                told.insert(consumer);
            }
            ChangeKind::Set(_) | ChangeKind::Removed(_) => {}
        }
    }
    Ok(snapshot)
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

fn counters(
    table: &impl ReadableTable<&'static str, [u64; 4]>,
    namespace: &str,
) -> Result<Counters, BackendError> {
    let row = table.get(namespace).map_err(failed)?.map(|row| row.value());
    Ok(Counters::from_row(row.unwrap_or_default()))
}

fn read_change(bytes: &[u8]) -> Result<ChangeKind, BackendError> {
    postcard::from_bytes(bytes).map_err(|_| BackendError::Corrupt("a reset or removal is damaged".into()))
}
