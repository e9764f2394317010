//! What one worker remembers of a client that it has served.

use tollgate_core::client::ClientId;
use tollgate_core::name;
use tollgate_core::units::{Cost, Millis};

use super::{Subject, Timing};
use crate::clock::{NodeMillis, Tick};
use crate::lease::{LeaseState, Rarity};

/// A client that this worker has served lately. These are hints only: what counts is in the record.
#[derive(Debug)]
pub struct ClientStats {
    pub name: Option<Box<[u8]>>,
    pub offer: u8,
    /// Whether the store has acknowledged a message with the name.
    is_name_sent: bool,
    /// What the last request cost.
    cost: Cost,
    /// What was let through since the last report.
    spent: Cost,
    /// Requests refused since the last report.
    refused: u32,
    refused_at: Option<NodeMillis>,
    /// When it was last refused so soon after another refusal that its requests need not ask.
    pressed_at: Option<NodeMillis>,
    /// What the node had spent at the last review, and what this worker has spent since.
    seen_spent: Cost,
    unseen: Cost,
    /// What it would like to hold beyond what requests need.
    want: Cost,
    last_served: NodeMillis,
    last_review: NodeMillis,
    last_report: NodeMillis,
    /// When one of its requests was last let through.
    last_paid: NodeMillis,
    /// Whether the last two of those came shortly after each other.
    is_hurried: bool,
    /// Whether it comes so seldom that it is lent only what its first request needs.
    is_seldom: bool,
    has_paid: bool,
    /// Whether its lease was a patient one at the last review, and when the lease was asked for.
    is_patient: bool,
    asked_at: NodeMillis,
    due_at: NodeMillis,
    /// Its moment in the queue; `None` if it is not queued.
    pub queued_at: Option<NodeMillis>,
}

/// After this many refusals, the tick asks on the client's behalf.
const PRESSED: u32 = 2;

/// The longest time from which a client's rate is estimated.
const LONGEST_REVIEW: Millis = Millis(10_000);

/// A lease is meant to last for this many intervals.
const AHEAD: u64 = 4;

/// Requests that come at least this far apart come one by one.
const SINGLE: Millis = Millis(4_000);

/// Longest delay before spending of a patient lease is reported. Such a lease lasts longer, and the report renews it.
const REPORT_PATIENT: Millis = Millis(30_000);

/// A lease is renewed when this much of its time is left.
const RENEWED: Millis = Millis(4_000);

/// A lease is not renewed sooner than this after the last message, since all leases are short at a month's end.
const RENEWED_AFTER: Millis = Millis(3_000);

/// A client's first requests often come together, from a page or a pool of connections, so the first one borrows for this many.
const AHEAD_AT_FIRST: u64 = 16;

impl ClientStats {
    pub fn new(subject: &Subject<'_>, mono: NodeMillis) -> Self {
        Self {
            name: subject.name.map(Into::into),
            offer: subject.offer,
            is_name_sent: false,
            cost: Cost(0),
            spent: Cost(0),
            refused: 0,
            refused_at: None,
            pressed_at: None,
            seen_spent: Cost(0),
            unseen: Cost(0),
            want: Cost(0),
            last_served: mono,
            last_review: mono,
            last_report: mono,
            last_paid: mono,
            is_hurried: false,
            is_seldom: false,
            has_paid: false,
            is_patient: false,
            asked_at: mono,
            due_at: mono.after(Timing::REPORT),
            queued_at: None,
        }
    }

    /// Records a request that was let through, with `left` still to spend, or refused.
    pub fn record_request(
        &mut self,
        offer: u8,
        cost: Cost,
        is_refused: bool,
        left: Option<Cost>,
        mono: NodeMillis,
    ) {
        self.offer = offer;
        self.cost = cost;
        self.last_served = mono;
        let due_at = if is_refused {
            self.refused = self.refused.saturating_add(1);
            // A client that comes back when it was told to asks for itself, so only refusals close together count.
            if self.refused_at.is_some_and(|at| mono.since(at) < Timing::REPORT) {
                self.pressed_at = Some(mono);
            }
            self.refused_at = Some(mono);
            mono
        } else {
            self.spent = self.spent.plus(cost);
            self.unseen = self.unseen.plus(cost);
            self.is_hurried = self.has_paid && mono.since(self.last_paid) < SINGLE;
            self.is_seldom &= !self.has_paid;
            self.has_paid = true;
            // What was let through without a lease has to be reported soon.
            self.is_patient &= left.is_some();
            self.last_paid = mono;
            // If little is left, the next tick asks for more. Otherwise the report can wait.
            if left.is_some_and(|left| left.0 <= self.want.max(cost).0 / 2) {
                mono
            } else if self.is_patient && !self.is_hurried {
                self.asked_at.after(REPORT_PATIENT).max(mono)
            } else {
                mono.after(Timing::REPORT)
            }
        };
        self.due_at = self.due_at.min(due_at);
    }

