//! What came back of a client's spending, as a record keeps it.

use tollgate_core::units::{Cost, Micros, Millis};
use tollgate_core::wire::Returned;

use crate::clock::Tick;

/// What requests cost less in the end than they were charged at first: with a store, as far as the store may know the first
/// charge and has not answered a message that tells the rest; without one, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    /// The sum, below [`Self::RANGE`].
    pub cost: Cost,
    /// When the first of these requests was charged, in steps of the node's clock, of which it has 12 bits.
    pub since: u16,
}

impl Returns {
    /// A record has 28 bits for the cost, and 12 for the moment.
    pub const RANGE: u64 = 1 << 28;
    const STEPS: u32 = 1 << 12;
    const STEP: Millis = Millis(1 << Self::STEP_BITS);
    const STEP_BITS: u32 = 8;

    /// Adds `cost`, which was charged at `charged`; false if a record cannot hold as much.
    pub fn add(&mut self, cost: Cost, charged: Tick, now: Tick) -> bool {
        let sum = self.cost.plus(cost);
        if sum.0 >= Self::RANGE {
            return false;
        }
        let since = Self::step_of(charged);
        if self.cost == Cost(0) || Self::steps(since, now) > Self::steps(self.since, now) {
            self.since = since;
        }
        self.cost = sum;
        true
    }

    /// Adds `cost` to a sum that begins anew at the end of its range.
    pub const fn count(&mut self, cost: Cost) {
        self.cost = Cost(self.cost.0.wrapping_add(cost.0) & (Self::RANGE - 1));
    }

    /// What was counted since the sum was `earlier`.
    #[must_use]
    pub const fn counted_since(self, earlier: Cost) -> Cost {
        Cost(self.cost.0.wrapping_sub(earlier.0) & (Self::RANGE - 1))
    }

    /// As a message says it.
    #[must_use]
    pub fn told(self, now: Tick) -> Returned {
        if self.cost == Cost(0) {
            return Returned::default();
        }
        // Both moments are rounded down, and the message takes a while.
        let steps = u64::from(Self::steps(self.since, now)).saturating_add(2);
        Returned { cost: self.cost, age: Micros(Self::STEP.micros().0.saturating_mul(steps)) }
    }

    /// Takes off what a message has told, once the store has answered it.
    pub fn acknowledge(&mut self, told: Returned) {
        self.cost = self.cost.less(told.cost);
    }

    const fn step_of(moment: Tick) -> u16 {
        ((moment.0 >> Self::STEP_BITS) & (Self::STEPS - 1)) as u16
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
        assert_eq!(returns.told(NOW), Returned::default());
        for (age, oldest) in [(3_000, 3_000_u64), (9_000, 9_000), (200, 9_000)] {
            assert!(returns.add(Cost(1_500), Tick(NOW.0 - age), NOW));
            let told = returns.told(NOW).age.millis();
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
        assert!(returns.add(Cost(1_000), charged, now));
        assert!(returns.told(now).age.millis() >= Millis(7_000));
        assert!(returns.told(now).age.millis() <= Millis(7_800));
    }

    #[test]
    fn more_than_a_record_holds_is_refused_and_a_mere_count_begins_anew() {
        let mut returns = Returns { cost: Cost(Returns::RANGE - 1), since: 0 };
        assert!(!returns.add(Cost(1), NOW, NOW));
        assert!(!returns.add(Cost(u64::MAX), NOW, NOW));
        returns.count(Cost(2_500));
        assert_eq!(
            (returns.cost, returns.counted_since(Cost(Returns::RANGE - 1))),
            (Cost(2_499), Cost(2_500))
        );
    }
}
