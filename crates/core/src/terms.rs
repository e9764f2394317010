//! A tier's limits in the numbers that every backend computes with.
//!
//! Redis computes in Lua, whose numbers are exact only up to 2⁵³. So the store's clock has microseconds, and a policy with a
//! limit whose bucket does not fit [`EXACT`] is refused when it loads. A bucket counts work as a [`Limit`] does, but by the
//! microsecond: in each, `drain` work drains, and a thousandth of a cost unit weighs `weight` work.

use serde::{Deserialize, Serialize};

use crate::limit::{Limit, Period};
use crate::tier::{MAX_LIMITS, Tier};
use crate::units::{Cost, MILLI_PER_UNIT, Micros, Work};

/// The greatest number that the store computes with. A sum of two such numbers is exact in Lua.
pub const EXACT: u64 = 1 << 52;

/// A rate as it goes over the wire: `units` per period, and a bucket of `burst` hundredths of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// Cost units per period.
    pub units: u32,
    /// Length of the period in seconds: 1, 60, 3,600 or 86,400.
    pub seconds: u32,
    /// The bucket's capacity in hundredths of `units`, 100 to 100,000.
    pub burst: u32,
}

/// What a tier allows, as it goes over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offer {
    /// The tier's name.
    pub tier: String,
    /// The rates, at most [`MAX_LIMITS`]; none of them if the tier is unlimited.
    pub rates: Vec<Rate>,
    /// Cost units per calendar month (UTC); `None` if the month is unlimited.
    pub monthly: Option<u64>,
}

/// One bucket's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The work that drains in a microsecond, at least 1.
    pub drain: u64,
    /// The work of a thousandth of a cost unit, at least 1.
    pub weight: u64,
    /// The work that the bucket holds, at most [`EXACT`].
    pub capacity: Work,
}

/// What a tier allows, ready to compute with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// One bucket per rate, at most [`MAX_LIMITS`].
    pub buckets: Vec<Bucket>,
    /// The month's quota, at most [`EXACT`] thousandths of a unit.
    pub monthly: Option<Cost>,
}

/// Why an [`Offer`] cannot be computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferError {
    /// More than [`MAX_LIMITS`] rates.
    TooMany,
    /// No such period, no units, or a burst out of range.
    Rate,
    /// The work of a full bucket does not fit [`EXACT`].
    TooFine,
    /// The month's quota does not fit [`EXACT`].
    Monthly,
}

impl std::fmt::Display for OfferError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::TooMany => "a tier has at most three rates",
            Self::Rate => "a rate has 1 to 1000000000 units, a period of 1, 60, 3600 or 86400 seconds and a burst of 100 to 100000 hundredths",
            Self::TooFine => "a rate and its burst are too fine for the store to keep exactly",
            Self::Monthly => "a month holds at most 4500000000000 units",
        })
    }
}

impl std::error::Error for OfferError {}

/// The greatest [`tag`]. A record in a node's table has 24 bits for it.
pub const MAX_TAG: u32 = (1 << 24) - 1;

