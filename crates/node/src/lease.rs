//! What a node's record knows of one client's lease: what it may spend, what it owes the store, and until when not to ask.
//!
//! Every step is a pure change of this value, within one compare-and-swap of the client's record. Amounts are thousandths of a
//! cost unit. `spent` is what was spent in an epoch less what came back, so a report that is lost, repeated or overtaken counts
//! once (see [`wire`](tollgate_core::wire)).

mod refused;
mod returns;

use tollgate_core::limit::Day;
use tollgate_core::units::{Cost, Micros, Millis};
use tollgate_core::wire::{Grant, LeaseRequest, Refusal, Returned};

pub use self::refused::Refused;
pub use self::returns::Returns;
use crate::clock::{NodeMillis, Tick};

/// What a node's record knows of one client's lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseState {
    /// When the record was made, in steps of 16 ms of the node's clock; 0 if it never had to do with a store.
    pub epoch: u32,
    /// The number of the last message.
    pub seq: u32,
    /// What was let through in this epoch less what came back, counted from [`Self::START`]: what the store has charged
    /// itself may come back here, too.
    pub spent: Cost,
    /// What `spent` was when `day` began, if it began in this epoch. All before belongs to the day before.
    pub spent_before_day: Cost,
    /// The day of what is spent; 0 if that is not known.
    pub day: Day,
    /// As much of `spent` as the store has acknowledged.
    pub acked: Cost,
    /// What may still be spent of the lease.
    pub left: Cost,
    /// When the lease ends.
    pub ends: Tick,
    /// When the last message was made.
    pub asked: Tick,
    /// Whether the last message is still to be answered.
    pub is_asking: bool,
    /// After how long an unspent lease goes back, in [steps](Self::IDLE_STEP).
    pub idle: u8,
    /// What the store has refused.
    pub refused: Refused,
    /// The tier's place among the offers when the client was last served, below 128.
    pub offer: u8,
    /// The terms under which `left` and `refused` hold, as a [tag](tollgate_core::terms::tag) of 24 bits; 0 if there are none.
    pub terms: u32,
    /// Which of the limits' buckets this node has filled while they were empty, unless the store knows: bits 0 to 2 for
    /// spending since the last message, and bit 3 if it is not known of which buckets; bits 4 to 7 the same for the message
    /// before, if it was not answered. See [`LeaseRequest::since`].
    pub fresh: u8,
    /// What came back of `spent` and is not acknowledged by the store.
    pub returns: Returns,
}

/// What the requests of a client cost that wait for the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The cheapest of them; 0 if none waits.
    pub need: Cost,
    /// All others.
    pub queued: Cost,
}

/// What a node would like to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// For the cheapest request that waits; 0 if none waits.
    pub need: Cost,
    /// For the others that wait.
    pub queued: Cost,
    /// In all, with what it takes for requests that may come.
    pub want: Cost,
}

/// How seldom a client comes that is known not to come often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rarity {
    /// Now and then: a lease pays for some of its requests.
    Sparse,
    /// So seldom that a lease for the next request would go back before it comes.
    Seldom,
}

/// What the lease says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// It is paid for.
    Paid,
    /// The store has refused as much, and need not be asked again yet.
    Refused(Refused),
    /// The store has to be asked.
    Ask,
}

impl LeaseState {
    /// A node ends a lease this much early, because clocks have steps, or by one part in [`Self::DRIFT_PART`] if that is more,
    /// because one of two clocks is faster.
    const MARGIN: Millis = Millis(5);
    const DRIFT_PART: u64 = 2_000;

    /// The bit of [`Self::fresh`] for what is not known. Such spending counts as spent when it is reported.
    pub const UNKNOWN: u8 = 1 << 3;
    const SINCE_MESSAGE: u8 = 15;

    /// What [`Self::spent`] is when an epoch begins.
    pub const START: Cost = Cost(1 << 34);

    /// Beyond this a new epoch begins, because a record has 48 bits for [`Self::spent`].
    const FAR: Cost = Cost(1 << 46);

    /// The length of a step of [`Self::idle`].
    pub const IDLE_STEP: Millis = Millis(250);

    /// An idle time this short means that the client's budget is nearly gone.
    const SCARCE: Millis = Millis(1_000);

