//! What a node's record knows of one client's lease: what it may spend, what it owes the store, until when not to ask.
//!
//! Every step is a pure change of this value, made within one compare and swap of the record it stands in. Amounts are
//! thousandths of a cost unit. `spent` only ever grows within an epoch, so that a report that is lost, repeated or
//! overtaken by another counts once (see [`wire`](tollgate_core::wire)).

mod refused;

pub use self::refused::Refused;
use crate::clock::{NodeMillis, Tick};
use tollgate_core::limit::Month;
use tollgate_core::units::{Cost, Micros, Millis};
use tollgate_core::wire::{Grant, LeaseRequest, Refusal};

/// What a node's record knows of one client's lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseState {
    /// When the record was made, in 16 ms of the node's clock; 0: it never had to do with a store.
    pub epoch: u32,
    /// Of the last message.
    pub seq: u32,
    /// Let through in this epoch.
    pub spent: Cost,
    /// What `spent` was when the record's month began, if it began since; all before belongs to the month before.
    pub spent_before_month: Cost,
    /// As much of `spent` as the store is known to know.
    pub acked: Cost,
    /// What may still be spent of the lease.
    pub left: Cost,
    /// When the lease ends.
    pub ends: Tick,
    /// When the last message was made.
    pub asked: Tick,
    /// Whether the last message has not been answered.
    pub is_asking: bool,
    /// After how long an unspent lease goes back, in [steps](Self::IDLE_STEP).
    pub idle: u8,
    /// What the store has refused.
    pub refused: Refused,
    /// The tier's place among the offers when the client was last served, below 128.
    pub offer: u8,
    /// Under which terms `left` and `refused` were granted: a tag of the limits and the month, 24 bits; 0: none.
    pub terms: u32,
    /// Which of the limits' buckets this node has filled while they were empty, as far as the store does not know it: bits 0
    /// to 2 since the last message, and bit 3 where that is not known; bits 4 to 7 the same of the message before, where it
    /// was not answered. See [`LeaseRequest::since`].
    pub fresh: u8,
}

/// What those requests of a client cost that wait for the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The cheapest of them; 0: none waits.
    pub need: Cost,
    /// All others.
    pub queued: Cost,
}

/// What a node would like to hold, and for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// For the cheapest request that waits; 0: none waits.
    pub need: Cost,
    /// For the others that wait, beyond that.
    pub queued: Cost,
    /// All in all, for those that may come.
    pub want: Cost,
}

/// How seldom a client comes that does not come often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rarity {
    /// Now and then: a lease pays for some of its requests.
    Sparse,
    /// So seldom that what it is lent for the next time goes back before that.
    Seldom,
}

