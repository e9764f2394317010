//! Who pays for a consumer, from which day to which.
//!
//! Days are those of UTC, because usage is kept by them. A day has one customer or none, so that whoever bills can ask
//! [`customer_at`] for each day's usage.

use serde::{Deserialize, Serialize};
use tollgate_core::limit::Day;
use utoipa::ToSchema;

/// The longest name of a customer, in characters.
pub const MAX_CUSTOMER: usize = 255;

/// The most periods of a consumer.
pub const MAX_PERIODS: usize = 100;

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