    /// A lease that may lie unspent this long is calm, and one that may lie as long as [`Self::PATIENT`] is patient.
    const CALM: Millis = Millis(10_000);
    const PATIENT: Millis = Millis(40_000);

    /// A client that was in no message for this long comes so seldom that a lease would end before its next request.
    const SELDOM: Millis = Millis(55_000);

    /// The most that a node ever holds, so that it fits the record.
    pub const MOST: Cost = Cost(u32::MAX as u64);

    /// Pays `cost` from the lease, if it lasts and holds as much.
    pub fn spend(&mut self, cost: Cost, now: Tick) -> Spend {
        if cost <= self.left && !self.ends.has_come(now) {
            self.left = self.left.less(cost);
            self.spent = self.spent.plus(cost);
            return Spend::Paid;
        }
        let refused = self.refused;
        let is_refused = refused.cost > Cost(0) && cost.min(Refused::MAX_COST) >= refused.cost;
        if is_refused && !refused.until.has_come(now) {
            return Spend::Refused(refused);
        }
        Spend::Ask
    }

    /// Whether the lease and the refusal hold under `terms`.
    #[must_use]
    pub const fn is_under(&self, terms: u32) -> bool {
        self.terms == terms
    }

    /// Puts the client under `terms`. What was lent under others is given back by the next message, and what was refused under
    /// them is void. A message that is under way is not void: its answer says which terms it is for.
    pub fn come_under(&mut self, terms: u32) {
        if !self.is_under(terms) {
            self.terms = terms;
            self.refused = Refused::default();
            self.fresh |= Self::UNKNOWN;
            self.give_back();
        }
    }

    /// Counts `cost` as let through without a lease.
    pub fn owe(&mut self, cost: Cost, at: NodeMillis) {
        if self.epoch == 0 {
            self.begin(at);
        }
        if !self.has_news() && !self.is_asking {
            // The report is due some time after this moment. The last message may be so old that it seems to lie ahead.
            self.asked = at.tick();
        }
        // It was not paid for by a lease, so it has to be reported soon.
        if self.is_calm() {
            self.idle = 1;
        }
        self.spent = self.spent.plus(cost);
    }

    /// Takes `cost` back, which was charged at `charged` and not spent after all; false if the record knows nothing of it
    /// any more. `is_told` says whether the store knows the charge. If it does not, it never need to.
    pub fn take_back(&mut self, cost: Cost, charged: Tick, is_told: bool, at: NodeMillis) -> bool {
        if self.epoch == 0 {
            self.begin(at);
        }
        let has_news = self.has_news() || self.is_asking;
        if cost > self.spent {
            return false;
        }
        if is_told {
            self.returns.grow_old(self.asked, at.tick());
            self.returns.add(cost, charged, at.tick());
            if self.returns.is_full() {
                // What is left of the lease could not be told from the answer to a message that is under way.
                self.abandon(at);
            }
        }
        if !has_news {
            self.asked = at.tick();
        }
        self.spent = self.spent.less(cost);
        self.spent_before_day = self.spent_before_day.min(self.spent);
        // There may be room now for what was refused.
        self.refused = Refused::default();
        true
    }

    /// What was let through and is not acknowledged by the store.
    #[must_use]
    pub const fn owed(&self) -> Cost {
        self.spent.less(self.acked)
    }

    /// Whether something was let through, or came back, that the store has not acknowledged.
    #[must_use]
    pub const fn has_news(&self) -> bool {
        self.spent.0 != self.acked.0 || (self.epoch > 0 && self.returns.cost.0 > 0)
    }

    /// Whether the store or the client would lose something if this record were lost.
    #[must_use]
    pub const fn is_worth_keeping(&self) -> bool {
        self.has_news() || self.left.0 > 0 || self.is_asking
    }

    /// Begins `day`: what was spent so far belongs to the one before.
    ///
    /// A record has room for one turn. While the store does not know of the last one, only a month's turn takes its place. And
    /// if more than a day has passed, what was spent stays with its own day, or at least with its month.
    pub fn begin_day(&mut self, day: Day) {
        if day <= self.day {
            return;
        }
        if self.day == Day(0) {
            self.day = day;
            return;
        }
        if self.epoch == 0 || !self.has_news() {
            self.day = day;
        } else if day.month() > self.day.month() {
            self.day = Day::of(day.month().start());
        } else if self.spent_before_day > self.acked {
            return;
        } else {
            self.day = self.day.next();
        }
        self.spent_before_day = self.spent;
    }

