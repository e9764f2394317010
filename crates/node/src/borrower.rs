//! One worker's side of borrowing: which clients it has served, what it therefore reports and asks for, and what the store
//! has told it.
//!
//! A worker may lose all of this without harm. What is owed and what is held stands in the node's table, where any worker
//! finds it again (see [`Borrower::compose`] and its slow sweep). The record's compare-and-swap decides which worker reports
//! a client, so roots that are doubled, rebuilt or never serve a request do no harm either.

mod answer;
mod client_stats;
mod compose;
mod message;
mod overrides;
mod recent;
mod sweep;

use std::sync::Arc;

use tollgate_core::client::{Client, ClientId, ClientMap, ClientSecret, Namespace};
use tollgate_core::name;
use tollgate_core::policy::{Policy, Store, StoreMode};
use tollgate_core::terms::Offer;
use tollgate_core::units::{Cost, Millis, UnixNanos};
use tollgate_core::wire::{Ask, Batch, Entry};

pub use self::answer::{Received, Seen, account_of, account_seen};
use self::client_stats::ClientStats;
use self::compose::{Composed, Queue, enqueue};
pub use self::overrides::Overridden;
use self::overrides::Overrides;
use self::recent::Recent;
use crate::breaker::{Breaker, Transition};
use crate::clock::{NodeMillis, NodeNanos, Now, Offset};

/// A client that a request is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its number.
    pub id: ClientId,
    /// Its name; `None` for an anonymous client.
    pub name: Option<&'a [u8]>,
    /// Its tier's place in the policy; the anonymous clients' comes last.
    pub offer: u8,
}

impl Subject<'_> {
    /// Whether it is an anonymous client, whose record is kept apart.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.name.is_none()
    }
}

/// A message to the store, and what has to be remembered until its answer comes.
#[derive(Clone, Debug)]
pub struct Call {
    /// The message.
    pub batch: Batch,
    /// When it was made.
    sent: NodeMillis,
}

impl Call {
    /// The time since the message was made.
    #[must_use]
    pub const fn age(&self, mono: NodeMillis) -> Millis {
        mono.since(self.sent)
    }
}

/// The most clients that one worker remembers. Of others it knows what is in the table.
const MAX_CLIENTS: usize = 65_536;

/// How a worker calls the store.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two batches.
    pub interval: Millis,
    /// The longest that a call may take.
    pub timeout: Millis,
}

impl Timing {
    /// Longest delay before spending is reported.
    const REPORT: Millis = Millis(500);
    /// A worker with nothing to report sends an empty batch this often, because overrides come with the answer.
    const HEARTBEAT: Millis = Millis(1_000);
    /// A worker that has served no request for this long sends no empty batches.
    const RETIRED: Millis = Millis(60_000);
    /// The sweep takes over a record that no worker has reported for this long, or, if its lease may lie unspent for longer,
    /// for that time and [`Self::LATE`].
    const ORPHANED: Millis = Millis(12_000);
    const LATE: Millis = Millis(5_000);
    /// A record whose client was silent for this long begins a new epoch, since the store does not remember the old one for
    /// ever.
    const QUIET: Millis = Millis(3_600_000);
    /// The most slots that are searched for such records in one interval.
    const SWEPT: u32 = 16;
    /// The most clients that a tick reviews, and the most answers that it applies: a worker serves no request meanwhile.
    const SLICE: usize = 48;
    /// The same when a client is overdue by [`Self::BEHIND`]: leases must not end before they are renewed.
    const LARGE_SLICE: usize = 384;
    const BEHIND: Millis = Millis(1_000);
    /// Ticks per batch. Each wakes a worker that may have nothing else to do, so there are few.
    const TICKS: u64 = 5;
    /// A round of the sweep through the whole table takes at least this long.
    const ROUND: Millis = Millis(2_000);

    /// How a worker calls `store`.
    #[must_use]
    pub const fn of(store: &Store) -> Self {
        Self { interval: store.sync_interval, timeout: store.timeout }
    }

    /// The time between two ticks.
    #[must_use]
    pub const fn tick(self) -> Millis {
        const LEAST: Millis = Millis(5);
        let tick = Millis(self.interval.0 / Self::TICKS);
        if tick.0 < LEAST.0 { LEAST } else { tick }
    }

    /// A message that has no answer after this long is lost.
    #[must_use]
    pub const fn patience(self) -> Millis {
        self.timeout.plus(Millis(100))
    }
}

/// One worker's memory of what it has borrowed.
#[derive(Debug)]
pub struct Borrower {
    namespace: String,
    node: u64,
    offers: Vec<Offer>,
    timing: Timing,
    /// The store decides every request, so ticks report only what is owed from an outage.
    is_strict: bool,
    clients: ClientMap<ClientStats>,
    queue: Queue,
    recent: Recent,
    overrides: Overrides,
    breaker: Breaker,
    /// What turns the node's clock into the store's time, once the store has answered.
    offset: Option<Offset>,
    last_request: Option<NodeMillis>,
    last_call: NodeMillis,
    /// When a tick last sent a batch, and how many ticks before the next one its composing has to begin.
    last_batch: NodeMillis,
    slices: u64,
    /// How much a tick does at the moment: one of the two slices.
    slice: usize,
    batch: Composed,
    /// The next slot to sweep, and when slots were swept last.
    sweep_cursor: u32,
    last_sweep: NodeMillis,
}