/// A number from 1 to [`MAX_TAG`] that stands for the limits and the month of `tier`, without its name. By it a record says under
/// which terms a lease or a refusal holds.
#[must_use]
pub fn tag(tier: &Tier) -> u32 {
    let mix = |sum: u64, word: u64| {
        let product = (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        product ^ (product >> 32)
    };
    let month = tier.monthly.map_or(u64::MAX, |quota| quota.0);
    let sum = tier.limits.iter().fold(mix(0, month), |sum, limit| {
        let period = limit.period().seconds() << 40;
        mix(mix(sum, limit.units() | period), limit.burst_hundredths())
    });
    ((sum >> 40) as u32).max(1)
}

impl Rate {
    /// The rate of `limit`; `None` if a number does not fit.
    #[must_use]
    pub fn of(limit: &Limit) -> Option<Self> {
        Some(Self {
            units: u32::try_from(limit.units()).ok()?,
            seconds: u32::try_from(limit.period().seconds()).ok()?,
            burst: u32::try_from(limit.burst_hundredths()).ok()?,
        })
    }

    /// The limit of this rate.
    ///
    /// # Errors
    /// [`OfferError::Rate`] or [`OfferError::TooFine`].
    pub fn limit(&self) -> Result<Limit, OfferError> {
        use crate::limit::LimitError;
        Limit::new(self.units.into(), self.period()?, self.burst.into()).map_err(|error| match error {
            LimitError::TooFine => OfferError::TooFine,
            LimitError::NoUnits | LimitError::Burst => OfferError::Rate,
        })
    }

    fn period(&self) -> Result<Period, OfferError> {
        let is_ours = |period: &Period| period.seconds() == u64::from(self.seconds);
        Period::ALL.into_iter().find(is_ours).ok_or(OfferError::Rate)
    }
}

impl Bucket {
    /// The bucket of `rate`.
    ///
    /// # Errors
    /// [`OfferError::Rate`] or [`OfferError::TooFine`].
    pub fn of(rate: &Rate) -> Result<Self, OfferError> {
        const MICROS: u64 = 1_000_000;
        let period = rate.period()?.seconds().saturating_mul(MICROS);
        if rate.units == 0 || !(100..=Limit::MAX_BURST).contains(&u64::from(rate.burst)) {
            return Err(OfferError::Rate);
        }
        let units = u64::from(rate.units);
        let divisor = crate::limit::gcd(units, period / 1_000);
        let drain = units.checked_div(divisor).ok_or(OfferError::Rate)?;
        let weight = (period / 1_000).checked_div(divisor).ok_or(OfferError::Rate)?;
        let capacity = (period / 100)
            .checked_mul(rate.burst.into())
            .and_then(|micros| micros.checked_mul(drain))
            .filter(|capacity| *capacity <= EXACT)
            .ok_or(OfferError::TooFine)?;
        Ok(Self { drain, weight, capacity: Work(capacity) })
    }

    /// The cost that the bucket holds, rounded down.
    #[must_use]
    pub const fn holds(&self) -> Cost {
        self.cost_of(self.capacity)
    }

    /// The work of `cost`, or the end of the range.
    #[must_use]
    pub const fn work_of(&self, cost: Cost) -> Work {
        Work(cost.0.saturating_mul(self.weight))
    }

    /// The cost whose work is `work`, rounded down.
    #[must_use]
    pub const fn cost_of(&self, work: Work) -> Cost {
        match work.0.checked_div(self.weight) {
            Some(milli) => Cost(milli),
            None => Cost(0),
        }
    }

    /// What drains in `time`, or the end of the range.
    #[must_use]
    pub const fn drained_in(&self, time: Micros) -> Work {
        Work(time.0.saturating_mul(self.drain))
    }

    /// How long `work` takes to drain, rounded up.
    #[must_use]
    pub fn time_for(&self, work: Work) -> Micros {
        Micros(work.0.div_ceil(self.drain.max(1)))
    }

    /// The highest cost whose work is at most [`EXACT`].
    #[must_use]
    pub fn most_exact(&self) -> Cost {
        Cost(EXACT.checked_div(self.weight).unwrap_or(0))
    }
}

impl Offer {
    /// What `tier` allows; `None` if a number does not fit.
    #[must_use]
    pub fn of(tier: &Tier) -> Option<Self> {
        Some(Self {
            tier: tier.name.clone(),
            rates: tier.limits.iter().map(Rate::of).collect::<Option<_>>()?,
            monthly: tier.monthly.map(Cost::whole_units),
        })
    }

    /// The numbers to compute with.
    ///
    /// # Errors
    /// [`OfferError`]; never for the tiers of a loaded policy.
    pub fn terms(&self) -> Result<Terms, OfferError> {
        if self.rates.len() > MAX_LIMITS {
            return Err(OfferError::TooMany);
        }
        let monthly = match self.monthly {
            Some(units) => {
                let milli = units.checked_mul(MILLI_PER_UNIT).filter(|milli| *milli <= EXACT);
                Some(Cost(milli.ok_or(OfferError::Monthly)?))
            }
            None => None,
        };
        Ok(Terms { buckets: self.rates.iter().map(Bucket::of).collect::<Result<_, _>>()?, monthly })
    }
}

impl Terms {
    /// Whether there are neither buckets nor a month.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        self.buckets.is_empty() && self.monthly.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(units: u32, seconds: u32, burst: u32) -> Rate {
        Rate { units, seconds, burst }
    }

    #[test]
    fn a_bucket_holds_what_the_policy_says() {
        let bucket = Bucket::of(&rate(100, 60, 150)).unwrap();
        assert_eq!(bucket.holds(), Cost(150_000));
        // It is full again after a minute and a half.
        assert_eq!(bucket.time_for(bucket.capacity), Micros(90_000_000));
    }

    #[test]
    fn other_terms_have_another_tag_and_another_name_has_not() {
        let tier = |name: &str, limits: &[(u64, Period, u64)], monthly: Option<u64>| Tier {
            name: name.to_owned(),
            limits: limits
                .iter()
                .map(|(units, period, burst)| Limit::new(*units, *period, *burst).unwrap())
                .collect(),
            monthly: monthly.map(Cost::from_units),
            on_failure: None,
        };
        let (minute, second) = ((100, Period::Minute, 100), (20, Period::Second, 100));
        let all = [
            tier("a", &[], None),
            tier("a", &[], Some(5)),
            tier("a", &[minute], None),
            tier("a", &[minute], Some(5)),
            tier("a", &[minute], Some(6)),
            tier("a", &[(101, Period::Minute, 100)], None),
            tier("a", &[(100, Period::Hour, 100)], None),
            tier("a", &[(100, Period::Minute, 150)], None),
            tier("a", &[second, minute], None),
            tier("a", &[minute, second], None),
            tier("a", &[minute, minute], None),
        ];
        let mut tags: Vec<u32> = all.iter().map(tag).collect();
        assert!(tags.iter().all(|tag| (1..=MAX_TAG).contains(tag)));
        assert_eq!(tags[2], tag(&tier("b", &[minute], None)));
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), all.len());
    }

    #[test]
    fn what_cannot_be_kept_exactly_is_refused() {
        assert_eq!(Bucket::of(&rate(999_999_937, 86_400, 100)), Err(OfferError::TooFine));
        assert_eq!(Bucket::of(&rate(0, 60, 100)), Err(OfferError::Rate));
        assert_eq!(Bucket::of(&rate(1, 61, 100)), Err(OfferError::Rate));
        assert_eq!(Bucket::of(&rate(1, 60, 99)), Err(OfferError::Rate));
        let many = Offer { rates: vec![rate(1, 60, 100); 4], ..Offer::default() };
        assert_eq!(many.terms(), Err(OfferError::TooMany));
        let month = Offer { monthly: Some(u64::MAX), ..Offer::default() };
        assert_eq!(month.terms(), Err(OfferError::Monthly));
    }

    proptest! {
        #[test]
        fn a_bucket_agrees_with_its_limit(
            units in 1..=1_000_000_u32, seconds in prop::sample::select(vec![1_u32, 60, 3_600, 86_400]), burst in 100..=1_000_u32,
        ) {
            let rate = rate(units, seconds, burst);
            if let Ok(bucket) = Bucket::of(&rate) {
                let limit = rate.limit().unwrap();
                prop_assert_eq!(bucket.holds(), limit.capacity());
                prop_assert_eq!(Rate::of(&limit), Some(rate));
            }
        }
    }
}
