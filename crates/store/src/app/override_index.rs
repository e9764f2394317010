//! The overrides and resets of a namespace, for decisions and for what nodes are sent.
//!
//! An index never changes, so a call decides by the same state that it sends. A change makes a new index that shares
//! all parts but the changed one. So a change costs the same however many overrides there are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tollgate_core::units::UnixMicros;

use tollgate_core::client::Client;
use tollgate_core::client::{ClientId, Namespace};
use tollgate_core::name;
use tollgate_core::wire::{Change, ChangeKind};
use tracing::error;

use super::admin::override_spec::StoredOverride;
use super::tier::{CompiledTier, Tiers};
use crate::backend::{Mark, NamespaceSnapshot, OverrideRow};

/// The parts of an index. A namespace may have ten thousand overrides, so a part has about forty.
const PARTS: usize = 256;

/// How many changes are remembered one by one. For a node that has missed more, all overrides are searched.
const RECENT: usize = 256;

/// One consumer's override, or its removal.
#[derive(Debug)]
struct Row {
    /// The revision of the last change.
    revision: u64,
    consumer: String,
    /// The override, or `None` if it was removed.
    stored: Option<StoredOverride>,
    /// What the consumer is offered, or `None` if the store cannot compute with it.
    tier: Option<Arc<CompiledTier>>,
}

type Part = BTreeMap<ClientId, Arc<Row>>;

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct OverrideIndex {
    /// The newest change in the index.
    pub mark: Mark,
    since: u64,
    /// The parts, by the client's first byte.
    parts: Vec<Arc<Part>>,
    resets: Vec<(u64, ClientId)>,
    /// The overrides that have changed after revision `recent_after`, oldest first.
    recent: VecDeque<(u64, ClientId)>,
    recent_after: u64,
    /// The clients whose overrides were removed, oldest first. They are forgotten by [`Self::since`].
    removed: VecDeque<(u64, ClientId)>,
    /// How many overrides have an end.
    ending: usize,
}

impl Default for OverrideIndex {
    fn default() -> Self {
        Self {
            mark: Mark::default(),
            since: 0,
            parts: vec![Arc::default(); PARTS],
            resets: Vec::new(),
            recent: VecDeque::new(),
            recent_after: 0,
            removed: VecDeque::new(),
            ending: 0,
        }
    }
}

impl OverrideIndex {
    /// This index with the changes in `snapshot`, computed with `tiers`. A whole snapshot replaces the index. A row
    /// that cannot be read counts as no override, and is logged.
    #[must_use]
    pub fn with(&self, snapshot: NamespaceSnapshot, ids: &Namespace, tiers: &Tiers) -> Self {
        let is_whole = snapshot.after == 0;
        let mut index = if is_whole { Self::default() } else { self.clone() };
        index.mark = Mark { revision: snapshot.revision, at: snapshot.at };
        index.since = snapshot.since;
        if is_whole {
            index.recent_after = snapshot.revision;
        }
        let mut rows = snapshot.overrides;
        rows.sort_by_key(|row| row.revision);
        for row in rows {
            // A row may be from a version that allowed several spellings of a name, so that it is no name now.
            let named = name::read(&row.consumer, ids).map(|named| named.client);
            let client = named.unwrap_or_else(|| ids.id(&Client::Consumer(row.consumer.as_bytes())));
            if row.value.is_none() {
                index.removed.push_back((row.revision, client));
            }
            if !is_whole {
                index.remember(row.revision, client);
            }
            index.put(client, Some(read(row, tiers)));
        }
        index.resets.extend(snapshot.resets);
        index.resets.retain(|(revision, _)| *revision > snapshot.since);
        index.forget_removed();
        index
    }

    /// The same index, computed with other tiers.
    #[must_use]
    pub fn in_terms_of(&self, tiers: &Tiers) -> Self {
        let again = |row: &Row| {
            let stored = row.stored.clone();
            let tier = stored.as_ref().and_then(|stored| tiers.find(&stored.offer(tiers)));
            Arc::new(Row { revision: row.revision, consumer: row.consumer.clone(), stored, tier })
        };
        let part =
            |part: &Arc<Part>| Arc::new(part.iter().map(|(client, row)| (*client, again(row))).collect());
        Self { parts: self.parts.iter().map(part).collect(), ..self.clone() }
    }

    /// What the override of `client` offers at `now`.
    #[must_use]
    pub fn offered(&self, client: ClientId, now: UnixMicros) -> Option<&Arc<CompiledTier>> {
        self.part(client)?.get(&client).and_then(|row| row.offered(now))
    }

    /// Whether [`Self::offered`] needs the time. Reading the backend's clock costs a call.
    #[must_use]
    pub const fn has_ending(&self) -> bool {
        self.ending > 0
    }

    /// Whether an override is based on the tier called `name`.
    #[must_use]
    pub fn has_of(&self, name: &str) -> bool {
        self.rows()
            .filter_map(|(_, row)| row.stored.as_ref())
            .any(|stored| stored.spec.tier.as_deref() == Some(name))
    }

    /// The override of `client`, and its revision.
    #[must_use]
    pub fn get(&self, client: ClientId) -> Option<(u64, &StoredOverride)> {
        let row = self.part(client)?.get(&client)?;
        Some((row.revision, row.stored.as_ref()?))
    }

