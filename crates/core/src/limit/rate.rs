//! The rate in whose unit a level is kept, packed into the little room that a record has.

use super::gcra::work;
use super::{Level, Limit, Period};
use crate::units::{Cost, MILLI_PER_UNIT, Nanos, UnixNanos};

/// A limit's units and period, in 32 bits: all that is needed to read a [`Level`] that was kept for it.
/// The default stands for no level at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedRate(pub u32);

impl PackedRate {
    const UNITS: u32 = (1 << 30) - 1;

    /// The packed rate of `limit`. No policy has a rate above 1,000,000,000 units, which fits 30 bits.
    #[must_use]
    pub fn of(limit: &Limit) -> Self {
        let units = u32::try_from(limit.units()).unwrap_or(u32::MAX).min(Self::UNITS);
        Self((limit.period() as u32) << 30 | units)
    }

    /// Cost units per period; 0 if no level is kept.
    #[must_use]
    pub const fn units(self) -> u64 {
        (self.0 & Self::UNITS) as u64
    }

    /// The period.
    #[must_use]
    pub const fn period(self) -> Period {
        // Two bits have room for four periods: another one needs another layout of the record.
        const PERIODS: [Period; 4] = Period::ALL;
        let [second, minute, hour, day] = PERIODS;
        match self.0 >> 30 {
            0 => second,
            1 => minute,
            2 => hour,
            _ => day,
        }
    }

    /// The work that drains per nanosecond, and the work of a thousandth of a unit; both ≥ 1.
    fn work(self) -> (u64, u64) {
        work(self.units().max(1), self.period()).unwrap_or((1, 1))
    }

    /// The cost in `level`, rounded up to a thousandth of a unit.
    #[must_use]
    pub fn used(self, level: Level) -> Cost {
        let (_, weight) = self.work();
        Cost(level.0.div_ceil(weight))
    }

    /// The level after `elapsed` of draining.
    #[must_use]
    pub fn drained(self, level: Level, elapsed: Nanos) -> Level {
        let (drain, _) = self.work();
        Level(level.0.saturating_sub(elapsed.0.saturating_mul(drain)))
    }

    /// The level with `cost` poured in, up to one period's units or to `most`, whichever is more.
    #[must_use]
    pub fn filled(self, level: Level, cost: Cost, most: Level) -> Level {
        let (_, weight) = self.work();
        let most = self.units().saturating_mul(MILLI_PER_UNIT).saturating_mul(weight).max(most.0);
        Level(level.0.saturating_add(cost.0.saturating_mul(weight)).min(most).max(level.0))
    }

    /// How long `cost` takes to drain.
    #[must_use]
    pub fn time_for(self, cost: Cost) -> Nanos {
        let (drain, weight) = self.work();
        Nanos(cost.0.saturating_mul(weight).div_ceil(drain))
    }

    /// The moment at which the bucket is full again; `level` is that of `now`.
    #[must_use]
    pub fn full_at(self, level: Level, now: UnixNanos) -> UnixNanos {
        let (drain, _) = self.work();
        now.after(Nanos(level.0.div_ceil(drain)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_period_come_back() {
        for period in Period::ALL {
            for units in [1, 7, 1_000_000_000] {
                let packed = PackedRate::of(&Limit::new(units, period, 100).unwrap());
                assert_eq!((packed.units(), packed.period()), (units, period));
            }
        }
        assert_eq!(PackedRate::default().units(), 0);
    }
}
