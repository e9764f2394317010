//! What one worker remembers of a client that it has served.

use super::{Subject, Timing};
use crate::lease::{LeaseState, Rarity, Tick, tick};
use tollgate_core::client::ClientId;
use tollgate_core::name;
use tollgate_core::units::Cost;

/// A client that this worker has served lately. Hints alone: what counts is in the record.
#[derive(Debug)]
pub struct ClientStats {
    pub name: Option<Box<[u8]>>,
    pub offer: u8,
    /// Whether the store has been told the name.
    is_told: bool,
    /// What the last request cost.
    cost: u64,
    /// Let through since the last look, and the last look's share of a second.
    spent: u64,
    /// Refused since the last look.
    refused: u32,
    refused_at: Option<u64>,
    /// When it last was refused so shortly after another refusal that its requests need not ask.
    pressed_at: Option<u64>,
    /// What the node had spent at the last look, and this worker since.
    seen_spent: u64,
    unseen: u64,
    /// What it would like to hold beyond what requests need.
    want: u64,
    last_served: u64,
    last_look: u64,
    last_report: u64,
    /// When a request of its was let through.
    last_paid: u64,
    /// Whether the last ones came shortly after each other.
    is_hurried: bool,
    /// Whether it comes so seldom that it is lent no more than its first request needs.
    is_seldom: bool,
    has_paid: bool,
    /// Whether its lease was a patient one at the last look, and when the message was that it came with.
    is_patient: bool,
    asked_at: u64,
    due_at: u64,
    /// For when it stands in the queue; none: it does not.
    pub queued_at: Option<u64>,
}

/// So many refusals since the last look, and the tick asks instead of requests.
const PRESSED: u32 = 2;

/// A lease is wished to last for so many times the interval between two looks.
const AHEAD: u64 = 4;

/// Requests that come one by one have so many milliseconds between them.
const SINGLE: u64 = 4_000;

/// What is spent of a patient lease is reported after so long at the latest, milliseconds: it lasts longer, and is renewed by
/// that.
const REPORT_PATIENT: u64 = 30_000;

/// A lease is renewed when it lasts no longer than this, milliseconds.
const RENEWED: u32 = 4_000;

/// And not sooner than this after the last message: at a month's end all leases are short.
const RENEWED_AFTER: u32 = 3_000;

/// A client's first requests often come together, from a page or a pool of connections.
const AHEAD_OF_A_CROWD: u64 = 16;

impl ClientStats {
    pub fn new(subject: &Subject<'_>, mono: u64) -> Self {
        Self {
            name: subject.name.map(Into::into),
            offer: subject.offer,
            is_told: false,
            cost: 0,
            spent: 0,
            refused: 0,
            refused_at: None,
            pressed_at: None,
            seen_spent: 0,
            unseen: 0,
            want: 0,
            last_served: mono,
            last_look: mono,
            last_report: mono,
            last_paid: mono,
            is_hurried: false,
            is_seldom: false,
            has_paid: false,
            is_patient: false,
            asked_at: mono,
            due_at: mono.saturating_add(Timing::REPORT),
            queued_at: None,
        }
    }

    /// A request was let through with `left` still to spend, or refused.
    pub fn served(&mut self, offer: u8, cost: Cost, is_refused: bool, left: u32, mono: u64) {
        self.offer = offer;
        self.cost = cost.0;
        self.last_served = mono;
        let due_at = if is_refused {
            self.refused = self.refused.saturating_add(1);
            // Who comes again when it was told to is not refused by what is over.
            if self.refused_at.is_some_and(|at| mono.saturating_sub(at) < Timing::REPORT) {
                self.pressed_at = Some(mono);
            }
            self.refused_at = Some(mono);
            mono
        } else {
            self.spent = self.spent.saturating_add(cost.0);
            self.unseen = self.unseen.saturating_add(cost.0);
            self.is_hurried = self.has_paid && mono.saturating_sub(self.last_paid) < SINGLE;
            self.is_seldom &= !self.has_paid;
            self.has_paid = true;
            // No lease answers for what was let through without one.
            self.is_patient &= left != u32::MAX;
            self.last_paid = mono;
            // Low: the next tick sees to it. Else the report can wait.
            if u64::from(left) <= self.want.max(cost.0) / 2 {
                mono
            } else if self.is_patient && !self.is_hurried {
                self.asked_at.saturating_add(REPORT_PATIENT).max(mono)
            } else {
                mono.saturating_add(Timing::REPORT)
            }
        };
        self.due_at = self.due_at.min(due_at);
    }

