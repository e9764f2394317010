//! A bucket's level at the store, and what happens to it if the client's limit changes.
//!
//! While a policy is rolled out, some gateways have the old limit and some the new one, and their reports alternate.
//! Usage stays counted, even if it is more than the smaller bucket holds. Until the excess has drained, the smaller
//! limit has nothing to lend, and the larger limit has no more than it would have alone. The excess drains at the
//! faster of the two rates. Over all of this, a client gets at most the larger capacity and the faster rate, and cannot
//! get one of them again and again.

use serde::{Deserialize, Serialize};

use tollgate_core::terms::{Bucket, EXACT};
use tollgate_core::units::{Cost, Micros, Work};
use tollgate_core::wire::{LONGEST_EMPTY, Returned};

/// How much faster [`Level::floor`] rises than the level drains. If it rises faster, requests that take long get less back,
/// and if slower, requests that cost much less than their first charge.
pub(crate) const RISE: u64 = 4;

/// When the spending in a report went into one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poured {
    /// The spending counts as happening now.
    Now,
    /// The spending is older, and the bucket was not empty in between. All that the bucket has drained since counts.
    Earlier,
    /// The spending is older, and the bucket was empty at some moment in between. The spending since that moment, alone
    /// in a bucket, would have drained at this moment, which is counted from [`LONGEST_EMPTY`] before now.
    Until(Micros),
}

impl Poured {
    /// Reads a request's [`since`](tollgate_core::wire::LeaseRequest::since).
    #[must_use]
    pub const fn from_wire(since: Micros) -> Self {
        match since.0 {
            0 => Self::Now,
            1 => Self::Earlier,
            _ => Self::Until(since),
        }
    }
}

/// A bucket's level, in the units of the limit that it was last used with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The work that has not drained.
    pub work: Work,
    /// The [`Bucket::weight`] of that work. 0 means that the level was never used.
    pub weight: u64,
    /// The [`Bucket::drain`] of that work. The level drains even while the client's tier has no such limit.
    pub drain: u64,
    /// How long the bucket has been empty, at most [`LONGEST_EMPTY`]. Spending that is reported late drains from when
    /// it happened, but not from before the bucket was empty.
    pub idle: Micros,
    /// A lower bound of the past, plus one; 0 if nothing ever came back to the bucket. At any moment, a time *t* ago, the
    /// level was at least this, less `RISE` times what drains in *t*, and less what has come back since.
    pub floor: Work,
}

impl Level {
    /// Lets `elapsed` pass for a client whose tier has no such limit.
    pub(super) fn drain(&mut self, elapsed: Micros) {
        if self.weight == 0 {
            return;
        }
        let until_empty = self.time_for(self.work);
        if elapsed < until_empty {
            self.work = self.work.less(Work(elapsed.0.saturating_mul(self.drain)));
        } else {
            self.work = Work(0);
            self.idle = self.idle.plus(elapsed.less(until_empty)).min(LONGEST_EMPTY);
        }
        if self.floor > Work(0) {
            let risen = Work(elapsed.0.saturating_mul(self.drain).saturating_mul(RISE));
            self.floor = self.floor.plus(risen).min(self.work.plus(Work(1)));
        }
        if self.work == Work(0) {
            // A bound of nothing is none, and takes no place in a backend.
            self.floor = Work(0);
        }
    }

    /// Lets `elapsed` pass for a client whose limit is that of `bucket`.
    pub(super) fn drain_as(&mut self, bucket: &Bucket, elapsed: Micros) {
        self.become_of(bucket);
        let too_much = if self.is_of(bucket) { Micros(0) } else { self.until_fits(bucket).min(elapsed) };
        self.drain(too_much);
        self.become_of(bucket);
        self.drain(elapsed.less(too_much));
    }

    /// Whether the level is in the units of `bucket`.
    pub(super) const fn is_of(&self, bucket: &Bucket) -> bool {
        self.weight == bucket.weight && self.drain == bucket.drain
    }

    /// Converts the level to the units of `bucket`, unless it is more than the bucket holds and drains faster as it is.
    fn become_of(&mut self, bucket: &Bucket) {
        if self.is_of(bucket) {
            return;
        }
        let cost = self.cost();
        let is_too_much = cost > bucket.holds();
        let fits = cost <= bucket.most_exact();
        if is_too_much && (self.is_faster_than(bucket) || !fits) {
            return;
        }
        *self = Self {
            work: bucket.work_of(cost),
            weight: bucket.weight,
            drain: bucket.drain,
            idle: Micros(0),
            floor: self.floor.min(Work(1)),
        };
    }

