//! Who pays for a consumer, from which day to which.
//!
//! Days are those of UTC, because usage is kept by them. A day has one customer or none, so that whoever bills can ask
//! [`customer_at`] for each day's usage.

use jiff::SignedDuration;
use jiff::civil::{Date, date};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tollgate_core::units::UnixMicros;
use utoipa::ToSchema;

/// The longest name of a customer, in characters.
pub const MAX_CUSTOMER: usize = 255;

/// The most periods of a consumer.
pub const MAX_PERIODS: usize = 100;

const EPOCH: Date = date(1970, 1, 1);

const MICROS_PER_DAY: u64 = 86_400_000_000;

/// The last day, 2553-12-31. The range of a node's clock ends in the year after it.
const LAST: u32 = 213_301;

/// A day in UTC, of the years 1970 to 2553. It is written as `2026-11-01`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(u32);

impl Day {
    /// 1970-01-01. No usage is older.
    pub const FIRST: Self = Self(0);

    /// The day that `moment` lies in, or the last day of all.
    #[must_use]
    pub fn of(moment: UnixMicros) -> Self {
        Self(u32::try_from(moment.0 / MICROS_PER_DAY).unwrap_or(LAST).min(LAST))
    }

    /// The day that begins at `micros` since the Unix epoch; `None` if no day does.
    #[must_use]
    pub fn beginning_at(micros: i64) -> Option<Self> {
        let micros = u64::try_from(micros).ok()?;
        let day = u32::try_from(micros / MICROS_PER_DAY).ok()?;
        (micros.is_multiple_of(MICROS_PER_DAY) && day <= LAST).then_some(Self(day))
    }

    /// Reads a day such as `2026-11-01`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let is_written_so = text.len() == 10
            && text.bytes().enumerate().all(|(place, byte)| match place {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        let day: Date = Some(text).filter(|_| is_written_so)?.parse().ok()?;
        let days = u32::try_from(day.duration_since(EPOCH).as_hours() / 24).ok()?;
        (days <= LAST).then_some(Self(days))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = SignedDuration::from_hours(i64::from(self.0).saturating_mul(24));
        write!(out, "{}", EPOCH.saturating_add(since))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| D::Error::custom("that is not a day"))
    }
}

/// Some days on end, and who pays for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Period {
    /// The customer.
    pub customer: String,
    /// The first day, as `2026-11-01`, or null if the period has no beginning.
    #[schema(value_type = Option<String>)]
    pub starts: Option<Day>,
    /// The first day that is not in the period any more, or null if the period has no end.
    #[schema(value_type = Option<String>)]
    pub ends: Option<Day>,
}

impl Period {
    fn first(&self) -> Day {
        self.starts.unwrap_or(Day::FIRST)
    }

    fn has(&self, day: Day) -> bool {
        self.first() <= day && self.ends.is_none_or(|ends| day < ends)
    }
}

/// The customer that pays for `day`.
#[must_use]
pub fn customer_at(periods: &[Period], day: Day) -> Option<&str> {
    periods.iter().find(|period| period.has(day)).map(|period| period.customer.as_str())
}

/// The periods of one consumer, oldest first. No two of them overlap, and where two of one customer meet, they are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Periods(Vec<Period>);

impl Periods {
    /// Reads what [`Self::to_bytes`] has written; `None` if it is damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let periods: Vec<Period> = serde_json::from_slice(bytes).ok()?;
        let is_period = |period: &Period| period.ends.is_none_or(|ends| period.first() < ends);
        let is_after = |pair: &[Period]| match pair {
            [one, next] => one.ends.is_some_and(|ends| ends <= next.first()),
            _ => false,
        };
        (periods.iter().all(is_period) && periods.windows(2).all(is_after)).then_some(Self(periods))
    }

    /// The periods as a backend keeps them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Texts can always be written as JSON.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Period] {
        &self.0
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn into_vec(self) -> Vec<Period> {
        self.0
    }

    /// These periods after `customer`, or nobody, was made to pay from the day `starts` until before the day `ends`.
    /// What other customers have paid for is cut or split. An `ends` that is not after `starts` changes nothing.
    #[must_use]
    pub fn with(&self, customer: Option<&str>, starts: Day, ends: Option<Day>) -> Self {
        if ends.is_some_and(|ends| ends <= starts) {
            return self.clone();
        }
        let mut periods = Self::default();
        for old in self.0.iter().filter(|old| old.first() < starts) {
            let cut = old.ends.map_or(starts, |ends| ends.min(starts));
            periods.push(Period { ends: Some(cut), ..old.clone() });
        }
        if let Some(customer) = customer {
            let starts = Some(starts).filter(|starts| *starts > Day::FIRST);
            periods.push(Period { customer: customer.to_owned(), starts, ends });
        }
        if let Some(ends) = ends {
            for old in self.0.iter().filter(|old| old.ends.is_none_or(|old| old > ends)) {
                periods.push(Period { starts: old.starts.max(Some(ends)), ..old.clone() });
            }
        }
        periods
    }

    /// Adds the newest period.
    fn push(&mut self, newest: Period) {
        match self.0.last_mut() {
            Some(last) if last.customer == newest.customer && last.ends == newest.starts => {
                last.ends = newest.ends;
            }
            _ => self.0.push(newest),
        }
    }

    /// The periods that `other` does not have.
    #[must_use]
    pub fn missing_in<'a>(&'a self, other: &Self) -> Vec<&'a Period> {
        self.0.iter().filter(|period| !other.0.contains(period)).collect()
    }

    /// The customers that `other` does not have, once each.
    #[must_use]
    pub fn customers_missing_in(&self, other: &Self) -> Vec<String> {
        let has = |period: &Period| other.0.iter().any(|other| other.customer == period.customer);
        let mut missing: Vec<String> =
            self.0.iter().filter(|period| !has(period)).map(|period| period.customer.clone()).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }
}

#[cfg(test)]
mod tests;
