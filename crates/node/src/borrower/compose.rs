//! A tick's batch: reports about the clients that are due, composed a slice at a time.

use std::collections::BTreeSet;

use tollgate_core::client::ClientId;
use tollgate_core::policy::Policy;
use tollgate_core::terms::tag;
use tollgate_core::units::Cost;
use tollgate_core::wire::{Ask, Entry};

use super::client_stats::ClientStats;
use super::message::{as_sent, message_of};
use super::{Borrower, Call, Timing};
use crate::clock::NodeMillis;
use crate::lease::Wish;
use crate::table::{Change, Records, SharedData, Updated};

/// A worker's clients by the moment of their next review; each is queued at most once.
pub(super) type Queue = BTreeSet<(NodeMillis, ClientId)>;

/// Cap on name bytes per batch, so that a full batch fits the store's body limit.
pub(super) const MAX_NAMES: usize = 256 * 1_024;

/// The most reports in one batch, so that it is soon written and read. Entries that requests wait for come on top.
pub(super) const MAX_COMPOSED: usize = 1_000;

/// The next batch, while it is composed.
#[derive(Debug, Default)]
pub(super) struct Composed {
    entries: Vec<Entry>,
    /// Bytes of their names.
    names: usize,
    /// How many full slices it has taken.
    slices: u64,
    /// When the first entry was made: what is lent lasts from then on.
    since: NodeMillis,
}

impl Composed {
    const fn has_room(&self) -> bool {
        self.entries.len() < MAX_COMPOSED && self.names < MAX_NAMES
    }
}

impl Borrower {
    /// Adds a slice of what is due to the next batch, and returns the batch once it is to be sent. If requests are `waiting`,
    /// it is sent now.
    pub fn compose(
        &mut self,
        policy: &Policy,
        records: &Records<'_, impl SharedData>,
        waiting: usize,
    ) -> Option<Call> {
        if self.node == 0 {
            return None;
        }
        let now = records.now.millis();
        let is_probe = self.breaker.is_open();
        if is_probe && !self.breaker.may_try(now) {
            // The next worker that reviews these records reports them again.
            self.batch = Composed::default();
            return None;
        }
        let mut batch = std::mem::take(&mut self.batch);
        if batch.entries.is_empty() {
            batch.since = now;
        }
        let waited = now.since(self.last_batch);
        // Composing begins so late that the reports are still true when they are sent, and so early that all fit in.
        let early = self.timing.tick().times(self.slices);
        let is_near = waited.plus(early) >= self.timing.interval;
        let first = self.queue.first().map_or(now, |(at, _)| *at);
        let is_late = now.since(first) > Timing::BEHIND;
        self.slice = if is_late { Timing::LARGE_SLICE } else { Timing::SLICE };
        if (is_near || is_probe || waiting > 0) && self.compose_slice(policy, records, &mut batch) {
            batch.slices = batch.slices.saturating_add(1);
        }
        if now.since(self.last_sweep) >= self.timing.interval {
            self.last_sweep = now;
            self.sweep(policy, records, &mut batch.entries);
        }
        let is_at_work = self.last_request.is_some_and(|last| now.since(last) < Timing::RETIRED);
        let is_silent = now.since(self.last_call) >= Timing::HEARTBEAT;
        let is_time = waited >= self.timing.interval;
        let is_full = !batch.has_room();
        let has_something = !batch.entries.is_empty() || (is_at_work && is_silent);
        if !(waiting > 0 || is_full || is_probe || (is_time && has_something)) {
            self.batch = batch;
            return None;
        }
        self.last_batch = now;
        let is_behind = self.queue.first().is_some_and(|(at, _)| *at <= now);
        self.slices = batch.slices.saturating_add(is_behind.into()).min(Timing::TICKS);
        (waiting == 0 || !batch.entries.is_empty())
            .then(|| Call { sent: batch.since, ..self.call(batch.entries, now) })
    }

    /// Reviews a slice of the clients that are due; returns whether the slice was full.
    fn compose_slice(
        &mut self,
        policy: &Policy,
        records: &Records<'_, impl SharedData>,
        batch: &mut Composed,
    ) -> bool {
        let now = records.now;
        let mut reviews = 0;
        while reviews < self.slice && batch.has_room() {
            if self.queue.first().is_none_or(|(at, _)| *at > now.millis()) {
                return false;
            }
            let Some((_, id)) = self.queue.pop_first() else { return false };
            let Some(stats) = self.clients.get_mut(&id) else { continue };
            stats.queued_at = None;
            if stats.due_at() <= now.millis() {
                reviews = reviews.saturating_add(1);
                let tier = policy.tiers.get(usize::from(stats.offer)).unwrap_or(&policy.anonymous);
                let tier = self.overrides.of(&id).map_or(tier, |overridden| &overridden.tier);
                let (timing, is_strict) = (self.timing, self.is_strict);
                let client = records.table.fingerprint_of(id, stats.name.is_none());
                let updated = records.update(client, |mut state| {
                    state.turn_to(now.unix);
                    let borrows = !is_strict && !tier.is_unlimited() && !tier.holds_few(stats.cost());
                    match stats.wishes(&mut state.lease, borrows, timing, now.millis()) {
                        Some((need, want)) => {
                            state.lease.come_under(tag(tier));
                            let wish = Wish { need, queued: Cost(0), want };
                            let request = message_of(&mut state, tier, wish, timing.patience(), now);
                            (Change::Write(state), (Some(request), state.lease))
                        }
                        None => (Change::Keep, (None, state.lease)),
                    }
                });
                let is_remembered = match updated {
                    Updated::Done { answer: (request, lease) } => {
                        if let Some(request) = request {
                            let name = stats.unsent_name(id);
                            batch.names = batch.names.saturating_add(name.as_ref().map_or(0, Vec::len));
                            batch.entries.push(Entry {
                                client: id,
                                name,
                                is_anonymous: stats.name.is_none(),
                                offer: stats.offer,
                                ask: Ask::Lease(as_sent(request, stats.name.is_none())),
                            });
                        }
                        stats.reviewed(&lease, request.is_some(), timing, now.millis())
                    }
                    Updated::Unknown => {
                        stats.poke(now.millis());
                        true
                    }
                };
                if !is_remembered {
                    self.clients.remove(&id);
                    continue;
                }
            }
            enqueue(&mut self.queue, id, stats);
        }
        true
    }

    /// Drops what the next batch would say, because the worker ends and says it all in another way.
    pub(super) fn forget_batch(&mut self) {
        self.batch = Composed::default();
    }

    /// Takes `client` out of the next batch, because a request sends a message about it.
    pub(super) fn withdraw(&mut self, client: ClientId) {
        self.batch.entries.retain(|entry| entry.client != client);
    }
}

/// Queues `id` for review at the moment at which its `stats` are due, unless it is queued for an earlier one.
pub(super) fn enqueue(queue: &mut Queue, id: ClientId, stats: &mut ClientStats) {
    let due_at = stats.due_at();
    if stats.queued_at.is_some_and(|at| at <= due_at) {
        return;
    }
    if let Some(later) = stats.queued_at.replace(due_at) {
        queue.remove(&(later, id));
    }
    queue.insert((due_at, id));
}
