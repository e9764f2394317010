//! Integers with a unit. No decision in Tollgate uses floating point.
//!
//! | type | unit | range |
//! | --- | --- | --- |
//! | [`UnixNanos`] | nanoseconds since 1970-01-01T00:00:00Z | up to the year 2554 |
//! | [`Nanos`] | nanoseconds between two moments | up to 584 years |
//! | [`UnixMicros`] | microseconds since 1970-01-01T00:00:00Z, by the store's clock | up to the year 586,000 |
//! | [`Micros`], [`Millis`] | microseconds, milliseconds between two moments | up to 584,000 years |
//! | [`Cost`] | thousandths of a cost unit | up to 1.8 × 10¹⁶ units |
//! | [`Work`] | the level of a bucket at the store: what drains, in the bucket's own unit | up to [`EXACT`](crate::terms::EXACT) |
//!
//! Each conversion is a method here, so that a nanosecond cannot pass for a millisecond, nor a cost for work.

use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Thousandths of a cost unit in one unit.
pub const MILLI_PER_UNIT: u64 = 1_000;

/// Arithmetic of lengths of time and of amounts. Nothing wraps: a sum ends at the end of the range, and a difference at zero.
macro_rules! amounts {
    ($($amount:ident),*) => {$(
        impl $amount {
            /// The sum, or the end of the range.
            #[must_use]
            pub const fn plus(self, more: Self) -> Self {
                Self(self.0.saturating_add(more.0))
            }

            /// What is left of `self` without `other`; zero when `other` is more.
            #[must_use]
            pub const fn less(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// `factor` times as much, or the end of the range.
            #[must_use]
            pub const fn times(self, factor: u64) -> Self {
                Self(self.0.saturating_mul(factor))
            }
        }
    )*};
}

/// Arithmetic of moments, whose distance is a length of time.
macro_rules! moments {
    ($($moment:ident in $length:ident),*) => {$(
        impl $moment {
            /// The time from `earlier` to `self`; zero when `earlier` lies in the future.
            #[must_use]
            pub const fn since(self, earlier: Self) -> $length {
                $length(self.0.saturating_sub(earlier.0))
            }

            /// The moment `wait` later, or the end of the range.
            #[must_use]
            pub const fn after(self, wait: $length) -> Self {
                Self(self.0.saturating_add(wait.0))
            }
        }
    )*};
}

amounts!(Nanos, Micros, Millis, Work, Cost);
moments!(UnixNanos in Nanos, UnixMicros in Micros);

/// A moment: nanoseconds since the Unix epoch, UTC without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// The same moment in whole microseconds, rounded down.
    #[must_use]
    pub const fn micros(self) -> UnixMicros {
        UnixMicros(self.0 / 1_000)
    }

    /// The moment `seconds` after the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / NANOS_PER_SECOND
    }

    /// Whole seconds since the epoch, rounded up: a client that waits for it has waited enough.
    #[must_use]
    pub const fn seconds_rounded_up(self) -> u64 {
        self.0.div_ceil(NANOS_PER_SECOND)
    }
}

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Whole microseconds, rounded down.
    #[must_use]
    pub const fn micros(self) -> Micros {
        Micros(self.0 / 1_000)
    }

    /// Whole microseconds, rounded up.
    #[must_use]
    pub const fn micros_rounded_up(self) -> Micros {
        Micros(self.0.div_ceil(1_000))
    }

    /// `seconds` as nanoseconds, or the end of the range.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Whole seconds, rounded up: a client that waits for them has waited enough.
    #[must_use]
    pub const fn seconds_rounded_up(self) -> u64 {
        self.0.div_ceil(NANOS_PER_SECOND)
    }
}

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// The same length in nanoseconds, or the end of the range.
    #[must_use]
    pub const fn nanos(self) -> Nanos {
        Nanos(self.0.saturating_mul(1_000_000))
    }

    /// The same length in microseconds, or the end of the range.
    #[must_use]
    pub const fn micros(self) -> Micros {
        Micros(self.0.saturating_mul(1_000))
    }
}

