//! What a namespace's nodes have to know at once, and who changed it.

use std::collections::{BTreeMap, VecDeque};

use tollgate::lease::client::ClientId;

use super::super::{BULLETIN_REMEMBERS, Bulletin, OverrideRow};

/// Lines of the log that are kept.
const AUDIT_LINES: usize = 10_000;

/// See the [module](self).
#[derive(Default)]
pub struct Board {
    revision: u64,
    overrides: BTreeMap<String, (u64, Vec<u8>)>,
    /// Consumers whose override was removed, oldest first.
    removed: VecDeque<(u64, String)>,
    /// Clients that were reset, oldest first.
    resets: VecDeque<(u64, ClientId)>,
    /// Up to here removals and resets are forgotten.
    since: u64,
    /// Oldest first; the last one's number is `lines`.
    log: VecDeque<Vec<u8>>,
    lines: u64,
    /// The application's.
    pub document: Option<Vec<u8>>,
}

impl Board {
    /// Counts up with every change.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Notes that `client` was reset.
    pub fn reset(&mut self, client: ClientId, audit: Vec<u8>) -> u64 {
        let revision = self.next(audit);
        self.resets.push_back((revision, client));
        if self.resets.len() > BULLETIN_REMEMBERS {
            self.since = self.since.max(self.resets.pop_front().map_or(0, |(revision, _)| revision));
        }
        revision
    }

    /// Sets or removes an override.
    pub fn put_override(&mut self, consumer: &str, value: Option<Vec<u8>>, audit: Vec<u8>) -> u64 {
        let revision = self.next(audit);
        self.removed.retain(|(_, removed)| removed != consumer);
        match value {
            Some(value) => drop(self.overrides.insert(consumer.to_owned(), (revision, value))),
            None => {
                self.overrides.remove(consumer);
                self.removed.push_back((revision, consumer.to_owned()));
                if self.removed.len() > BULLETIN_REMEMBERS {
                    self.since = self.since.max(self.removed.pop_front().map_or(0, |(revision, _)| revision));
                }
            }
        }
        revision
    }

    /// All of it.
    pub fn bulletin(&self) -> Bulletin {
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
        Bulletin {
            revision: self.revision,
            overrides: set.chain(removed.filter(|row| row.revision > self.since)).collect(),
            resets: self.resets.iter().filter(|(revision, _)| *revision > self.since).copied().collect(),
            since: self.since,
        }
    }

    /// Lines of the log, newest first.
    pub fn audit(&self, before: Option<u64>, limit: usize) -> Vec<(u64, Vec<u8>)> {
        let newest_first = self.log.iter().rev().zip((1..=self.lines).rev());
        let wanted = newest_first.filter(|(_, number)| before.is_none_or(|before| *number < before));
        wanted.take(limit).map(|(line, number)| (number, line.clone())).collect()
    }

    fn next(&mut self, audit: Vec<u8>) -> u64 {
        self.log.push_back(audit);
        self.lines = self.lines.saturating_add(1);
        if self.log.len() > AUDIT_LINES {
            self.log.pop_front();
        }
        self.revision = self.revision.saturating_add(1);
        self.revision
    }
}