    fn is_faster_than(&self, bucket: &Bucket) -> bool {
        let product = |drain: u64, weight: u64| u128::from(drain).saturating_mul(u128::from(weight));
        product(self.drain, bucket.weight) > product(bucket.drain, self.weight)
    }

    /// The cost that has not drained, rounded up.
    pub(super) fn cost(&self) -> Cost {
        Cost(if self.weight == 0 { 0 } else { self.work.0.div_ceil(self.weight) })
    }

    /// How long the level takes to drain `work`, rounded up.
    fn time_for(&self, work: Work) -> Micros {
        Micros(work.0.div_ceil(self.drain.max(1)))
    }

    /// The room that `bucket` has above the level.
    pub(super) const fn room(&self, bucket: &Bucket) -> Work {
        if self.is_of(bucket) { bucket.capacity.less(self.work) } else { Work(0) }
    }

    /// The time until `bucket` holds the level.
    pub(super) fn until_fits(&self, bucket: &Bucket) -> Micros {
        let in_own = || Work(bucket.holds().0.saturating_mul(self.weight));
        let most = if self.is_of(bucket) { bucket.capacity } else { in_own() };
        self.time_for(self.work.less(most))
    }

    /// An upper bound of the time until the level is empty.
    pub(super) fn until_empty(&self, bucket: &Bucket) -> Micros {
        let rest = if self.is_of(bucket) { Micros(0) } else { bucket.time_for(bucket.capacity) };
        self.time_for(self.work).plus(rest)
    }

    /// Whether `bucket` holds the level.
    const fn is_within(&self, bucket: &Bucket) -> bool {
        self.is_of(bucket) && self.work.0 <= bucket.capacity.0
    }

    /// Pours `cost` into the bucket, which never gets more than full. `lent` is the part of it that was lent: a bucket
    /// that is more than full already grows by that part.
    pub(super) fn fill(&mut self, bucket: &Bucket, cost: Cost, lent: Cost, poured: Poured) {
        if !self.is_within(bucket) {
            self.work = self.work.plus(Work(lent.0.saturating_mul(self.weight))).min(Work(EXACT));
            return;
        }
        if cost == Cost(0) {
            return;
        }
        if poured == Poured::Now {
            self.idle = Micros(0);
        }
        // Of a cost beyond the bucket's size, the bucket drained the excess first.
        let rest = cost.less(bucket.holds());
        if rest > Cost(0) {
            let is_exact = rest <= bucket.most_exact();
            let time = if is_exact { bucket.time_for(bucket.work_of(rest)) } else { LONGEST_EMPTY };
            self.idle = self.idle.less(time);
        }
        // What the bucket could have drained while it was empty, it has drained of this cost.
        let work = bucket.work_of(cost.min(bucket.holds().plus(Cost(1))));
        // The level if all of it were spent now. However late a node's clock says it was, the level cannot be higher.
        let most = self.work.plus(work);
        let drained = self.idle.min(bucket.time_for(work));
        self.idle = self.idle.less(drained);
        self.work = self.work.plus(work.less(bucket.drained_in(drained)));
        if let Poured::Until(moment) = poured {
            let until_empty = moment.less(LONGEST_EMPTY).min(bucket.time_for(bucket.capacity));
            self.work = self.work.max(bucket.drained_in(until_empty).min(most));
            self.idle = self.idle.min(LONGEST_EMPTY.less(moment));
        }
        self.work = self.work.min(bucket.capacity);
        if self.work > Work(0) {
            self.idle = Micros(0);
        }
    }
}

impl Level {
    /// Takes back what requests of up to [`Returned::age`] ago cost less than they were poured in. If they had been poured in
    /// as they cost, the level would be lower by that much, or by the least that it has been since, if that is less: below
    /// empty no level falls. That least is not known, but has two lower bounds. What has not drained of the cost is in the
    /// bucket still; and there is [`Self::floor`]. No more than `most` is taken back.
    pub(super) fn take_back(&mut self, bucket: &Bucket, returned: Returned, most: Work) {
        if returned.cost == Cost(0) || !self.is_of(bucket) {
            return;
        }
        let work = bucket.work_of(returned.cost.min(bucket.holds().plus(Cost(1))));
        let drained = bucket.drained_in(returned.age);
        let fresh = work.less(drained);
        let old = self.floor.less(Work(1)).less(drained.times(RISE));
        let back = fresh.max(old).min(work).min(self.work).min(most);
        self.work = self.work.less(back);
        self.floor = self.floor.less(back).max(Work(1));
    }
}

#[cfg(test)]
mod tests;