/// Whether a request can be decided by what the node holds.
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
    /// A lease that lasts to the last millisecond might be used in the first one after: clocks have steps. And of two clocks
    /// one is faster: by one part in so many.
    const MARGIN: Millis = Millis(5);
    const DRIFT_PART: u64 = 2_000;

    /// The bit of [`Self::fresh`] that says that it is not known, so that what was spent counts as spent when it is told.
    pub const UNKNOWN: u8 = 1 << 3;
    const SINCE_MESSAGE: u8 = 15;

    /// The time that a step of [`Self::idle`] is.
    pub const IDLE_STEP: Millis = Millis(250);

    /// Who has to give an unspent lease back so soon has little left.
    const SCARCE: Millis = Millis(1_000);

    /// Whose lease may lie so long has a calm one, and whose so much longer, a patient one.
    const CALM: Millis = Millis(10_000);
    const PATIENT: Millis = Millis(40_000);

    /// A client of whom nothing was said for so long comes so seldom that a lease would end before it comes again, milliseconds.
    const SELDOM: Millis = Millis(55_000);

    /// The most that is ever held, so that it fits its field.
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

    /// Whether what was lent or refused was so under `terms`.
    #[must_use]
    pub const fn is_under(&self, terms: u32) -> bool {
        self.terms == terms
    }

    /// From now on `terms` are what the client has: what was lent under others is to be given back by the next message,
    /// and what was refused under them is void. A message that is under way is not; its answer says what it holds for.
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
        if self.owed() == Cost(0) && !self.is_asking {
            // What is owed is told some time after this moment; the last message may be so old that it seems to lie ahead.
            self.asked = at.tick();
        }
        // No lease answers for it: it is told soon.
        if self.is_calm() {
            self.idle = 1;
        }
        self.spent = self.spent.plus(cost);
    }

    /// Let through and not yet known to the store.
    #[must_use]
    pub const fn owed(&self) -> Cost {
        self.spent.less(self.acked)
    }

    /// Whether the store or the client would lose something with this record.
    #[must_use]
    pub const fn is_worth_keeping(&self) -> bool {
        self.owed().0 > 0 || self.left.0 > 0 || self.is_asking
    }

    /// The month has turned: what was spent so far belongs to the one before.
    pub fn begin_month(&mut self) {
        self.spent_before_month = self.spent;
    }

    /// The next message to the store. A message that is under way is repeated: the store takes it for the same. `until_empty`
    /// says of each bucket when it is empty, as [`LeaseRequest::since`] does; 0: that is not known.
    pub fn message(
        &mut self,
        month: Month,
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
        if !self.is_asking || now.since(self.asked) > patience {
            self.seq = self.seq.saturating_add(1);
            self.asked = now;
            self.is_asking = true;
            // What is filled from here on is the next message's.
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
        LeaseRequest {
            since,
            epoch: self.epoch.into(),
            seq: self.seq,
            spent: self.spent,
            acked: self.acked,
            spent_before_month: self.spent_before_month,
            month: month.0,
            hold: self.left,
            need: wish.need.min(Self::MOST),
            queued: wish.queued.min(Self::MOST),
            want: wish.want.min(Self::MOST),
        }
    }

    /// Takes in what the store has answered to a message that was sent at `sent`, if it is the last one's.
    pub fn apply_grant(&mut self, grant: &Grant, cost: Cost, sent: Tick, now: Tick) -> bool {
        if grant.epoch != u64::from(self.epoch) || grant.seq != self.seq {
            return false;
        }
        self.is_asking = false;
        self.fresh &= Self::SINCE_MESSAGE;
        self.acked = self.acked.max(grant.spent.min(self.spent));
        let since = self.spent.less(grant.spent);
        self.left = grant.hold.less(since).min(Self::MOST);
        let margin = Self::MARGIN.max(Millis(grant.ttl.0.div_ceil(Self::DRIFT_PART)));
        self.ends = sent.after(grant.ttl.less(margin));
        self.idle = u8::try_from(grant.idle.0 / Self::IDLE_STEP.0).unwrap_or(u8::MAX).max(1);
        self.refused = match &grant.refusal {
            Some(refusal) => Refused::new(refusal, cost, now),
            // Where little is left the next refusal is near; what it would say is kept for requests that need not ask.
            None if grant.idle <= Self::SCARCE => Refused { until: now, ..self.refused },
            None => Refused::default(),
        };
        true
    }

    /// Takes in what the store has answered to a request of `cost` that it has decided itself.
    pub fn apply_charge(&mut self, refusal: Option<&Refusal>, cost: Cost, at: NodeMillis) {
        if self.epoch == 0 {
            self.begin(at);
        }
        self.refused =
            refusal.map_or_else(Refused::default, |refusal| Refused::new(refusal, cost, at.tick()));
    }

    /// The store knows a later message than the record's last: the record begins anew, with what it still owes.
    pub fn begin_anew(&mut self, at: NodeMillis) {
        let owed = self.owed();
        let before = self.spent_before_month.less(self.acked);
        let epoch = self.epoch;
        let fresh = (self.fresh | self.fresh >> 4) & Self::SINCE_MESSAGE;
        *self = Self { spent: owed, spent_before_month: before, fresh, ..Self::default() };
        self.begin(at);
        self.epoch = self.epoch.max(epoch.saturating_add(1));
    }

    /// Forgets a refusal whose time is long over: its moment would come again when the clock's range begins anew. Whether
    /// there was one.
    pub fn forget_refusal(&mut self, now: Tick) -> bool {
        let is_over = self.refused.cost > Cost(0) && self.refused.until.has_come(now);
        if is_over {
            self.refused = Refused::default();
        }
        is_over
    }

    /// Whether the record has a past that no report is about any more.
    #[must_use]
    pub const fn has_idle_past(&self) -> bool {
        self.epoch > 0 && self.spent.0 > 0 && !self.is_worth_keeping()
    }

    /// After how long an unspent lease goes back.
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

    /// How seldom a client comes that has no lease at `now`; none: nothing is known of it. Of one that was served before, a
    /// lease has gone back or has ended.
    #[must_use]
    pub const fn rarity(&self, now: Tick) -> Option<Rarity> {
        if self.epoch == 0 || self.is_asking || self.owed().0 > 0 {
            return None;
        }
        let is_seldom = now.since(self.asked).0 >= Self::SELDOM.0 && self.left.0 == 0;
        Some(if is_seldom { Rarity::Seldom } else { Rarity::Sparse })
    }

    /// Gives up the lease: the next message says so.
    pub fn give_back(&mut self) {
        self.left = Cost(0);
    }

    /// Gives up the lease though no message is being made: one counts as sent and lost, so that the next one is made soon.
    /// Until it is, what was lent counts as held, and when its time is over, as spent.
    pub fn give_up(&mut self, at: NodeMillis) {
        // What was plenty is not known to be so now.
        self.idle = 1;
        if self.left > Cost(0) {
            self.left = Cost(0);
            self.seq = self.seq.saturating_add(1);
            self.asked = at.tick();
            self.is_asking = true;
        }
    }

    fn begin(&mut self, at: NodeMillis) {
        self.epoch = u32::try_from(at.0 / 16).unwrap_or(u32::MAX).max(1);
        self.seq = 0;
        self.asked = at.tick();
    }
}

#[cfg(test)]
mod tests;