    /// Longest delay before spending is reported, for a lease that is patient or not.
    const fn report_after(&self, is_patient: bool) -> Millis {
        if is_patient && !self.is_hurried { REPORT_PATIENT } else { Timing::REPORT }
    }

    /// When it is to be reviewed.
    pub const fn due_at(&self) -> NodeMillis {
        self.due_at
    }

    /// Brings the review forward, because the record has changed.
    pub fn poke(&mut self, mono: NodeMillis) {
        let soon = mono.after(Timing::REPORT);
        self.due_at = if self.due_at > mono { self.due_at.min(soon) } else { soon };
    }

    /// Records that a request cost `more` in the end than it was charged at first, or less.
    pub fn record_settled(&mut self, more: Cost, mono: NodeMillis) {
        self.unseen = self.unseen.plus(more);
        self.spent = self.spent.plus(more);
        self.due_at = self.due_at.min(mono);
    }

    /// What its last request cost.
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Records that one of its requests waits for the store.
    pub fn record_wait(&mut self, mono: NodeMillis) {
        self.last_served = mono;
        self.due_at = self.due_at.min(mono.after(Timing::REPORT));
    }

    /// Whether the next tick asks on the client's behalf, so that its requests need not.
    pub const fn is_pressed(&self, mono: NodeMillis) -> bool {
        // If ticks do not come, requests ask for themselves.
        match self.pressed_at {
            Some(at) => {
                mono.since(at).0 < Timing::REPORT.0
                    && mono.since(self.last_review).0 < Timing::REPORT.times(2).0
            }
            None => false,
        }
    }

    /// What to ask for beyond what requests need: at least twice what was spent since the last report, so that a burst asks
    /// less and less often.
    pub fn want(&self) -> Cost {
        self.want.max(self.spent.times(2)).max(self.cost.times(AHEAD))
    }

    /// The same for a client of which this worker knows only what its first request needs, and its `rarity`.
    pub const fn want_first(need: Cost, rarity: Option<Rarity>) -> Cost {
        match rarity {
            None => need.times(AHEAD_AT_FIRST),
            Some(Rarity::Sparse) => need.times(AHEAD),
            Some(Rarity::Seldom) => Cost(0),
        }
    }

    /// Notes that it comes seldom: until a second request comes, it is lent only what the first one needs.
    pub const fn mark_seldom(&mut self) {
        self.is_seldom = true;
    }

    /// What a message about the client should ask for at `mono`: need and want. `None` means that no message is due, or that
    /// another worker's is under way.
    pub fn wishes(
        &mut self,
        lease: &mut LeaseState,
        borrows: bool,
        timing: Timing,
        mono: NodeMillis,
    ) -> Option<(Cost, Cost)> {
        let (now, interval) = (mono.tick(), timing.interval);
        let since = now.since(lease.asked);
        if (lease.is_asking && since <= timing.patience()) || since < interval {
            return None;
        }
        // A message that is still without an answer was lost. The record has to stay until one is answered.
        let is_late = (lease.has_news() && since >= self.report_after(lease.is_patient()))
            || lease.returns.cost > Cost(0)
            || (lease.is_asking && since >= Timing::REPORT);
        let is_idle = lease.spent == self.seen_spent && mono.since(self.last_served) >= lease.idle_time();
        if is_idle && lease.left > Cost(0) && mono >= self.idle_at(lease, mono) {
            lease.give_back();
            return Some((Cost(0), Cost(0)));
        }
        if !borrows {
            return is_late.then_some((Cost(0), Cost(0)));
        }
        // A client that has just given back what it did not spend does not need as much again.
        let is_active = !is_idle && mono.since(self.last_served) < Timing::REPORT.times(2);
        // The rate since the last report, for the next intervals.
        let elapsed = mono.since(self.last_report).clamp(interval.max(Millis(1)), LONGEST_REVIEW);
        let rate = self.spent.0.saturating_mul(interval.times(AHEAD).0).checked_div(elapsed.0);
        let want = Cost(rate.unwrap_or(0)).max(self.cost);
        self.want = want;
        // Where there is plenty, a lease should last until the report after the next one, however late the two are.
        let ample = match lease.has_plenty() && lease.owed() > Cost(0) && !self.is_seldom {
            true if lease.is_calm() => self.spent.times(2).max(self.cost.times(AHEAD)),
            true => self.spent.times(2),
            false => Cost(0),
        };
        let is_refused = lease.refused.cost > Cost(0);
        if is_refused && !lease.refused.until.has_come(now) {
            // Asking again would not help, but what is owed may have to be reported.
            return is_late.then_some((Cost(0), Cost(0)));
        }
        // A client that is refused once comes again when it was told to, perhaps to another node, and asks for itself. A request
        // that was refused because it need not ask is asked for at once, though a message may have gone out since the one before.
        let is_refused_often = self.refused >= PRESSED || (self.refused > 0 && self.is_pressed(mono));
        if is_refused_often && is_active && lease.left < self.cost {
            return Some((self.cost, want));
        }
        let is_low = is_active
            && !is_refused
            && !self.is_seldom
            && lease.left < Cost(want.0.div_ceil(2)).max(self.cost);
        let is_old = lease.left > Cost(0) && since >= RENEWED_AFTER && lease.ends.since(now) <= RENEWED;
        let kept = if (is_active && !self.is_seldom) || is_old { want } else { lease.left };
        (is_low || is_late || is_old).then_some((Cost(0), kept.max(ample)))
    }

