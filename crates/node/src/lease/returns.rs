//! What came back of a client's spending, as a record keeps it.

use tollgate_core::terms::EXACT;
use tollgate_core::units::{Cost, Micros, Millis};
use tollgate_core::wire::Returned;

use crate::clock::Tick;

/// What requests cost less in the end than they were charged at first: with a store, as far as the store may know the first
/// charge and has not answered a message that tells the rest; without one, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    /// The sum, below [`Self::RANGE`]; without a store the lower bits of the count.
    pub cost: Cost,
    /// When the first of these requests was charged, in steps of the node's clock, of which it has 12 bits; without a store the
    /// upper bits of the count.
    pub since: u16,
}

impl Returns {
    /// A record has 28 bits for the cost, and 12 for the moment.
    pub const RANGE: u64 = 1 << Self::COST_BITS;
    const COST_BITS: u32 = 28;
    const STEPS: u32 = 1 << 12;
    const STEP: Millis = Millis(1 << Self::STEP_BITS);
    const STEP_BITS: u32 = 8;
    /// What is this old, in steps, counts as charged at no known moment: the steps would begin anew.
    const OLD: u16 = 3 << 10;

    /// The age of what was charged at no known moment.
    pub const UNKNOWN: Micros = Micros(EXACT);

    /// Adds `cost`, which was charged at `charged`. What a record cannot hold is left out.
    pub fn add(&mut self, cost: Cost, charged: Tick, now: Tick) {
        let is_old = now.since(charged) >= Self::STEP.times(Self::OLD.into());
        let since = if is_old { Self::old(now) } else { Self::step_of(charged) };
        if self.cost == Cost(0) || Self::steps(since, now) > Self::steps(self.since, now) {
            self.since = since;
        }
        self.cost = self.cost.plus(cost).min(Cost(Self::RANGE - 1));
    }

    /// Whether a part may have been left out.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.cost.0 >= Self::RANGE - 1
    }

    /// Lets time pass since `seen`, when this was done last, or the sum began.
    pub fn grow_old(&mut self, seen: Tick, now: Tick) {
        let rest = Self::STEPS.saturating_sub(u32::from(Self::OLD)).saturating_sub(1);
        let is_old = Self::steps(self.since, now) >= Self::OLD.into()
            || now.since(seen) >= Self::STEP.times(rest.into());
        if self.cost > Cost(0) && is_old {
            self.since = Self::old(now);
        }
    }

    /// Adds `cost` to a count that begins anew at the end of its range.
    pub const fn count(&mut self, cost: Cost) {
        let count = self.counted().0.wrapping_add(cost.0);
        self.cost = Cost(count & (Self::RANGE - 1));
        self.since = ((count >> Self::COST_BITS) & (Self::STEPS - 1) as u64) as u16;
    }

    /// The count.
    #[must_use]
    pub const fn counted(self) -> Cost {
        Cost(self.cost.0 | (self.since as u64) << Self::COST_BITS)
    }

    /// What was counted since the count was `earlier`.
    #[must_use]
    pub const fn counted_since(self, earlier: Cost) -> Cost {
        const MASK: u64 = (Returns::RANGE * Returns::STEPS as u64) - 1;
        Cost(self.counted().0.wrapping_sub(earlier.0) & MASK)
    }

    /// As a message says it. `more` is what came back of which the record does not know when it was charged.
    #[must_use]
    pub fn told(self, more: Cost, now: Tick) -> Returned {
        let cost = self.cost.max(more);
        if cost == Cost(0) {
            return Returned::default();
        }
        let steps = Self::steps(self.since, now);
        let is_unknown = more > self.cost && !self.is_full();
        if is_unknown || steps >= Self::OLD.into() {
            return Returned { cost, age: Self::UNKNOWN };
        }
        // Both moments are rounded down, and the message takes a while.
        let steps = u64::from(steps).saturating_add(2);
        Returned { cost, age: Micros(Self::STEP.micros().0.saturating_mul(steps)) }
    }

    /// Takes off what a message has told, once the store has answered it.
    pub fn acknowledge(&mut self, told: Returned) {
        self.cost = self.cost.less(told.cost);
    }

    const fn step_of(moment: Tick) -> u16 {
        ((moment.0 >> Self::STEP_BITS) & (Self::STEPS - 1)) as u16
    }

    const fn old(now: Tick) -> u16 {
        Self::step_of(now).wrapping_sub(Self::OLD) & (Self::STEPS - 1) as u16
    }

    const fn steps(since: u16, now: Tick) -> u32 {
        (Self::step_of(now) as u32).wrapping_sub(since as u32) & (Self::STEPS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick(u32::MAX - 100_000);

    #[test]
    fn the_oldest_charge_counts_and_the_age_is_an_upper_bound() {
        let mut returns = Returns::default();
        assert_eq!(returns.told(Cost(0), NOW), Returned::default());
        for (age, oldest) in [(3_000, 3_000_u64), (9_000, 9_000), (200, 9_000)] {
            returns.add(Cost(1_500), Tick(NOW.0 - age), NOW);
            let told = returns.told(Cost(0), NOW).age.millis();
            assert!((Millis(oldest)..=Millis(oldest + 768)).contains(&told), "{told:?}");
        }
        assert_eq!(returns.cost, Cost(4_500));
        returns.acknowledge(Returned { cost: Cost(4_000), age: Micros(0) });
        assert_eq!(returns.cost, Cost(500));
    }

    #[test]
    fn the_age_is_right_when_the_clocks_range_begins_anew() {
        let mut returns = Returns::default();
        let (charged, now) = (Tick(u32::MAX - 5_000), Tick(2_000));
        returns.add(Cost(1_000), charged, now);
        assert!(returns.told(Cost(0), now).age.millis() >= Millis(7_000));
        assert!(returns.told(Cost(0), now).age.millis() <= Millis(7_800));
    }

    #[test]
    fn more_than_a_record_holds_is_left_out_and_a_mere_count_begins_anew() {
        let mut returns = Returns { cost: Cost(Returns::RANGE - 2), since: 0 };
        returns.add(Cost(u64::MAX), NOW, NOW);
        assert_eq!(returns.cost, Cost(Returns::RANGE - 1));
        let mut count = Returns::default();
        count.count(Cost((1 << 40) - 1));
        let earlier = count.counted();
        for cost in [2_500, Returns::RANGE + 5] {
            count.count(Cost(cost));
        }
        assert_eq!(count.counted(), Cost(Returns::RANGE + 2_504));
        assert_eq!(count.counted_since(earlier), Cost(Returns::RANGE + 2_505));
    }
}
