//! One rate limit and the arithmetic of its bucket: the generic cell rate algorithm, exact.
//!
//! A bucket is a leaky bucket as a meter (ITU-T I.371, which proves that it equals virtual scheduling): every admitted
//! request pours its cost in, the bucket drains at the limit's rate, and a request is refused if it would overflow the
//! capacity. The level is kept in *work*: the smallest unit in which both a thousandth of a cost unit and a nanosecond of
//! draining are whole numbers. So `7/minute`, which has 8.571428… seconds per unit that no integer of nanoseconds can hold,
//! is as exact as `60/minute`: seven requests fit the bucket, an eighth does not, and no rounding accumulates in either
//! direction.
//!
//! With period *P* (ns), *N* units per period and *g* = gcd(*N*, *P*/1000): a nanosecond drains *N*/*g* work, and a
//! thousandth of a unit costs (*P*/1000)/*g* work.

use crate::units::{Cost, MILLI_PER_UNIT, Nanos, UnixNanos};

/// The time in which a limit gives out its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// One second.
    Second,
    /// 60 seconds.
    Minute,
    /// 3,600 seconds.
    Hour,
    /// 86,400 seconds.
    Day,
}

impl Period {
    /// Every period, shortest first.
    pub const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// The period's length in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// The period's length.
    #[must_use]
    pub const fn length(self) -> Nanos {
        Nanos::from_seconds(self.seconds())
    }

    /// The word in a policy's `rate: N/word`, and the name of the limit in the IETF fields.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// Why a rate and a burst cannot make a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitError {
    /// The rate is zero: it could never allow a request.
    NoUnits,
    /// The burst is below 1.00 or above [`Limit::MAX_BURST`].
    Burst,
    /// The arithmetic cannot hold the product of bucket and rate exactly.
    TooFine,
}

/// One rate limit: `units` cost units per `period`, and a bucket that holds `burst` times as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    units: u64,
    period: Period,
    burst: u64,
    /// Work that drains per nanosecond, ≥ 1.
    drain: u64,
    /// Work per thousandth of a cost unit, ≥ 1.
    weight: u64,
    /// Work that the bucket holds.
    capacity: u64,
}

/// How full one bucket is, in the work of its [`Limit`]. At zero nothing is spent and the whole burst is available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub u64);

impl Level {
    /// What is left after `other` was taken off, or zero.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Limit {
    /// The greatest burst, in hundredths: a bucket of a thousand periods.
    pub const MAX_BURST: u64 = 100_000;

    /// A limit of `units` per `period` with a bucket of `burst_hundredths` / 100 times `units`.
    ///
    /// # Errors
    /// [`LimitError`] if the limit could never allow a request or could not be kept exactly.
    pub fn new(units: u64, period: Period, burst_hundredths: u64) -> Result<Self, LimitError> {
        if units == 0 {
            return Err(LimitError::NoUnits);
        }
        if !(100..=Self::MAX_BURST).contains(&burst_hundredths) {
            return Err(LimitError::Burst);
        }
        let (drain, weight) = work(units, period).ok_or(LimitError::NoUnits)?;
        // Capacity = burst × N units = burst × P nanoseconds of draining. P is a multiple of 100, so it is exact.
        let capacity = (period.length().0 / 100)
            .checked_mul(burst_hundredths)
            .and_then(|nanos| nanos.checked_mul(drain))
            .filter(|capacity| *capacity <= u64::MAX / 2)
            .ok_or(LimitError::TooFine)?;
        Ok(Self { units, period, burst: burst_hundredths, drain, weight, capacity })
    }

    /// Cost units per period.
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// The period in which [`Self::units`] are given out.
    #[must_use]
    pub const fn period(&self) -> Period {
        self.period
    }

    /// The bucket's capacity in hundredths of [`Self::units`].
    #[must_use]
    pub const fn burst_hundredths(&self) -> u64 {
        self.burst
    }

    /// What a full bucket holds, in thousandths of a unit, rounded down.
    #[must_use]
    pub const fn capacity(&self) -> Cost {
        match self.capacity.checked_div(self.weight) {
            Some(milli) => Cost(milli),
            None => Cost(0),
        }
    }

    /// The level after `elapsed` of draining.
    #[must_use]
    pub const fn drained(&self, level: Level, elapsed: Nanos) -> Level {
        Level(level.0.saturating_sub(elapsed.0.saturating_mul(self.drain)))
    }

    /// The level of an empty meter after `used` was poured in.
    #[must_use]
    pub const fn level(&self, used: Cost) -> Level {
        Level(used.0.saturating_mul(self.weight))
    }

    /// The level that will have drained to `level` after `wait`.
    #[must_use]
    pub const fn waiting(&self, level: Level, wait: Nanos) -> Level {
        Level(level.0.saturating_add(wait.0.saturating_mul(self.drain)))
    }