    /// Records a review; returns whether the client is still to be remembered.
    pub fn reviewed(
        &mut self,
        lease: &LeaseState,
        is_reported: bool,
        timing: Timing,
        mono: NodeMillis,
    ) -> bool {
        if is_reported {
            self.spent = Cost(0);
            self.refused = 0;
            self.last_report = mono;
        }
        // Another worker's report is as good.
        if is_reported || mono.tick().since(lease.asked) < Timing::REPORT {
            self.last_review = mono;
        }
        // Other workers serve the client, too.
        if lease.spent > self.seen_spent.plus(self.unseen) {
            self.last_served = self.last_served.max(mono.before(Timing::REPORT));
        }
        self.seen_spent = lease.spent;
        self.unseen = Cost(0);
        self.reschedule(lease, timing, mono);
        let is_gone = mono.since(self.last_served) > Timing::REPORT.times(2);
        lease.is_worth_keeping() || !is_gone
    }

    /// When the lease goes back if nothing is spent of it before. If another worker has asked for it, it has lain unspent only
    /// since then, however long ago this worker has served the client.
    fn idle_at(&self, lease: &LeaseState, mono: NodeMillis) -> NodeMillis {
        let asked = mono.before(mono.tick().since(lease.asked));
        // A report of this worker's own says nothing about the client's next request, so it prolongs nothing.
        let is_own = asked == self.last_report;
        let since = if is_own { self.last_served } else { self.last_served.max(asked) };
        since.after(lease.idle_time())
    }

    /// Sets the next review to the first moment at which there may be something to report, if nothing happens before.
    fn reschedule(&mut self, lease: &LeaseState, timing: Timing, mono: NodeMillis) {
        let now = mono.tick();
        let asked = mono.before(now.since(lease.asked));
        self.is_patient = lease.is_patient();
        self.asked_at = asked;
        let until = |moment: Tick| mono.after(moment.since(now));
        let mut next = NodeMillis::NEVER;
        if lease.is_asking {
            next = asked.after(timing.patience()).after(Millis(1));
        } else {
            if self.refused > 0 {
                next = until(lease.refused.until);
            }
            if lease.returns.cost > Cost(0) {
                next = mono;
            } else if lease.has_news() {
                next = next.min(asked.after(self.report_after(self.is_patient)));
            }
            if lease.left > Cost(0) {
                let given_back = self.idle_at(lease, mono);
                let renewed = until(lease.ends).before(RENEWED);
                next = next.min(given_back).min(renewed.max(asked.after(RENEWED_AFTER)));
            }
        }
        if !lease.is_worth_keeping() {
            // At that moment it may be forgotten.
            next = next.min(self.last_served.after(Timing::REPORT.times(2)).after(Millis(1)));
        }
        self.due_at = next.max(mono.after(timing.interval.max(Millis(1))));
    }

    /// Records that the store has answered a message with the name in it, and that the record holds `lease` now.
    pub fn acknowledged(&mut self, lease: &LeaseState, timing: Timing, mono: NodeMillis) {
        self.is_name_sent = true;
        self.reschedule(lease, timing, mono);
    }

    /// The name, if the store does not know it yet.
    pub fn unsent_name(&self, client: ClientId) -> Option<Vec<u8>> {
        let name = self.name.as_ref().filter(|_| !self.is_name_sent)?;
        Some(name::as_sent(name, client).into_owned())
    }
}