impl Borrower {
    /// The borrower of a worker under `policy`. The node's number is still to be [found](Self::identify_node). `seed` is the
    /// worker's secret.
    #[must_use]
    pub fn new(policy: &Policy, timing: Timing, seed: u64) -> Self {
        Self {
            namespace: policy.namespace.clone(),
            node: 0,
            // A policy with a tier that cannot be offered is refused when it is loaded.
            offers: policy.tiers.iter().chain([&policy.anonymous]).filter_map(Offer::of).collect(),
            timing,
            is_strict: policy.store.as_ref().is_some_and(|store| store.mode == StoreMode::Strict),
            clients: ClientMap::with_hasher(ClientSecret::with_seed(seed)),
            queue: Queue::new(),
            recent: Recent::new(ClientSecret::with_seed(seed)),
            overrides: Overrides::new(ClientSecret::with_seed(seed)),
            breaker: Breaker::default(),
            offset: None,
            last_request: None,
            last_call: NodeMillis(0),
            last_batch: NodeMillis(0),
            slices: 0,
            slice: Timing::SLICE,
            batch: Composed::default(),
            sweep_cursor: 0,
            last_sweep: NodeMillis(0),
        }
    }

    /// Finds the node's number, if that is not known yet. Until it is, ticks do not call the store.
    pub fn identify_node(&mut self, find: impl FnOnce() -> u64) {
        if self.node == 0 {
            self.node = find().max(1);
        }
    }

    /// How this worker calls the store.
    #[must_use]
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// How many clients this worker remembers.
    #[must_use]
    pub fn remembers(&self) -> usize {
        self.clients.len()
    }

    /// Whether the store is known to be away, so that requests do without it.
    #[must_use]
    pub const fn is_store_away(&self) -> bool {
        self.breaker.is_open()
    }

    /// The moment by both clocks. `wall` is the gateway's time of day, which counts only until the store has answered.
    #[must_use]
    pub fn now(&self, node: NodeNanos, wall: impl FnOnce() -> UnixNanos) -> Now {
        Now { unix: self.offset.map_or_else(wall, |offset| offset.unix(node)), node }
    }

    /// The number of `client` in the policy's `namespace`.
    pub fn id(&mut self, namespace: &Namespace, client: &Client<'_>) -> ClientId {
        self.recent.id(namespace, client)
    }

    /// The override of `id`, if it has one.
    #[must_use]
    pub fn overridden(&self, id: &ClientId) -> Option<&Arc<Overridden>> {
        self.overrides.of(id)
    }

    /// Records that a request of `subject` was let through, with `left` of the lease, or refused by what the node knows.
    pub fn record_request(
        &mut self,
        subject: &Subject<'_>,
        cost: Cost,
        is_refused: bool,
        left: Option<Cost>,
        mono: NodeMillis,
    ) {
        self.last_request = Some(mono);
        self.with_stats(subject, mono, |stats| {
            stats.record_request(subject.offer, cost, is_refused, left, mono)
        });
    }

    /// Records that a request of `subject` cost `more` in the end than it was charged at first, or less.
    pub fn record_settled(&mut self, subject: &Subject<'_>, more: Cost, mono: NodeMillis) {
        self.with_stats(subject, mono, |stats| stats.record_settled(more, mono));
    }

    /// Applies `change` to the stats of `subject`, if there is room for them.
    fn with_stats(&mut self, subject: &Subject<'_>, mono: NodeMillis, change: impl FnOnce(&mut ClientStats)) {
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(&subject.id) {
            return;
        }
        let stats = self.clients.entry(subject.id).or_insert_with(|| ClientStats::new(subject, mono));
        change(stats);
        enqueue(&mut self.queue, subject.id, stats);
    }

    /// Whether so many requests of `id` were refused here that the next tick asks on its behalf, and requests need not.
    #[must_use]
    pub fn is_pressed(&self, id: &ClientId, mono: NodeMillis) -> bool {
        self.clients.get(id).is_some_and(|stats| stats.is_pressed(mono))
    }

    fn entry(&self, subject: &Subject<'_>, ask: Ask) -> Entry {
        Entry {
            client: subject.id,
            name: subject.name.map(|name| name::as_sent(name, subject.id).into_owned()),
            is_anonymous: subject.is_anonymous(),
            offer: subject.offer,
            ask,
        }
    }

    fn call(&mut self, entries: Vec<Entry>, mono: NodeMillis) -> Call {
        self.last_call = mono;
        let batch = Batch {
            namespace: self.namespace.clone(),
            node: self.node,
            revision: self.overrides.revision(),
            offers: self.offers.clone(),
            entries,
        };
        Call { batch, sent: mono }
    }

    /// Records that a call has failed; returns whether the store has just been given up. `random` spreads the next try.
    pub fn failed(&mut self, mono: NodeMillis, random: u64) -> bool {
        self.breaker.failed(mono, random) == Transition::Opened
    }
}

// The tests lend from the store's accounts, which no build for wasm32 has.
#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod tests;