/// A length of time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Micros(pub u64);

impl Micros {
    /// The same length in nanoseconds, or the end of the range.
    #[must_use]
    pub const fn nanos(self) -> Nanos {
        Nanos(self.0.saturating_mul(1_000))
    }

    /// Whole milliseconds, rounded down: what is lent is never lent for longer.
    #[must_use]
    pub const fn millis(self) -> Millis {
        Millis(self.0 / 1_000)
    }

    /// Whole milliseconds, rounded up: a client that waits for them has waited enough.
    #[must_use]
    pub const fn millis_rounded_up(self) -> Millis {
        Millis(self.0.div_ceil(1_000))
    }
}

/// A moment of the store's clock: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// The same moment in nanoseconds, or the end of the range.
    #[must_use]
    pub const fn nanos(self) -> UnixNanos {
        UnixNanos(self.0.saturating_mul(1_000))
    }
}

/// What a bucket at the store holds, in the bucket's own unit: a microsecond drains [`Bucket::drain`], and a thousandth of a cost
/// unit weighs [`Bucket::weight`].
///
/// [`Bucket::drain`]: crate::terms::Bucket::drain
/// [`Bucket::weight`]: crate::terms::Bucket::weight
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Work(pub u64);

/// What a request costs, in thousandths of a unit. `Cost(1_000)` is one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cost(pub u64);

impl Cost {
    /// A request that is never limited and never counted.
    pub const FREE: Self = Self(0);

    /// `units` whole units, or the end of the range.
    #[must_use]
    pub const fn from_units(units: u64) -> Self {
        Self(units.saturating_mul(MILLI_PER_UNIT))
    }

    /// Whole units, rounded up.
    #[must_use]
    pub const fn whole_units_rounded_up(self) -> u64 {
        self.0.div_ceil(MILLI_PER_UNIT)
    }

    /// Whole units, rounded down: what is left is never overstated.
    #[must_use]
    pub const fn whole_units(self) -> u64 {
        self.0 / MILLI_PER_UNIT
    }
}

impl std::fmt::Display for Cost {
    /// Units with up to three decimals: `1`, `0.5`, `2.125`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fraction = self.0 % MILLI_PER_UNIT;
        if fraction == 0 {
            return write!(out, "{}", self.whole_units());
        }
        let digits = format!("{fraction:03}");
        write!(out, "{}.{}", self.whole_units(), digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        assert_eq!(Nanos(0).seconds_rounded_up(), 0);
        assert_eq!(Nanos(1).seconds_rounded_up(), 1);
        assert_eq!(Nanos::from_seconds(3).seconds_rounded_up(), 3);
        assert_eq!(UnixNanos(NANOS_PER_SECOND + 1).seconds_rounded_up(), 2);
    }

    #[test]
    fn time_does_not_run_backwards_between_two_moments() {
        assert_eq!(UnixNanos(5).since(UnixNanos(9)), Nanos(0));
        assert_eq!(UnixNanos(9).since(UnixNanos(5)), Nanos(4));
    }

    #[test]
    fn the_end_of_the_range_saturates() {
        assert_eq!(UnixNanos(u64::MAX).after(Nanos(1)), UnixNanos(u64::MAX));
        assert_eq!(Cost::from_units(u64::MAX), Cost(u64::MAX));
        assert_eq!(Cost(u64::MAX).plus(Cost(1)), Cost(u64::MAX));
    }

    #[test]
    fn a_cost_prints_as_its_policy_writes_it() {
        assert_eq!(Cost(1_000).to_string(), "1");
        assert_eq!(Cost(500).to_string(), "0.5");
        assert_eq!(Cost(2_125).to_string(), "2.125");
        assert_eq!(Cost(7).to_string(), "0.007");
    }
}
