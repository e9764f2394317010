//! What an account has room for, and why it refuses.

use super::{Account, CALM_PART, MOST, end_of, exact};
use tollgate_core::terms::{Bucket, Terms};
use tollgate_core::units::{Cost, Micros, UnixMicros, Work};
use tollgate_core::wire::{Grant, Refusal};

/// What may lie idle on all nodes together for long.
pub(super) fn may_lie_idle(terms: &Terms) -> Cost {
    let least = terms.buckets.iter().map(Bucket::holds).min();
    Cost(least.unwrap_or(MOST).0 / CALM_PART)
}

impl Account {
    /// What is lent to all nodes.
    pub(super) fn lent(&self) -> Cost {
        exact(self.loans.iter().fold(Cost(0), |sum, loan| sum.plus(loan.lent)))
    }

    /// The room in the bucket number `index`, beside what is lent.
    fn room(&self, terms: &Terms, index: usize) -> Work {
        let (Some(bucket), Some(level)) = (terms.buckets.get(index), self.levels.get(index)) else {
            return Work(0);
        };
        let lent = bucket.work_of(self.lent().min(bucket.holds().plus(Cost(1))));
        level.room(bucket).less(lent)
    }

    /// What can still be lent or charged.
    pub(super) fn left(&self, terms: &Terms, month: u16) -> Cost {
        let of_buckets = (0..terms.buckets.len()).zip(&terms.buckets);
        let of_buckets = of_buckets.map(|(index, bucket)| bucket.cost_of(self.room(terms, index))).min();
        let of_month = terms.monthly.map(|quota| quota.less(self.used(month)).less(self.lent()));
        of_buckets.unwrap_or(MOST).min(of_month.unwrap_or(MOST))
    }

    /// Why `cost` is refused at `now`, and when it would fit.
    pub(super) fn refusal(&self, terms: &Terms, cost: Cost, month: u16, now: UnixMicros) -> Refusal {
        let mut refusal = Refusal { limits: 0, month: false, never: false, wait: Micros(0) };
        for (index, bucket) in terms.buckets.iter().enumerate() {
            if cost > bucket.holds() {
                refusal.limits |= 1 << index;
                refusal.never = true;
                continue;
            }
            let missing = bucket.work_of(cost).less(self.room(terms, index));
            if missing > Work(0) {
                refusal.limits |= 1 << index;
                let until_fits = self.levels.get(index).map_or(Micros(0), |level| level.until_fits(bucket));
                let wait = until_fits.plus(bucket.time_for(missing));
                refusal.wait = refusal.wait.max(wait);
            }
        }
        if let Some(quota) = terms.monthly {
            refusal.never |= cost > quota;
            if cost > quota.less(self.used(month)).less(self.lent()) {
                refusal.month = true;
                refusal.wait = refusal.wait.max(end_of(month).since(now));
            }
        }
        refusal
    }

    /// Whether so little is left that nodes should not keep idle leases.
    pub(super) fn is_scarce(&self, terms: &Terms, month: u16) -> bool {
        let of_buckets =
            |(index, bucket): (usize, &Bucket)| self.room(terms, index).0 < bucket.capacity.0 / 4;
        let of_month = |quota: Cost| {
            quota.less(self.used(month)).less(self.lent()) < self.lent().times(8).max(Cost(quota.0 / 64))
        };
        terms.buckets.iter().enumerate().any(of_buckets) || terms.monthly.is_some_and(of_month)
    }

    /// Whether so little is lent, and so much is left, that nobody misses an idle lease.
    pub(super) fn has_plenty(&self, terms: &Terms) -> bool {
        let is_half_empty =
            |(index, bucket): (usize, &Bucket)| self.room(terms, index).0 >= bucket.capacity.0 / 2;
        !terms.is_unlimited()
            && self.lent() <= may_lie_idle(terms)
            && terms.buckets.iter().enumerate().all(is_half_empty)
    }

    pub(super) fn grant(&self, terms: &Terms, month: u16) -> Grant {
        let mut used = [Cost(0); 3];
        for (used, level) in used.iter_mut().zip(&self.levels).take(terms.buckets.len()) {
            *used = level.cost();
        }
        Grant { used, month, month_used: self.used(month), ..Grant::default() }
    }
}
