//! What an account's levels are to a tier: also to another than the one that they were written under.
//!
//! Policies are rolled out gateway by gateway, customers are upgraded, and two policies of one node may take turns. What
//! was used then stays used, in cost units:
//! - The level of the minute's bucket goes on as the minute's, whatever the number of units. It is read as it was when it
//!   was written and drains from there at the rate that counts now.
//! - What is more than the bucket now holds drains at the faster of the two rates until it fits. It is not forgotten, or
//!   two policies in turn would each hand out a bucket again and again.
//! - A limit of a period that had none takes over what a shorter period's bucket has. Where the limit of a longer period is
//!   gone with the tier that had it, it begins with what that one's bucket has, as far as it can hold it.
//! - The level of a period that the tier has no limit for is kept where the record has room, and charged, for the day on
//!   which there is one again.
//!
//! So over any interval a client is let through the larger capacity and the faster rate at most. A change costs it at most a
//! thousandth of a unit, by rounding.

use super::Account;
use crate::limit::{Level, Limit, PackedRate};
use crate::tier::{MAX_LIMITS, Tier};
use crate::units::{Cost, Nanos};

impl Account {
    /// Whether the levels are those of `tier`'s limits and of nothing else.
    pub fn is_of(&self, tier: &Tier) -> bool {
        let mut limits = tier.limits.iter().map(PackedRate::of);
        self.rates.iter().all(|rate| *rate == limits.next().unwrap_or_default())
    }

    /// The same account with a level for each of `tier`'s limits, in their order and in their units, `elapsed` after the
    /// moment that the levels speak of. A level may be more than its bucket holds: it then has to drain that much first.
    pub(super) fn carried(self, tier: &Tier, elapsed: Nanos) -> Self {
        let matched = self.matched(tier);
        let mut account = Self { levels: Default::default(), rates: Default::default(), ..self };
        for (index, (place, limit)) in account.places().zip(&tier.limits).enumerate() {
            let level = match matched.get(index).copied().flatten().and_then(|old| self.kept(old)) {
                Some((level, rate)) => read(level, rate, limit, elapsed),
                None => limit.drained(limit.level(self.known_for(limit, &matched)), elapsed),
            };
            (*place.0, *place.1) = (level, PackedRate::of(limit));
        }
        let mut others = (0..MAX_LIMITS)
            .filter(|old| !matched.contains(&Some(*old)))
            .filter_map(|old| self.kept(old))
            .map(|(level, rate)| (rate.drained(level, elapsed), rate))
            .filter(|(level, _)| level.0 > 0);
        for (place, other) in account.places().skip(tier.limits.len()).zip(&mut others) {
            (*place.0, *place.1) = other;
        }
        account
    }

    /// Charges the levels that the tier, which has `limits` limits, has none for. They are filled up to one period's units,
    /// or to what they had in them `before`: what more their bucket would hold is not known, and whoever has a limit again
    /// does not begin with a debt.
    pub(super) fn charge_others(&mut self, limits: usize, cost: Cost, before: &Self) {
        for (level, rate) in self.places().skip(limits).filter(|(_, rate)| rate.units() > 0) {
            let known = before.levels.iter().zip(&before.rates).find(|(_, other)| *other == rate);
            *level = rate.filled(*level, cost, known.map_or(Level(0), |(level, _)| *level));
        }
    }

    fn places(&mut self) -> impl Iterator<Item = (&mut Level, &mut PackedRate)> {
        self.levels.iter_mut().zip(&mut self.rates)
    }

    /// The level at `index` and the rate in whose unit it is, if there is one.
    fn kept(&self, index: usize) -> Option<(Level, PackedRate)> {
        let (level, rate) = (self.levels.get(index)?, self.rates.get(index)?);
        (rate.units() > 0).then_some((*level, *rate))
    }

    /// For each of `tier`'s limits the place of the level that goes on as its own: of several of one period, in order.
    fn matched(&self, tier: &Tier) -> [Option<usize>; MAX_LIMITS] {
        let mut matched = [None; MAX_LIMITS];
        // One of the very same rate comes before one of the same period.
        for is_exact in [true, false] {
            for (index, limit) in tier.limits.iter().enumerate() {
                let is_free = |old: &usize| !matched.contains(&Some(*old));
                let is_same = |old: &usize| {
                    self.kept(*old).is_some_and(|(_, rate)| {
                        rate.period() == limit.period() && (!is_exact || rate == PackedRate::of(limit))
                    })
                };
                let found = (0..MAX_LIMITS).filter(is_free).find(is_same);
                if let Some(place) = matched.get_mut(index).filter(|place| place.is_none()) {
                    *place = found;
                }
            }
        }
        matched
    }

    /// What is known to have been used of a `limit` whose period had no level. A slower bucket has at least as much in it
    /// as a faster one, and at most as much where that is gone.
    fn known_for(&self, limit: &Limit, matched: &[Option<usize>; MAX_LIMITS]) -> Cost {
        let kept = |old: usize| self.kept(old).map(|(level, rate)| (rate.period(), rate.used(level)));
        let all = (0..MAX_LIMITS).filter_map(kept);
        let gone = (0..MAX_LIMITS).filter(|old| !matched.contains(&Some(*old))).filter_map(kept);
        let shorter = all.filter(|(period, _)| *period < limit.period()).map(|(_, used)| used).max();
        let longer = gone.filter(|(period, _)| *period > limit.period()).map(|(_, used)| used).min();
        longer.or(shorter).unwrap_or_default().min(limit.capacity())
    }
}

/// `level`, kept in the unit of `rate`, as one of `limit`'s bucket, `elapsed` later.
fn read(level: Level, rate: PackedRate, limit: &Limit, elapsed: Nanos) -> Level {
    if rate == PackedRate::of(limit) {
        return limit.drained(level, elapsed);
    }
    let used = rate.used(level);
    let too_much = used.less(limit.capacity());
    let fits_after = rate.time_for(too_much).min(limit.time_for(too_much));
    let fitting = limit.level(used.min(limit.capacity()));
    match fits_after.0.checked_sub(elapsed.0) {
        Some(missing) if too_much > Cost(0) => limit.waiting(fitting, Nanos(missing)),
        _ => limit.drained(fitting, Nanos(elapsed.0.saturating_sub(fits_after.0))),
    }
}

#[cfg(test)]
mod tests;
