//! The log of a run. Besides the plan, it is all that the checker knows.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::plan::{Plan, Tier};

/// A request and its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Shot {
    /// When it was decided, by the store's clock.
    pub at: u64,
    /// When it was decided, by the true time.
    pub moment: u64,
    /// Its client.
    pub client: u32,
    /// What it costs, in thousandths.
    pub cost: u64,
    /// The gateway that decided it.
    pub node: usize,
    /// The root that decided it.
    pub root: u64,
    /// Whether the root had given the store up.
    pub was_away: bool,
    /// What the gateway's wall clock showed, if the root went by it because the store had not answered it yet.
    pub by_wall: Option<u64>,
    /// How long it waited.
    pub waited: u64,
    /// Its tier's place in [`Log::tiers`]. An override of the client comes first.
    pub tier: usize,
    /// Its outcome.
    pub verdict: Verdict,
    /// What it cost in the end, and when that was known, by the true time.
    pub settled: Option<(u64, u64)>,
}

impl Shot {
    /// What it cost in the end, in thousandths.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.settled.map_or(self.cost, |(cost, _)| cost)
    }

    /// As much of it as decided whether it was let through. What it cost beyond that was asked of nobody.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.cost.min(self.spent())
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was let through, from a lease or by the store.
    Paid,
    /// It was let through without the store.
    Fallback,
    /// It could not be decided, and was let through.
    Passed,
    /// A rate refused it; seconds until it may come again.
    Refused(u64),
    /// The month refused it; seconds until it may come again.
    RefusedMonth(u64),
    /// It could not be decided, and was refused with this status.
    Undecided(u16),
}

impl Verdict {
    /// Whether it was let through.
    #[must_use]
    pub const fn is_admitted(self) -> bool {
        matches!(self, Self::Paid | Self::Fallback | Self::Passed)
    }
}

/// Something that must not happen.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The check that found it.
    pub check: &'static str,
    /// The client, if it is about one.
    pub client: Option<u32>,
    /// When it happened, in nanoseconds since the Unix epoch.
    pub at: u64,
    /// What is wrong.
    pub what: String,
}

/// What changes for a client.
#[derive(Clone, Debug)]
pub enum Turn {
    /// From here on, its old limits or these may hold.
    Changing(Tier),
    /// From here on, these limits hold everywhere.
    Holds(Tier),
    /// The change did not take place.
    Stays,
    /// Its bucket, its month or both were reset.
    Reset(bool, bool),
}

/// What may matter to all clients.
#[derive(Clone, Copy, Debug)]
pub enum Incident {
    /// A gateway was killed.
    NodeDied(usize),
    /// Redis lost what was written since that moment.
    FailedOver(u64),
    /// A slot of a gateway was overwritten.
    Spoiled(usize),
    /// The store's clock was set by this much.
    StoreClock(i64),
}

/// How much happened in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests that reached a gateway.
    pub requests: u64,
    /// Calls to the store.
    pub calls: u64,
    /// The calls that a request waited for.
    pub asks: u64,
    /// Entries of calls, for each of which the store reads and writes an account.
    pub entries: u64,
    /// The most calls of one root in a second.
    pub most_calls: u32,
}

/// See the [module](self).
pub struct Log {
    /// Every request that costs something.
    pub shots: RefCell<Vec<Shot>>,
    /// Every tier that requests had.
    pub tiers: RefCell<Vec<Tier>>,
    /// Violations that the cluster has found itself.
    pub found: RefCell<Vec<Violation>>,
    /// Changes by client, with their moments by the store's clock.
    pub turns: RefCell<BTreeMap<u32, Vec<(u64, Turn)>>>,
    /// Incidents, with their moments by the store's clock.
    pub incidents: RefCell<Vec<(u64, Incident)>>,
    /// The times in which something was broken, by the true time.
    pub troubles: RefCell<Vec<(u64, u64)>>,
    /// What the store says a client has used in a month.
    pub usage: RefCell<BTreeMap<(u32, u16), u64>>,
    /// By client, and by day since 1970, the same of each day on which something was used.
    pub days: RefCell<BTreeMap<(u32, u16), u64>>,
    /// By client, the cost of requests that were given up while they waited, in thousandths.
    pub abandoned: RefCell<BTreeMap<u32, u64>>,
    /// How much happened.
    pub counts: Cell<Counts>,
    /// The trace.
    pub lines: RefCell<Vec<(u64, Option<u32>, String)>>,
    is_traced: bool,
    now: Cell<u64>,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(plan: &Plan, is_traced: bool) -> Self {
        Self {
            shots: RefCell::default(),
            tiers: RefCell::default(),
            found: RefCell::default(),
            turns: RefCell::default(),
            incidents: RefCell::default(),
            troubles: RefCell::default(),
            usage: RefCell::default(),
            days: RefCell::default(),
            abandoned: RefCell::default(),
            counts: Cell::default(),
            lines: RefCell::default(),
            is_traced,
            now: Cell::new(plan.start),
        }
    }

    /// Adds a line to the trace, if there is one.
    pub fn trace(&self, at: u64, client: Option<u32>, line: impl FnOnce() -> String) {
        if self.is_traced {
            self.lines.borrow_mut().push((at, client, line()));
        }
    }

