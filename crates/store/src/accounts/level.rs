//! A bucket's level at the store, and what becomes of it where the client's limit is another than the last time.
//!
//! While a policy is rolled out, some gateways have one limit and some another, and their reports take turns. So what was
//! used stays used, also what is more than the smaller bucket holds: until it has drained, the smaller limit has nothing
//! to lend, and the larger one has no more than it would have had alone. What is too much for the smaller one drains at
//! the faster of the two rates. Over all of it a client gets the larger capacity and the faster rate at most, and never
//! one of them again and again.

use serde::{Deserialize, Serialize};

use tollgate_core::terms::{Bucket, EXACT};
use tollgate_core::wire::LONGEST_EMPTY;

/// When the spending that a node reports was poured into one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poured {
    /// It counts as poured now.
    Now,
    /// Before now, and the bucket was not empty then: what it drained since has drained this spending, too.
    Earlier,
    /// Before now, and the bucket was empty at some moment of it: alone, the spending from then on lasts until this
    /// moment, microseconds after [`LONGEST_EMPTY`] before now.
    Until(u64),
}

impl Poured {
    /// From a message's [`since`](tollgate_core::wire::LeaseRequest::since).
    #[must_use]
    pub const fn from_wire(since: u64) -> Self {
        match since {
            0 => Self::Now,
            1 => Self::Earlier,
            since => Self::Until(since),
        }
    }
}

/// A bucket's level, and the numbers of the limit that it is kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Work that has not drained.
    pub work: u64,
    /// [`Bucket::weight`] of that work; 0: never used.
    pub weight: u64,
    /// [`Bucket::drain`] of it: it drains also while the client's tier has no such limit.
    pub drain: u64,
    /// How long it has been empty, microseconds, at most [`LONGEST_EMPTY`]: spending that is reported later than it
    /// happened drains from when it happened, but not from before the bucket was empty.
    pub idle: u64,
}

impl Level {
    /// Lets `elapsed` microseconds pass for a client whose tier has no such limit.
    pub(super) fn drain(&mut self, elapsed: u64) {
        if self.weight == 0 {
            return;
        }
        let until_empty = self.work.div_ceil(self.drain.max(1));
        if elapsed < until_empty {
            self.work = self.work.saturating_sub(elapsed.saturating_mul(self.drain));
        } else {
            self.work = 0;
            self.idle = self.idle.saturating_add(elapsed.saturating_sub(until_empty)).min(LONGEST_EMPTY);
        }
    }

    /// The same for a client whose limit is that of `bucket`.
    pub(super) fn drain_as(&mut self, bucket: &Bucket, elapsed: u64) {
        self.become_of(bucket);
        let too_much = if self.is_of(bucket) { 0 } else { self.until_fits(bucket).min(elapsed) };
        self.drain(too_much);
        self.become_of(bucket);
        self.drain(elapsed.saturating_sub(too_much));
    }

    /// Whether it is kept in the numbers of `bucket`.
    pub(super) const fn is_of(&self, bucket: &Bucket) -> bool {
        self.weight == bucket.weight && self.drain == bucket.drain
    }

    /// Keeps it in the numbers of `bucket`, unless it is more than that holds and drains faster as it is.
    fn become_of(&mut self, bucket: &Bucket) {
        if self.is_of(bucket) {
            return;
        }
        let milli = self.milli();
        let is_too_much = milli > bucket.holds();
        let fits = milli <= EXACT.checked_div(bucket.weight).unwrap_or(0);
        if is_too_much && (self.is_faster_than(bucket) || !fits) {
            return;
        }
        let work = milli.saturating_mul(bucket.weight);
        *self = Self { work, weight: bucket.weight, drain: bucket.drain, idle: 0 };
    }

    fn is_faster_than(&self, bucket: &Bucket) -> bool {
        let product = |drain: u64, weight: u64| u128::from(drain).saturating_mul(u128::from(weight));
        product(self.drain, bucket.weight) > product(bucket.drain, self.weight)
    }

    /// What has not drained, thousandths of a unit, rounded up.
    pub(super) fn milli(&self) -> u64 {
        if self.weight == 0 { 0 } else { self.work.div_ceil(self.weight) }
    }

    /// What `bucket` has room for above it, in the bucket's work.
    pub(super) const fn room(&self, bucket: &Bucket) -> u64 {
        if self.is_of(bucket) { bucket.capacity.saturating_sub(self.work) } else { 0 }
    }

    /// Microseconds until it is no more than `bucket` holds.
    pub(super) fn until_fits(&self, bucket: &Bucket) -> u64 {
        let most =
            if self.is_of(bucket) { bucket.capacity } else { bucket.holds().saturating_mul(self.weight) };
        self.work.saturating_sub(most).div_ceil(self.drain.max(1))
    }

    /// Microseconds until it is nothing, at most.
    pub(super) fn until_empty(&self, bucket: &Bucket) -> u64 {
        let rest = if self.is_of(bucket) { 0 } else { bucket.capacity.div_ceil(bucket.drain.max(1)) };
        self.work.div_ceil(self.drain.max(1)).saturating_add(rest)
    }

    /// Whether `bucket` holds it.
    const fn is_within(&self, bucket: &Bucket) -> bool {
        self.is_of(bucket) && self.work <= bucket.capacity
    }

    /// Fills `bucket` with `milli`; more than full is full. Of it, `lent` was lent: where the bucket is more than full
    /// already, it becomes more by that.
    pub(super) fn fill(&mut self, bucket: &Bucket, milli: u64, lent: u64, poured: Poured) {
        if !self.is_within(bucket) {
            self.work = self.work.saturating_add(lent.saturating_mul(self.weight)).min(EXACT);
            return;
        }
        if milli == 0 {
            return;
        }
        if poured == Poured::Now {
            self.idle = 0;
        }
        // Of more than a bucket holds, the bucket drained the rest first.
        let rest = milli.saturating_sub(bucket.holds());
        if rest > 0 {
            let is_exact = rest <= EXACT.checked_div(bucket.weight).unwrap_or(0);
            let time = if is_exact {
                rest.saturating_mul(bucket.weight).div_ceil(bucket.drain)
            } else {
                LONGEST_EMPTY
            };
            self.idle = self.idle.saturating_sub(time);
        }
        // What the bucket drained while it was empty, it drained of this.
        let work = milli.min(bucket.holds().saturating_add(1)).saturating_mul(bucket.weight);
        // As if all of it were spent now: it cannot be more, however late a node's clock says that it was.
        let most = self.work.saturating_add(work);
        let drained = self.idle.min(work.div_ceil(bucket.drain));
        self.idle = self.idle.saturating_sub(drained);
        self.work = self.work.saturating_add(work.saturating_sub(drained.saturating_mul(bucket.drain)));
        if let Poured::Until(moment) = poured {
            let until_empty =
                moment.saturating_sub(LONGEST_EMPTY).min(bucket.capacity.div_ceil(bucket.drain));
            self.work = self.work.max(until_empty.saturating_mul(bucket.drain).min(most));
            self.idle = self.idle.min(LONGEST_EMPTY.saturating_sub(moment));
        }
        self.work = self.work.min(bucket.capacity);
        if self.work > 0 {
            self.idle = 0;
        }
    }
}

#[cfg(test)]
mod tests;