    /// The next message to the store. A message that is under way is repeated with its number, so that the store recognizes it.
    /// `until_empty` says of each bucket when it is empty, in the form of [`LeaseRequest::since`]; 0 if that is not known.
    pub fn message(
        &mut self,
        wish: Wish,
        until_empty: [Micros; 3],
        patience: Millis,
        at: NodeMillis,
    ) -> LeaseRequest {
        let now = at.tick();
        if self.epoch == 0 {
            self.begin(at);
        }
        if self.ends.has_come(now) {
            self.left = Cost(0);
        }
        self.returns.grow_old(self.asked, now);
        let is_far = self.spent > Self::FAR;
        if is_far {
            // A new epoch begins once the store knows all of this one.
            self.give_back();
        }
        let is_new = !self.is_asking || now.since(self.asked) > patience;
        if is_new {
            self.seq = self.seq.saturating_add(1);
            self.asked = now;
            self.is_asking = true;
            // Buckets that are filled from here on belong to the next message.
            self.fresh |= self.fresh << 4;
            self.fresh &= !Self::SINCE_MESSAGE;
        }
        let fresh = self.fresh | self.fresh >> 4;
        let mut since = [Micros(1); 3];
        for (index, (since, until_empty)) in since.iter_mut().zip(until_empty).enumerate() {
            if fresh & Self::UNKNOWN != 0 {
                *since = Micros(0);
            } else if fresh & (1 << index) != 0 || until_empty == Micros(0) {
                *since = until_empty;
            }
        }
        // The store has counted more than was spent, if a record could not hold what came back.
        let returned = self.returns.told(self.acked.less(self.spent), now);
        // What came back is told by the first message of a number, so that one answer acknowledges it. Any other says that it
        // was spent.
        let (spent, returned) = if is_new {
            (self.spent, returned)
        } else {
            (self.spent.plus(returned.cost), Returned::default())
        };
        LeaseRequest {
            since,
            epoch: self.epoch.into(),
            seq: self.seq,
            spent,
            acked: self.acked,
            spent_before_day: self.spent_before_day,
            day: self.day.0,
            hold: self.left,
            need: wish.need.min(Self::MOST),
            queued: wish.queued.min(Self::MOST),
            want: if is_far { wish.need.plus(wish.queued) } else { wish.want }.min(Self::MOST),
            returned,
        }
    }

    /// Applies the store's answer to the message `said`, which was sent at `sent`; returns whether it was the last message.
    pub fn apply_grant(&mut self, grant: &Grant, said: &LeaseRequest, sent: Tick, now: Tick) -> bool {
        if grant.epoch != u64::from(self.epoch) || grant.seq != self.seq {
            return false;
        }
        self.is_asking = false;
        self.fresh &= Self::SINCE_MESSAGE;
        self.acked = grant.spent;
        // If a message is repeated, the store may have applied the other one.
        if grant.spent == said.spent {
            self.returns.acknowledge(said.returned);
        }
        let is_unclear = self.returns.is_full() && grant.spent > said.spent;
        let held = if is_unclear { Cost(0) } else { grant.hold };
        self.left = held.less(self.spent_since(grant)).min(Self::MOST);
        let margin = Self::MARGIN.max(Millis(grant.ttl.0.div_ceil(Self::DRIFT_PART)));
        self.ends = sent.after(grant.ttl.less(margin));
        self.idle = u8::try_from(grant.idle.0 / Self::IDLE_STEP.0).unwrap_or(u8::MAX).max(1);
        self.refused = match &grant.refusal {
            Some(refusal) => Refused::new(refusal, said.need, now),
            // If little is left, the next refusal is near. What the last one said is kept for requests that need not ask.
            None if grant.idle <= Self::SCARCE => Refused { until: now, ..self.refused },
            None => Refused::default(),
        };
        true
    }

    /// Begins a new epoch if this one is near the end of its range, by what was spent or came back, and the store knows of all.
    pub fn renew(&mut self, at: NodeMillis) {
        let is_far = self.spent < Self::START.less(Self::MOST) || self.spent > Self::FAR;
        if self.epoch > 0 && is_far && !self.is_worth_keeping() {
            self.begin_anew(at);
        }
    }

