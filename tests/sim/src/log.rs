//! What has happened: all that the checker knows, besides the plan.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::plan::{Plan, Tier};

/// A request and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Shot {
    /// When, by the store's clock.
    pub at: u64,
    /// When, in truth.
    pub moment: u64,
    /// Whose.
    pub client: u32,
    /// Thousandths.
    pub cost: u64,
    /// Where.
    pub node: usize,
    /// By which root.
    pub root: u64,
    /// Whether the root had given the store up.
    pub was_away: bool,
    /// What the wall clock showed by which the root went, where that is not the store's: the store had not answered it yet.
    pub by_wall: Option<u64>,
    /// How long it waited.
    pub waited: u64,
    /// By which of [`Log::tiers`] it has to be decided, unless the client has limits of its own.
    pub tier: usize,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was let through, from a lease or by the store.
    Paid,
    /// It was let through without the store.
    Fallback,
    /// It could not be decided, and was let through.
    Passed,
    /// By a rate; seconds until it may come again.
    Refused(u64),
    /// By the month; seconds until it may come again.
    RefusedMonth(u64),
    /// It could not be decided, and was not let through.
    Undecided(u16),
}

impl Verdict {
    /// Whether it was let through.
    #[must_use]
    pub const fn is_admitted(self) -> bool {
        matches!(self, Self::Paid | Self::Fallback | Self::Passed)
    }
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which of the checks.
    pub check: &'static str,
    /// Whom it is about.
    pub client: Option<u32>,
    /// When, nanoseconds since the Unix epoch.
    pub at: u64,
    /// What is wrong.
    pub what: String,
}

/// What changes for a client.
#[derive(Clone, Debug)]
pub enum Turn {
    /// From here on nobody knows which limits hold: those of before, or these.
    Changing(Tier),
    /// These hold, everywhere.
    Holds(Tier),
    /// It stayed as it was.
    Stays,
    /// Its bucket, its month are whole.
    Reset(bool, bool),
}

/// What somebody did to all of them.
#[derive(Clone, Copy, Debug)]
pub enum Incident {
    /// A gateway was killed.
    NodeDied(usize),
    /// Redis lost what was written since that moment.
    FailedOver(u64),
    /// A slot of a gateway's was written over.
    Spoiled(usize),
    /// Somebody set the store's clock by so much.
    StoreClock(i64),
}

/// Numbers of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests that reached a gateway.
    pub requests: u64,
    /// Calls to the store.
    pub calls: u64,
    /// Those of them that a request waited for.
    pub asks: u64,
    /// Clients that calls were about: each is an account that the store reads and writes.
    pub entries: u64,
    /// The most calls of one root in a second.
    pub most_calls: u32,
}

/// See the [module](self).
pub struct Log {
    /// Every request that costs something.
    pub shots: RefCell<Vec<Shot>>,
    /// Every tier by which a request had to be decided.
    pub tiers: RefCell<Vec<Tier>>,
    /// What was found at once.
    pub found: RefCell<Vec<Violation>>,
    /// By client, when by the store's clock.
    pub turns: RefCell<BTreeMap<u32, Vec<(u64, Turn)>>>,
    /// When, by the store's clock.
    pub incidents: RefCell<Vec<(u64, Incident)>>,
    /// From when to when something was broken, in truth.
    pub troubles: RefCell<Vec<(u64, u64)>>,
    /// What the store says that a client has used in a month.
    pub usage: RefCell<BTreeMap<(u32, u16), u64>>,
    /// By client, what requests cost that were given up while they waited, thousandths.
    pub abandoned: RefCell<BTreeMap<u32, u64>>,
    /// Numbers.
    pub counts: Cell<Counts>,
    /// What was traced.
    pub lines: RefCell<Vec<(u64, Option<u32>, String)>>,
    is_traced: bool,
    now: Cell<u64>,
}

