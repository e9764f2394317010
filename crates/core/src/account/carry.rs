//! How an account's levels are read under a tier other than the one that they were written under.
//!
//! Policies are rolled out gateway by gateway, customers are upgraded, and two policies of one node may take turns. What
//! was used then stays used, in cost units:
//! - The level of the minute's bucket stays the minute's, whatever the number of units. It is read as of the moment at
//!   which it was written, and drains from there at the rate that is in force now.
//! - What exceeds the bucket's present capacity drains at the faster of the two rates until the rest fits. It is not
//!   forgotten, or two policies that take turns would each hand out a bucket again and again.
//! - A limit of a period that had no level takes over the level of a shorter period. If a longer period's limit went away
//!   with its tier, the new limit begins with that level instead, up to its own capacity.
//! - The level of a period for which the tier has no limit is kept where the record has room, and is charged, until the
//!   period has a limit again.
//!
//! So over any interval a client gets at most the larger capacity and the faster rate. By rounding, a change costs it at
//! most a thousandth of a unit.

use super::Account;
use crate::limit::{Level, Limit, PackedRate};
use crate::tier::{MAX_LIMITS, Tier};
use crate::units::{Cost, Nanos};

impl Account {
    /// Whether the levels are those of `tier`'s limits and of no others.
    pub fn is_of(&self, tier: &Tier) -> bool {
        let mut limits = tier.limits.iter().map(PackedRate::of);
        self.rates.iter().all(|rate| *rate == limits.next().unwrap_or_default())
    }

    /// The same account with a level for each of `tier`'s limits, in their order and units, `elapsed` after the moment that
    /// the levels are of. A level may exceed its bucket's capacity; the excess has to drain first.
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

    /// Charges the levels for which the tier, with its number of `limits`, has no limit. They are filled up to one period's
    /// units, or to what they held `before`: how much more their buckets would hold is not known, and a client whose limit
    /// comes back must not begin in debt.
    pub(super) fn charge_others(&mut self, limits: usize, cost: Cost, before: &Self) {
        for (level, rate) in self.places().skip(limits).filter(|(_, rate)| rate.units() > 0) {
            let known = before.levels.iter().zip(&before.rates).find(|(_, other)| *other == rate);
            *level = rate.filled(*level, cost, known.map_or(Level(0), |(level, _)| *level));
        }
    }

    fn places(&mut self) -> impl Iterator<Item = (&mut Level, &mut PackedRate)> {
        self.levels.iter_mut().zip(&mut self.rates)
    }

    /// The level at `index` and the rate in whose unit it is kept, if there is one.
    fn kept(&self, index: usize) -> Option<(Level, PackedRate)> {
        let (level, rate) = (self.levels.get(index)?, self.rates.get(index)?);
        (rate.units() > 0).then_some((*level, *rate))
    }

    /// For each of `tier`'s limits, the place of the level that it takes over; several limits of one period match in order.
    fn matched(&self, tier: &Tier) -> [Option<usize>; MAX_LIMITS] {
        let mut matched = [None; MAX_LIMITS];
        // A level of the very same rate comes before one of the same period.
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

    /// The cost that is known to be used of a `limit` whose period had no level. A longer period's bucket has at least as
    /// much in it as a shorter one's, and is an upper bound if its limit is gone.
    fn known_for(&self, limit: &Limit, matched: &[Option<usize>; MAX_LIMITS]) -> Cost {
        let kept = |old: usize| self.kept(old).map(|(level, rate)| (rate.period(), rate.used(level)));
        let all = (0..MAX_LIMITS).filter_map(kept);
        let gone = (0..MAX_LIMITS).filter(|old| !matched.contains(&Some(*old))).filter_map(kept);
        let shorter = all.filter(|(period, _)| *period < limit.period()).map(|(_, used)| used).max();
        let longer = gone.filter(|(period, _)| *period > limit.period()).map(|(_, used)| used).min();
        longer.or(shorter).unwrap_or_default().min(limit.capacity())
    }
}

/// The level of `limit`'s bucket that corresponds to `level`, kept in the unit of `rate`, after `elapsed`.
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
