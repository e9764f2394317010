//! A namespace's overrides and resets, and the log of who changed them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tollgate_core::units::UnixMicros;

use tollgate_core::client::ClientId;

use super::super::{
    AUDIT_KEPT, CHANGES_REMEMBERED, Changed, Mark, NOTICES_REMEMBERED, NamespaceSnapshot, OverrideChange,
    OverrideRow,
};

/// See the [module](self).
#[derive(Default)]
pub struct Overrides {
    revision: u64,
    overrides: BTreeMap<String, (u64, Vec<u8>)>,
    /// Consumers whose override was removed, oldest first.
    removed: VecDeque<(u64, String)>,
    /// Clients that were reset, oldest first.
    resets: VecDeque<(u64, ClientId)>,
    /// Removals and resets up to this revision are forgotten.
    since: u64,
    /// When the newest changes were made, and of what, oldest first. The last one is that of `revision`.
    changes: VecDeque<(u64, Change)>,
    /// The lines, oldest first. The last one's number is `lines`.
    log: VecDeque<Vec<u8>>,
    lines: u64,
    /// The application's document.
    pub document: Option<Vec<u8>>,
}

/// What was changed.
enum Change {
    Override(String),
    Reset(ClientId),
}

impl Overrides {
    /// The newest revision.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Records that `client` was reset.
    pub fn reset(&mut self, client: ClientId, audit: Vec<u8>, now: UnixMicros) -> u64 {
        let revision = self.next(now, Change::Reset(client), audit);
        self.resets.push_back((revision, client));
        if self.resets.len() > NOTICES_REMEMBERED {
            self.since = self.since.max(self.resets.pop_front().map_or(0, |(revision, _)| revision));
        }
        revision
    }

    /// Sets or removes an override.
    pub fn change_override(&mut self, consumer: &str, change: OverrideChange, now: UnixMicros) -> Changed {
        let current = self.overrides.get(consumer);
        let count = || u64::try_from(self.overrides.len()).unwrap_or(u64::MAX);
        if let Some(refused) = change.refused(current.map(|(revision, _)| *revision), count) {
            return refused;
        }
        let line = change.line_with(current.map(|(_, value)| value.as_slice()));
        let revision = self.next(now, Change::Override(consumer.to_owned()), line);
        self.removed.retain(|(_, removed)| removed != consumer);
        match change.value {
            Some(value) => drop(self.overrides.insert(consumer.to_owned(), (revision, value))),
            None => {
                self.overrides.remove(consumer);
                self.removed.push_back((revision, consumer.to_owned()));
                if self.removed.len() > NOTICES_REMEMBERED {
                    self.since = self.since.max(self.removed.pop_front().map_or(0, |(revision, _)| revision));
                }
            }
        }
        Changed::To(revision)
    }

    /// What has changed after `after`, or everything.
    pub fn snapshot(&self, after: Mark) -> NamespaceSnapshot {
        self.changes_after(after).unwrap_or_else(|| self.whole())
    }

    fn changes_after(&self, after: Mark) -> Option<NamespaceSnapshot> {
        let missed = usize::try_from(self.revision.checked_sub(after.revision)?).ok()?;
        let known = self.changes.len().checked_sub(missed)?.checked_sub(1)?;
        if self.changes.get(known)?.0 != after.at {
            return None;
        }
        let (revision, at, since) = (self.revision, self.at(), self.since);
        let mut snapshot =
            NamespaceSnapshot { revision, at, since, after: after.revision, ..NamespaceSnapshot::default() };
        let mut told = BTreeSet::new();
        // The walk starts with the newest change, so that each override is listed once.
        let missed = self.changes.iter().rev().take(missed);
        for (revision, (_, change)) in (0..=self.revision).rev().zip(missed) {
            match change {
                Change::Reset(client) => snapshot.resets.push((revision, *client)),
                Change::Override(consumer) if told.insert(consumer) => {
                    snapshot.overrides.push(OverrideRow {
                        revision,
                        consumer: consumer.clone(),
                        value: self.overrides.get(consumer).map(|(_, value)| value.clone()),
                    });
                }
                Change::Override(_) => {}
            }
        }
        snapshot.resets.reverse();
        Some(snapshot)
    }

    fn whole(&self) -> NamespaceSnapshot {
        let set = self.overrides.iter().map(|(consumer, (revision, value))| OverrideRow {
            revision: *revision,
            consumer: consumer.clone(),
            value: Some(value.clone()),
        });
        let removed = self.removed.iter().map(|(revision, consumer)| OverrideRow {
            revision: *revision,
            consumer: consumer.clone(),
            value: None,
        });
        NamespaceSnapshot {
            revision: self.revision,
            at: self.at(),
            after: 0,
            overrides: set.chain(removed.filter(|row| row.revision > self.since)).collect(),
            resets: self.resets.iter().filter(|(revision, _)| *revision > self.since).copied().collect(),
            since: self.since,
        }
    }

    /// When the newest change was made.
    fn at(&self) -> u64 {
        self.changes.back().map_or(0, |(at, _)| *at)
    }

    /// Lines of the log, newest first.
    pub fn audit(&self, before: Option<u64>, limit: usize) -> Vec<(u64, Vec<u8>)> {
        let newest_first = self.log.iter().rev().zip((1..=self.lines).rev());
        let wanted = newest_first.filter(|(_, number)| before.is_none_or(|before| *number < before));
        wanted.take(limit).map(|(line, number)| (number, line.clone())).collect()
    }

    /// Adds a line to the log.
    pub fn add_line(&mut self, line: Vec<u8>) {
        keep(&mut self.log, line, AUDIT_KEPT);
        self.lines = self.lines.saturating_add(1);
    }

    fn next(&mut self, now: UnixMicros, change: Change, line: Vec<u8>) -> u64 {
        self.add_line(line);
        keep(&mut self.changes, (now.0, change), CHANGES_REMEMBERED);
        self.revision = self.revision.saturating_add(1);
        self.revision
    }
}

/// Adds `newest`, and drops the oldest if there are more than `most`.
fn keep<T>(all: &mut VecDeque<T>, newest: T, most: u64) {
    all.push_back(newest);
    if u64::try_from(all.len()).is_ok_and(|length| length > most) {
        all.pop_front();
    }
}