impl Log {
    /// Nothing has happened.
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
            abandoned: RefCell::default(),
            counts: Cell::default(),
            lines: RefCell::default(),
            is_traced,
            now: Cell::new(plan.start),
        }
    }

    /// Notes a line for whoever reads what has happened.
    pub fn trace(&self, at: u64, client: Option<u32>, line: impl FnOnce() -> String) {
        if self.is_traced {
            self.lines.borrow_mut().push((at, client, line()));
        }
    }

    /// Whether anybody reads.
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

    /// A request has reached a gateway.
    pub fn asked(&self) {
        self.count(|counts| counts.requests += 1);
    }

    /// A call about so many clients goes out; `is_asked`: a request waits for it.
    pub fn dispatched(&self, is_asked: bool, entries: usize) {
        self.count(|counts| {
            counts.asks += u64::from(is_asked);
            counts.entries += entries as u64;
        });
    }

    /// A request that costs nothing was let through.
    pub const fn free(&self, _: u32) {}

    /// A request was given up while it waited: its client has gone away, or its worker.
    pub fn abandoned(&self, client: u32, cost: u64) {
        *self.abandoned.borrow_mut().entry(client).or_default() += cost;
    }

    /// A request was decided.
    pub fn decided(&self, shot: Shot) {
        self.now.set(shot.at);
        self.shots.borrow_mut().push(shot);
    }

    /// A call was made.
    pub fn count_call(&self) {
        self.count(|counts| counts.calls += 1);
    }

    /// A root has made so many in this second.
    pub fn calls_in_a_second(&self, calls: u32) {
        self.count(|counts| counts.most_calls = counts.most_calls.max(calls));
    }

    /// Something is wrong.
    pub fn broken(&self, check: &'static str, at: u64, what: &str) {
        self.found.borrow_mut().push(Violation { check, client: None, at, what: what.to_owned() });
    }

    /// Something is wrong with a client.
    pub fn broken_for(&self, check: &'static str, client: u32, at: u64, what: &str) {
        let found = Violation { check, client: Some(client), at, what: what.to_owned() };
        self.found.borrow_mut().push(found);
    }

    /// Whether something is wrong.
    pub fn is_broken(&self) -> bool {
        !self.found.borrow().is_empty()
    }

    fn turn(&self, client: u32, at: u64, turn: Turn) {
        self.turns.borrow_mut().entry(client).or_default().push((at, turn));
    }

    /// A client's limits begin to change, to these.
    pub fn limits_change(&self, client: u32, at: u64, to: Tier) {
        self.turn(client, at, Turn::Changing(to));
    }

    /// A client's limits are these, everywhere.
    pub fn limits_hold(&self, client: u32, at: u64, tier: Tier) {
        self.turn(client, at, Turn::Holds(tier));
    }

    /// A client's limits are what they were.
    pub fn limits_stay(&self, client: u32, at: u64) {
        self.turn(client, at, Turn::Stays);
    }

    /// A client's bucket, its month are whole, or may be.
    pub fn was_reset(&self, client: u32, at: u64, bucket: bool, month: bool) {
        self.turn(client, at, Turn::Reset(bucket, month));
    }

    /// A gateway was killed.
    pub fn node_died(&self, node: usize, at: u64) {
        self.incidents.borrow_mut().push((at, Incident::NodeDied(node)));
    }

    /// Redis has lost what was written since `since`.
    pub fn failed_over(&self, at: u64, since: u64) {
        self.incidents.borrow_mut().push((at, Incident::FailedOver(since)));
    }

    /// Somebody sets the store's clock.
    pub fn store_clock_set(&self, at: u64, by: i64) {
        self.incidents.borrow_mut().push((at, Incident::StoreClock(by)));
    }

    /// A slot was written over.
    pub fn slot_spoiled(&self, node: usize, at: u64) {
        self.incidents.borrow_mut().push((at, Incident::Spoiled(node)));
    }

    /// Something is broken for a while.
    pub fn in_trouble(&self, from: u64, until: u64) {
        self.troubles.borrow_mut().push((from, until));
    }

    /// What a client has used.
    pub fn store_says(&self, client: u32, month: u16, used: u64) {
        self.usage.borrow_mut().insert((client, month), used);
    }

    /// What is left of a worker's memory in the end.
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
        // The marker is one more; where slots are made when they are used, not all are there.
        if entries > slots + 1 || (is_full && entries <= slots) {
            self.broken("memory", at, &format!("{entries} entries in a table of {slots} slots"));
        }
    }
}