    /// Whether there is a trace.
    #[must_use]
    pub const fn is_traced(&self) -> bool {
        self.is_traced
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// The place of `tier` among [`Self::tiers`].
    pub fn number_of(&self, tier: &Tier) -> usize {
        let mut tiers = self.tiers.borrow_mut();
        tiers.iter().position(|known| known == tier).unwrap_or_else(|| {
            tiers.push(tier.clone());
            tiers.len() - 1
        })
    }

    /// Counts a request that has reached a gateway.
    pub fn asked(&self) {
        self.count(|counts| counts.requests += 1);
    }

    /// Counts a call with this many entries; `is_asked` if a request waits for it.
    pub fn dispatched(&self, is_asked: bool, entries: usize) {
        self.count(|counts| {
            counts.asks += u64::from(is_asked);
            counts.entries += entries as u64;
        });
    }

    /// Records a request that costs nothing: there is nothing to record.
    pub const fn free(&self, _: u32) {}

    /// Records a request that was given up while it waited, because its client or its worker has gone away.
    pub fn abandoned(&self, client: u32, cost: u64) {
        *self.abandoned.borrow_mut().entry(client).or_default() += cost;
    }

    /// Records a request that was decided; returns its number.
    pub fn decided(&self, shot: Shot) -> usize {
        self.now.set(shot.at);
        let mut shots = self.shots.borrow_mut();
        shots.push(shot);
        shots.len() - 1
    }

    /// Records that the request of that number cost `cost` in the end.
    pub fn settled(&self, number: usize, cost: u64, moment: u64) {
        self.shots.borrow_mut()[number].settled = Some((cost, moment));
    }

    /// Counts a call.
    pub fn count_call(&self) {
        self.count(|counts| counts.calls += 1);
    }

    /// Records how many calls a root has made in the present second.
    pub fn calls_in_a_second(&self, calls: u32) {
        self.count(|counts| counts.most_calls = counts.most_calls.max(calls));
    }

    /// Records a violation.
    pub fn broken(&self, check: &'static str, at: u64, what: &str) {
        self.found.borrow_mut().push(Violation { check, client: None, at, what: what.to_owned() });
    }

    /// Records a violation about a client.
    pub fn broken_for(&self, check: &'static str, client: u32, at: u64, what: &str) {
        let found = Violation { check, client: Some(client), at, what: what.to_owned() };
        self.found.borrow_mut().push(found);
    }

    /// Whether the cluster has found a violation.
    pub fn is_broken(&self) -> bool {
        !self.found.borrow().is_empty()
    }

    fn turn(&self, client: u32, at: u64, turn: Turn) {
        self.turns.borrow_mut().entry(client).or_default().push((at, turn));
    }

    /// Records that a client's limits begin to change.
    pub fn limits_change(&self, client: u32, at: u64, to: Tier) {
        self.turn(client, at, Turn::Changing(to));
    }

    /// Records that a client has these limits everywhere.
    pub fn limits_hold(&self, client: u32, at: u64, tier: Tier) {
        self.turn(client, at, Turn::Holds(tier));
    }

    /// Records that a change of limits did not take place.
    pub fn limits_stay(&self, client: u32, at: u64) {
        self.turn(client, at, Turn::Stays);
    }

    /// Records that a client's bucket, its month or both were reset, or may have been.
    pub fn was_reset(&self, client: u32, at: u64, bucket: bool, month: bool) {
        self.turn(client, at, Turn::Reset(bucket, month));
    }

    /// Records that a gateway was killed.
    pub fn node_died(&self, node: usize, at: u64) {
        self.incidents.borrow_mut().push((at, Incident::NodeDied(node)));
    }

    /// Records that Redis has lost what was written since `since`.
    pub fn failed_over(&self, at: u64, since: u64) {
        self.incidents.borrow_mut().push((at, Incident::FailedOver(since)));
    }

    /// Records that the store's clock was set.
    pub fn store_clock_set(&self, at: u64, by: i64) {
        self.incidents.borrow_mut().push((at, Incident::StoreClock(by)));
    }

    /// Records that a slot was overwritten.
    pub fn slot_spoiled(&self, node: usize, at: u64) {
        self.incidents.borrow_mut().push((at, Incident::Spoiled(node)));
    }

    /// Records a time in which something is broken.
    pub fn in_trouble(&self, from: u64, until: u64) {
        self.troubles.borrow_mut().push((from, until));
    }

    /// Records what a client has used in a month, by the store.
    pub fn store_says(&self, client: u32, month: u16, used: u64) {
        self.usage.borrow_mut().insert((client, month), used);
    }

    /// Records what a client has used on a day, by the store.
    pub fn store_says_of_day(&self, client: u32, day: u16, used: u64) {
        self.days.borrow_mut().insert((client, day), used);
    }

    /// Checks what is left in a worker's memory and in its node's table at the end.
    pub fn left_behind(
        &self,
        at: u64,
        waiting: usize,
        remembered: usize,
        entries: usize,
        slots: usize,
        is_full: bool,
    ) {
        if waiting > 0 {
            self.broken("waits_for_ever", at, &format!("{waiting} requests were never decided"));
        }
        if remembered > 0 {
            self.broken(
                "memory",
                at,
                &format!("a worker remembers {remembered} clients that owe and hold nothing"),
            );
        }
        // The marker is one entry more. If slots are made when they are used, there may be fewer.
        if entries > slots + 1 || (is_full && entries <= slots) {
            self.broken("memory", at, &format!("{entries} entries in a table of {slots} slots"));
        }
    }
}