    /// What is spent is reported after so long, milliseconds.
    const fn report_after(&self, is_patient: bool) -> u64 {
        if is_patient && !self.is_hurried { REPORT_PATIENT } else { Timing::REPORT }
    }

    /// When it is to be looked at, milliseconds.
    pub const fn due_at(&self) -> u64 {
        self.due_at
    }

    /// Its record has changed: it is to be looked at soon.
    pub fn poke(&mut self, mono: u64) {
        let soon = mono.saturating_add(Timing::REPORT);
        self.due_at = if self.due_at > mono { self.due_at.min(soon) } else { soon };
    }

    /// What its last request cost.
    pub const fn cost(&self) -> Cost {
        Cost(self.cost)
    }

    /// A request of its waits for the store.
    pub fn touch(&mut self, mono: u64) {
        self.last_served = mono;
        self.due_at = self.due_at.min(mono.saturating_add(Timing::REPORT));
    }

    pub const fn is_pressed(&self, mono: u64) -> bool {
        // A tick that does not come is not waited for.
        match self.pressed_at {
            Some(at) => {
                mono.saturating_sub(at) < Timing::REPORT
                    && mono.saturating_sub(self.last_look) < 2 * Timing::REPORT
            }
            None => false,
        }
    }

    /// What it would like to hold beyond what requests need: twice what it has spent since the last look, so that a
    /// burst asks less and less often.
    pub fn want(&self) -> u64 {
        self.want.max(self.spent.saturating_mul(2)).max(self.cost.saturating_mul(AHEAD))
    }

    /// The same for a client of which this worker knows nothing but what its first requests `need`, and its `rarity`.
    pub const fn want_first(need: u64, rarity: Option<Rarity>) -> u64 {
        match rarity {
            None => need.saturating_mul(AHEAD_OF_A_CROWD),
            Some(Rarity::Sparse) => need.saturating_mul(AHEAD),
            Some(Rarity::Seldom) => 0,
        }
    }

    /// It is lent what its request needs and no more, until a second one comes.
    pub const fn comes_seldom(&mut self) {
        self.is_seldom = true;
    }

    /// What this worker has to ask for and report about it at `mono`: need and want. None: nothing yet, or another worker
    /// is at it.
    pub fn wishes(
        &mut self,
        hold: &mut LeaseState,
        borrows: bool,
        timing: Timing,
        mono: u64,
    ) -> Option<(u64, u64)> {
        let (now, interval) = (tick(mono), timing.interval);
        let since = now.since(hold.asked);
        if (hold.is_asking && since <= timing.patience()) || since < interval {
            return None;
        }
        // A message that is still without an answer was lost: until there is one, the record cannot go.
        let is_late = (hold.owed() > 0 && u64::from(since) >= self.report_after(hold.is_patient()))
            || (hold.is_asking && u64::from(since) >= Timing::REPORT);
        let is_idle =
            hold.spent == self.seen_spent && mono.saturating_sub(self.last_served) >= hold.idle_ms().into();
        if is_idle && hold.left > 0 {
            hold.give_back();
            return Some((0, 0));
        }
        if !borrows {
            return is_late.then_some((0, 0));
        }
        // Who has just given back what it did not spend has no use for as much again.
        let is_active = !is_idle && mono.saturating_sub(self.last_served) < 2 * Timing::REPORT;
        // What was let through since the last look, carried on for some looks more.
        let elapsed = mono.saturating_sub(self.last_report).clamp(u64::from(interval).max(1), 10_000);
        let rate = self.spent.saturating_mul(u64::from(interval).saturating_mul(AHEAD)).checked_div(elapsed);
        let want = rate.unwrap_or(0).max(self.cost);
        self.want = want;
        // Where there is plenty a lease is to last until the report after the next one, however late they are.
        let ample = match hold.has_plenty() && hold.owed() > 0 && !self.is_seldom {
            true if hold.is_calm() => self.spent.saturating_mul(2).max(self.cost.saturating_mul(AHEAD)),
            true => self.spent.saturating_mul(2),
            false => 0,
        };
        let is_refused = hold.refused.cost > 0;
        if is_refused && !hold.refused.until.has_come(now) {
            // Asking again would not help, but what is owed may have to be told.
            return is_late.then_some((0, 0));
        }
        // One that was refused comes again when it was told to, perhaps to another node: it asks for itself.
        if self.refused >= PRESSED && is_active && u64::from(hold.left) < self.cost {
            return Some((self.cost, want));
        }
        let is_low = is_active
            && !is_refused
            && !self.is_seldom
            && u64::from(hold.left) < want.div_ceil(2).max(self.cost);
        let is_old = hold.left > 0 && since >= RENEWED_AFTER && hold.ends.since(now) <= RENEWED;
        let kept = if (is_active && !self.is_seldom) || is_old { want } else { hold.left.into() };
        (is_low || is_late || is_old).then_some((0, kept.max(ample)))
    }