    /// Every override, sorted by consumer.
    #[must_use]
    pub fn all(&self) -> Vec<(&str, u64, &StoredOverride)> {
        let all =
            self.rows().filter_map(|(_, row)| Some((&*row.consumer, row.revision, row.stored.as_ref()?)));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|(consumer, ..)| *consumer);
        all
    }

    /// The consumers whose overrides have ended at `now`, and the revisions of these overrides.
    #[must_use]
    pub fn ended(&self, now: UnixMicros) -> Vec<(&str, u64)> {
        if !self.has_ending() {
            return Vec::new();
        }
        let is_over = |row: &&Arc<Row>| row.stored.as_ref().is_some_and(|stored| stored.is_over(now));
        self.rows().map(|(_, row)| row).filter(is_over).map(|row| (&*row.consumer, row.revision)).collect()
    }

    /// What to send to a node that knows revision `known`, and whether that is the whole state.
    #[must_use]
    pub fn changes_since(&self, known: u64, now: UnixMicros) -> (bool, Vec<Change>) {
        let revision = self.mark.revision;
        // The node's revision is older than what is remembered, or the backend has lost it.
        let is_whole = known == 0 || known < self.since || known > revision;
        if known == revision && !is_whole {
            return (false, Vec::new());
        }
        let after = if is_whole { 0 } else { known };
        let change = |client: ClientId, row: &Row| {
            let what = match row.offered(now) {
                Some(tier) => ChangeKind::Override(tier.offer.clone()),
                None if is_whole => return None,
                None => ChangeKind::NoOverride,
            };
            Some(Change { client, what })
        };
        let mut changes: Vec<Change> = if !is_whole && after >= self.recent_after {
            let recent = self.recent.iter().rev().take_while(|(revision, _)| *revision > after);
            let rows = recent.filter_map(|(revision, client)| {
                let row = self.part(*client)?.get(client)?;
                // An older change of the same override is sent with the newest one.
                (row.revision == *revision).then_some((*client, row))
            });
            rows.filter_map(|(client, row)| change(client, row)).collect()
        } else {
            let rows = self.rows().filter(|(_, row)| row.revision > after);
            rows.filter_map(|(client, row)| change(client, row)).collect()
        };
        let resets = self.resets.iter().filter(|(revision, _)| *revision > after);
        changes.extend(resets.map(|(_, client)| Change { client: *client, what: ChangeKind::Reset }));
        (is_whole, changes)
    }

    fn rows(&self) -> impl Iterator<Item = (ClientId, &Arc<Row>)> {
        self.parts.iter().flat_map(|part| part.iter()).map(|(client, row)| (*client, row))
    }

    fn part(&self, client: ClientId) -> Option<&Arc<Part>> {
        let [first, ..] = client.0;
        self.parts.get(usize::from(first))
    }

    /// Replaces the client's row by `row`, or removes it.
    fn put(&mut self, client: ClientId, row: Option<Row>) {
        let [first, ..] = client.0;
        let Some(part) = self.parts.get_mut(usize::from(first)) else { return };
        let ends =
            |row: &Row| usize::from(row.stored.as_ref().is_some_and(|stored| stored.expires_at.is_some()));
        let added = row.as_ref().map_or(0, ends);
        let part = Arc::make_mut(part);
        let before = match row {
            Some(row) => part.insert(client, Arc::new(row)),
            None => part.remove(&client),
        };
        let taken = before.as_deref().map_or(0, ends);
        self.ending = self.ending.saturating_add(added).saturating_sub(taken);
    }

    fn remember(&mut self, revision: u64, client: ClientId) {
        if self.recent.len() >= RECENT {
            self.recent_after = self.recent.pop_front().map_or(self.recent_after, |(revision, _)| revision);
        }
        self.recent.push_back((revision, client));
    }

    /// Drops removals that no node has to be sent any more, as the backend does.
    fn forget_removed(&mut self) {
        while let Some((revision, client)) = self.removed.front().copied() {
            if revision > self.since {
                return;
            }
            self.removed.pop_front();
            let is_it = |row: &Arc<Row>| row.revision == revision && row.stored.is_none();
            if self.part(client).and_then(|part| part.get(&client)).is_some_and(is_it) {
                self.put(client, None);
            }
        }
    }
}

impl Row {
    fn offered(&self, now: UnixMicros) -> Option<&Arc<CompiledTier>> {
        let is_over = self.stored.as_ref().is_some_and(|stored| stored.is_over(now));
        self.tier.as_ref().filter(|_| !is_over)
    }
}

/// Reads a row of the backend.
fn read(row: OverrideRow, tiers: &Tiers) -> Row {
    let OverrideRow { revision, consumer, value } = row;
    let stored = value.and_then(|value| {
        let read: Result<StoredOverride, _> = serde_json::from_slice(&value);
        read.inspect_err(|why| error!(consumer, %why, "an override cannot be read")).ok()
    });
    let tier = stored.as_ref().and_then(|stored| tiers.find(&stored.offer(tiers)));
    Row { revision, consumer, stored, tier }
}