    /// What was spent, of the lease or otherwise, since the message that `grant` answers; at most.
    #[must_use]
    pub const fn spent_since(&self, grant: &Grant) -> Cost {
        self.spent.plus(self.returns.cost).less(grant.spent)
    }

    /// Applies the store's answer to a request of `cost` that it has decided itself.
    pub fn apply_charge(&mut self, refusal: Option<&Refusal>, cost: Cost, at: NodeMillis) {
        if self.epoch == 0 {
            self.begin(at);
        }
        self.refused =
            refusal.map_or_else(Refused::default, |refusal| Refused::new(refusal, cost, at.tick()));
    }

    /// Begins a new epoch with what is still owed, because the store knows a later message than the record's last.
    pub fn begin_anew(&mut self, at: NodeMillis) {
        let (owed, returned) = (self.owed(), self.acked.less(self.spent));
        let before = match self.spent_before_day.less(self.acked) {
            Cost(0) => Cost(0),
            before => Self::START.plus(before),
        };
        let (epoch, day) = (self.epoch, self.day);
        let fresh = (self.fresh | self.fresh >> 4) & Self::SINCE_MESSAGE;
        *self = Self { spent_before_day: before, day, fresh, ..Self::default() };
        self.begin(at);
        self.spent = Self::START.plus(owed).less(returned);
        self.epoch = self.epoch.max(epoch.saturating_add(1));
    }

    /// Clears a refusal whose time is over; returns whether there was one. If it stayed, it would hold again when the clock's
    /// range begins anew.
    pub fn forget_refusal(&mut self, now: Tick) -> bool {
        let is_over = self.refused.cost > Cost(0) && self.refused.until.has_come(now);
        if is_over {
            self.refused = Refused::default();
        }
        is_over
    }

    /// Whether the record has an epoch in which nothing is left to report.
    #[must_use]
    pub const fn has_idle_past(&self) -> bool {
        self.epoch > 0 && self.spent.0 != Self::START.0 && !self.is_worth_keeping()
    }

    /// How long a lease may lie unspent before it goes back.
    #[must_use]
    pub const fn idle_time(&self) -> Millis {
        Self::IDLE_STEP.times(self.idle as u64)
    }

    /// Whether the store has said that there is plenty.
    #[must_use]
    pub const fn has_plenty(&self) -> bool {
        self.idle_time().0 > Self::SCARCE.0
    }

    /// Whether the lease is a calm one.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.idle_time().0 >= Self::CALM.0
    }

    /// Whether what is spent of the lease may be reported late.
    #[must_use]
    pub const fn is_patient(&self) -> bool {
        self.idle_time().0 >= Self::PATIENT.0
    }

    /// How seldom a client comes that has no lease at `now`; `None` if nothing is known of it. If it was served before, its
    /// lease has gone back or has ended, so it does not come often.
    #[must_use]
    pub const fn rarity(&self, now: Tick) -> Option<Rarity> {
        if self.epoch == 0 || self.is_asking || self.has_news() {
            return None;
        }
        let is_seldom = now.since(self.asked).0 >= Self::SELDOM.0 && self.left.0 == 0;
        Some(if is_seldom { Rarity::Seldom } else { Rarity::Sparse })
    }

    /// Gives the lease back, by the next message.
    pub fn give_back(&mut self) {
        self.left = Cost(0);
    }

    /// Gives the lease up while no message is being made. A message counts as sent and lost, so that the next one is made soon.
    /// Until then the store counts what it has lent as held, and when the lease has ended, as spent.
    pub fn give_up(&mut self, at: NodeMillis) {
        // Whether there still is plenty is not known.
        self.idle = 1;
        if self.left > Cost(0) {
            self.abandon(at);
        }
    }

    fn abandon(&mut self, at: NodeMillis) {
        self.returns.grow_old(self.asked, at.tick());
        self.left = Cost(0);
        self.seq = self.seq.saturating_add(1);
        self.asked = at.tick();
        self.is_asking = true;
    }

    fn begin(&mut self, at: NodeMillis) {
        self.epoch = u32::try_from(at.0 / 16).unwrap_or(u32::MAX).max(1);
        self.seq = 0;
        self.asked = at.tick();
        self.spent = Self::START;
        self.acked = Self::START;
        // Without a store it was a mere count.
        self.returns = Returns::default();
    }
}

#[cfg(test)]
mod tests;