    /// It was looked at. Whether it is still to be remembered.
    pub fn looked(&mut self, hold: &LeaseState, is_reported: bool, timing: Timing, mono: u64) -> bool {
        if is_reported {
            self.spent = 0;
            self.refused = 0;
            self.last_report = mono;
        }
        // Another worker's report is as good: somebody looks after the client.
        if is_reported || u64::from(tick(mono).since(hold.asked)) < Timing::REPORT {
            self.last_look = mono;
        }
        // Other workers serve it, too.
        if hold.spent > self.seen_spent.saturating_add(self.unseen) {
            self.last_served = self.last_served.max(mono.saturating_sub(Timing::REPORT));
        }
        self.seen_spent = hold.spent;
        self.unseen = 0;
        self.rest(hold, timing, mono);
        let is_gone = mono.saturating_sub(self.last_served) > 2 * Timing::REPORT;
        hold.is_worth_keeping() || !is_gone
    }

    /// Need not be looked at until there may be something to say, should nothing happen before.
    fn rest(&mut self, hold: &LeaseState, timing: Timing, mono: u64) {
        let now = tick(mono);
        let asked = mono.saturating_sub(now.since(hold.asked).into());
        self.is_patient = hold.is_patient();
        self.asked_at = asked;
        let until = |moment: Tick| mono.saturating_add(moment.since(now).into());
        let mut next = u64::MAX;
        if hold.is_asking {
            next = asked.saturating_add(timing.patience().into()).saturating_add(1);
        } else {
            if self.refused > 0 {
                next = until(hold.refused.until);
            }
            if hold.owed() > 0 {
                next = next.min(asked.saturating_add(self.report_after(self.is_patient)));
            }
            if hold.left > 0 {
                let given_back = self.last_served.saturating_add(hold.idle_ms().into());
                let renewed = until(hold.ends).saturating_sub(RENEWED.into());
                next = next.min(given_back).min(renewed.max(asked.saturating_add(RENEWED_AFTER.into())));
            }
        }
        if !hold.is_worth_keeping() {
            // It may be forgotten then.
            next = next.min(self.last_served.saturating_add(2 * Timing::REPORT).saturating_add(1));
        }
        self.due_at = next.max(mono.saturating_add(timing.interval.max(1).into()));
    }

    /// The store has taken a message in which the name stood; what came of it is `hold`.
    pub fn told(&mut self, hold: &LeaseState, timing: Timing, mono: u64) {
        self.is_told = true;
        self.rest(hold, timing, mono);
    }

    /// The name, until the store knows it.
    pub fn name_to_tell(&self, client: ClientId) -> Option<Vec<u8>> {
        let name = self.name.as_ref().filter(|_| !self.is_told)?;
        Some(name::told(name, client).into_owned())
    }
}
