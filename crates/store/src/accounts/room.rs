//! What an account still has room for, and what it says when it has none.

use super::{Account, CALM_PART, end_of};
use tollgate_core::terms::{Bucket, EXACT, Terms};
use tollgate_core::wire::{Grant, Refusal};

/// What may lie idle on all nodes together for long, thousandths of a unit.
pub(super) fn may_lie_idle(terms: &Terms) -> u64 {
    let least = terms.buckets.iter().map(Bucket::holds).min();
    least.unwrap_or(EXACT) / CALM_PART
}

impl Account {
    /// Lent to all nodes.
    pub(super) fn lent(&self) -> u64 {
        self.loans.iter().fold(0, |sum: u64, loan| sum.saturating_add(loan.lent)).min(EXACT)
    }

    /// What each bucket has room for beside what is lent, in work.
    fn room(&self, terms: &Terms, index: usize) -> u64 {
        let (Some(bucket), Some(level)) = (terms.buckets.get(index), self.levels.get(index)) else {
            return 0;
        };
        let lent = self.lent().min(bucket.holds().saturating_add(1)).saturating_mul(bucket.weight);
        level.room(bucket).saturating_sub(lent)
    }

    /// What can still be lent or charged, thousandths of a unit.
    pub(super) fn left(&self, terms: &Terms, month: u16) -> u64 {
        let of_buckets = (0..terms.buckets.len()).zip(&terms.buckets);
        let of_buckets = of_buckets
            .map(|(index, bucket)| self.room(terms, index).checked_div(bucket.weight).unwrap_or(0))
            .min();
        let of_month =
            terms.monthly.map(|quota| quota.saturating_sub(self.used(month)).saturating_sub(self.lent()));
        of_buckets.unwrap_or(EXACT).min(of_month.unwrap_or(EXACT))
    }

    /// Why `milli` cannot be had at `now`, and when it could be.
    pub(super) fn refusal(&self, terms: &Terms, milli: u64, month: u16, now: u64) -> Refusal {
        let mut refusal = Refusal { limits: 0, month: false, never: false, wait: 0 };
        for (index, bucket) in terms.buckets.iter().enumerate() {
            if milli > bucket.holds() {
                refusal.limits |= 1 << index;
                refusal.never = true;
                continue;
            }
            let missing = milli.saturating_mul(bucket.weight).saturating_sub(self.room(terms, index));
            if missing > 0 {
                refusal.limits |= 1 << index;
                let until_fits = self.levels.get(index).map_or(0, |level| level.until_fits(bucket));
                let wait = until_fits.saturating_add(missing.div_ceil(bucket.drain.max(1)));
                refusal.wait = refusal.wait.max(wait);
            }
        }
        if let Some(quota) = terms.monthly {
            refusal.never |= milli > quota;
            if milli > quota.saturating_sub(self.used(month)).saturating_sub(self.lent()) {
                refusal.month = true;
                refusal.wait = refusal.wait.max(end_of(month).saturating_sub(now));
            }
        }
        refusal
    }

    /// Whether so little is left that a node had better not sit on its lease.
    pub(super) fn is_scarce(&self, terms: &Terms, month: u16) -> bool {
        let of_buckets = |(index, bucket): (usize, &Bucket)| self.room(terms, index) < bucket.capacity / 4;
        let of_month = |quota: u64| {
            let used = self.used(month);
            quota.saturating_sub(used).saturating_sub(self.lent())
                < self.lent().saturating_mul(8).max(quota / 64)
        };
        terms.buckets.iter().enumerate().any(of_buckets) || terms.monthly.is_some_and(of_month)
    }

    /// Whether so little is lent, and so much is left, that nobody misses what lies idle for long.
    pub(super) fn has_plenty(&self, terms: &Terms) -> bool {
        let is_half_empty =
            |(index, bucket): (usize, &Bucket)| self.room(terms, index) >= bucket.capacity / 2;
        !terms.is_unlimited()
            && self.lent() <= may_lie_idle(terms)
            && terms.buckets.iter().enumerate().all(is_half_empty)
    }

    pub(super) fn grant(&self, terms: &Terms, month: u16) -> Grant {
        let mut used = [0; 3];
        for (used, level) in used.iter_mut().zip(&self.levels).take(terms.buckets.len()) {
            *used = level.milli();
        }
        Grant { used, month, month_used: self.used(month), ..Grant::default() }
    }
}
