//! A bucket's level at the store, and what becomes of it where the client's limit is another than the last time.
//!
//! While a policy is rolled out, some gateways have one limit and some another, and their reports take turns. So what was
//! used stays used, also what is more than the smaller bucket holds: until it has drained, the smaller limit has nothing
//! to lend, and the larger one has no more than it would have had alone. What is too much for the smaller one drains at
//! the faster of the two rates. Over all of it a client gets the larger capacity and the faster rate at most, and never
//! one of them again and again.

use serde::{Deserialize, Serialize};

use crate::lease::terms::{Bucket, EXACT};

/// A bucket's level, and the numbers of the limit that it is kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Work that has not drained.
    pub work: u64,
    /// [`Bucket::weight`] of that work; 0: never used.
    pub weight: u64,
    /// [`Bucket::drain`] of it: it drains also while the client's tier has no such limit.
    pub drain: u64,
}

impl Level {
    /// Lets `elapsed` microseconds pass for a client whose tier has no such limit.
    pub(super) const fn drain(&mut self, elapsed: u64) {
        self.work = self.work.saturating_sub(elapsed.saturating_mul(self.drain));
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
    const fn is_of(&self, bucket: &Bucket) -> bool {
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
        *self = Self { work, weight: bucket.weight, drain: bucket.drain };
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

    /// Fills `bucket`; more than full is full.
    pub(super) fn fill(&mut self, bucket: &Bucket, milli: u64) {
        if self.is_within(bucket) {
            let work = milli.min(bucket.holds().saturating_add(1)).saturating_mul(bucket.weight);
            self.work = self.work.saturating_add(work).min(bucket.capacity);
        }
    }

    /// The same with what was lent: where it is more than full already, it becomes more by that.
    pub(super) fn fill_lent(&mut self, bucket: &Bucket, milli: u64) {
        if self.is_within(bucket) {
            self.fill(bucket, milli);
        } else {
            self.work = self.work.saturating_add(milli.saturating_mul(self.weight)).min(EXACT);
        }
    }
}

#[cfg(test)]
#[path = "level_tests.rs"]
mod tests;
