//! The simulator's own clock.

use std::ops::{Add, Sub};

use tollgate_core::units::UnixNanos;

/// A moment of the true time, which no part of the product can read. Every clock in a run differs from it.
///
/// Lengths of time are nanoseconds, and a sum that overflows is a failure of the simulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrueTime(u64);

impl TrueTime {
    /// The moment this many nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch, as the log and the checker count.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// What a clock shows that differs from the true time by `offset` nanoseconds.
    #[must_use]
    pub const fn shown_by(self, offset: i64) -> UnixNanos {
        UnixNanos(self.0.saturating_add_signed(offset))
    }
}

impl Add<u64> for TrueTime {
    type Output = Self;

    fn add(self, nanos: u64) -> Self {
        Self(self.0 + nanos)
    }
}

impl Sub for TrueTime {
    type Output = u64;

    fn sub(self, earlier: Self) -> u64 {
        self.0 - earlier.0
    }
}
