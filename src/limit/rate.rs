//! In which limit's unit a level is kept, in as little room as a record has for it.

use super::{Limit, Period};

/// A limit's units and period, in 32 bits: all that it takes to read a [`Level`](super::Level) that was kept for it.
/// The default stands for no level at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedRate(pub u32);

impl PackedRate {
    const UNITS: u32 = (1 << 30) - 1;

    /// That of `limit`. No policy has a rate above a thousand million units, which 30 bits hold.
    #[must_use]
    pub fn of(limit: &Limit) -> Self {
        let units = u32::try_from(limit.units()).unwrap_or(u32::MAX).min(Self::UNITS);
        Self((limit.period() as u32) << 30 | units)
    }

    /// Cost units a period; 0: no level is kept.
    #[must_use]
    pub const fn units(self) -> u64 {
        (self.0 & Self::UNITS) as u64
    }

    /// The period.
    #[must_use]
    pub const fn period(self) -> Period {
        match self.0 >> 30 {
            0 => Period::Second,
            1 => Period::Minute,
            2 => Period::Hour,
            _ => Period::Day,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

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
