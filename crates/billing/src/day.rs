//! Days in UTC.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use tollgate_core::limit::Month;
use tollgate_core::units::{NANOS_PER_SECOND, UnixNanos};

const NANOS_PER_DAY: u64 = 86_400 * NANOS_PER_SECOND;

/// A day of the calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    /// Its month.
    pub month: Month,
    /// From 1 to 31.
    pub number: u8,
}

impl Day {
    /// The first day of `month`.
    #[must_use]
    pub const fn first_of(month: Month) -> Self {
        Self { month, number: 1 }
    }

    /// The first day after `month`.
    #[must_use]
    pub const fn after(month: Month) -> Self {
        Self::first_of(Month(month.0.saturating_add(1)))
    }

    /// The day that `moment` lies in.
    #[must_use]
    pub fn of(moment: UnixNanos) -> Self {
        let month = Month::of(moment);
        let days = moment.since(month.start()).0 / NANOS_PER_DAY;
        Self { month, number: u8::try_from(days.saturating_add(1)).unwrap_or(31) }
    }

    /// Reads a day as it is written, `2026-11-05`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (month, number) = text.rsplit_once('-')?;
        let month = Month::parse(month)?;
        let is_number = number.len() == 2 && number.bytes().all(|digit| digit.is_ascii_digit());
        let number: u8 = is_number.then(|| number.parse().ok())??;
        let days = month.length().0 / NANOS_PER_DAY;
        (1..=days).contains(&number.into()).then_some(Self { month, number })
    }
}

impl fmt::Display for Day {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{:02}", self.month, self.number)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("a day is not one; it has to be written like 2026-11-05"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_as_it_is_written() {
        for text in ["2026-11-01", "2026-11-30", "2024-02-29", "1970-01-01"] {
            assert_eq!(Day::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "2026-11",
            "2026-11-00",
            "2026-11-31",
            "2026-02-29",
            "2026-11-1",
            "2026-11-+1",
            "2026-13-01",
            "2026-11-01T00:00:00Z",
        ] {
            assert_eq!(Day::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_moment_lies_in_its_day() {
        let day = Day::parse("2026-11-05").unwrap();
        let begins = UnixNanos(day.month.start().0 + 4 * NANOS_PER_DAY);
        assert_eq!(Day::of(begins), day);
        assert_eq!(Day::of(UnixNanos(begins.0 + NANOS_PER_DAY - 1)), day);
        assert_eq!(Day::of(UnixNanos(begins.0 - 1)).to_string(), "2026-11-04");
        assert_eq!(Day::after(Month::parse("2026-12").unwrap()).to_string(), "2027-01-01");
    }
}