    /// The level with `cost` poured in, or how long until it fits. `level` is drained to now.
    ///
    /// # Errors
    /// [`NotNow::Wait`] if the cost will fit after that time, and not before, provided that nothing else arrives.
    /// [`NotNow::Never`] if it is above the bucket's capacity.
    pub const fn charged(&self, level: Level, cost: Cost) -> Result<Level, NotNow> {
        let Some(work) = cost.0.checked_mul(self.weight) else { return Err(NotNow::Never) };
        if work > self.capacity {
            return Err(NotNow::Never);
        }
        let after = level.0.saturating_add(work);
        match after.checked_sub(self.capacity) {
            Some(excess) if excess > 0 => Err(NotNow::Wait(Nanos(excess.div_ceil(self.drain)))),
            _ => Ok(Level(after)),
        }
    }

    /// The level with `cost` poured in, whether it fits or not: it stops at the capacity. A level that is above the
    /// capacity already stays as it is.
    #[must_use]
    pub const fn filled(&self, level: Level, cost: Cost) -> Level {
        let after = level.0.saturating_add(cost.0.saturating_mul(self.weight));
        if after <= self.capacity {
            Level(after)
        } else if level.0 > self.capacity {
            level
        } else {
            Level(self.capacity)
        }
    }

    /// The level without `cost`, a part of what was poured in `elapsed` ago. `level` is that of now, and `then` is what it was
    /// when that was poured in, less what was taken back since.
    ///
    /// Without the cost the level would be lower by as much, or by the least that it has been since, if that is less. That
    /// least is not known, but has two lower bounds: what has not drained of `cost`, and of `then`.
    #[must_use]
    pub const fn taken_back(&self, level: Level, cost: Cost, then: Level, elapsed: Nanos) -> Level {
        let work = cost.0.saturating_mul(self.weight);
        let most = if then.0 > work { then.0 } else { work };
        let there = most.saturating_sub(elapsed.0.saturating_mul(self.drain));
        Level(level.0.saturating_sub(if there < work { there } else { work }))
    }

    /// The level now of a bucket that will take `cost` after `wait` and not before.
    #[must_use]
    pub const fn refusing(&self, cost: Cost, wait: Nanos) -> Level {
        let room = self.capacity.saturating_sub(cost.0.saturating_mul(self.weight));
        let level = room.saturating_add(wait.0.saturating_mul(self.drain));
        Level(if level > self.capacity { self.capacity } else { level })
    }

    /// How long the bucket takes to drain `cost`.
    #[must_use]
    pub const fn time_for(&self, cost: Cost) -> Nanos {
        Nanos(cost.0.saturating_mul(self.weight).div_ceil(self.drain))
    }

    /// What can be spent now, in thousandths of a unit, rounded down.
    #[must_use]
    pub const fn available(&self, level: Level) -> Cost {
        match self.capacity.saturating_sub(level.0).checked_div(self.weight) {
            Some(milli) => Cost(milli),
            None => Cost(0),
        }
    }

    /// The moment at which the bucket is full again; `level` is that of `now`.
    #[must_use]
    pub const fn full_at(&self, level: Level, now: UnixNanos) -> UnixNanos {
        now.after(Nanos(level.0.div_ceil(self.drain)))
    }

    /// Whether the bucket is full again after `wait`; `level` is that of now.
    #[must_use]
    pub const fn is_full_within(&self, level: Level, wait: Nanos) -> bool {
        level.0 <= wait.0.saturating_mul(self.drain)
    }

    /// How long until one more whole unit can be spent than now; zero if the bucket is full.
    #[must_use]
    pub const fn until_more(&self, level: Level) -> Nanos {
        let next = Cost::from_units(self.available(level).whole_units().saturating_add(1));
        let room = next.0.saturating_mul(self.weight);
        let wanted = if room > self.capacity { self.capacity } else { room };
        let missing = wanted.saturating_add(level.0).saturating_sub(self.capacity);
        Nanos(missing.div_ceil(self.drain))
    }
}

/// Why a bucket does not take a cost now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// The bucket will take it after this long.
    Wait(Nanos),
    /// The cost is above the bucket's capacity.
    Never,
}

/// Work that drains per nanosecond at `units` per `period`, and the work of a thousandth of a cost unit.
pub(super) const fn work(units: u64, period: Period) -> Option<(u64, u64)> {
    let period_by_milli = period.length().0 / MILLI_PER_UNIT;
    let divisor = gcd(units, period_by_milli);
    match (units.checked_div(divisor), period_by_milli.checked_div(divisor)) {
        (Some(drain), Some(weight)) => Some((drain, weight)),
        _ => None,
    }
}

/// The greatest common divisor.
pub(crate) const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while let Some(rest) = a.checked_rem(b) {
        a = b;
        b = rest;
    }
    a
}

#[cfg(test)]
mod tests;
