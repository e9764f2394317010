//! Calendar months in UTC, the periods of quotas.
//!
//! Days are turned into dates by the era arithmetic of the proleptic Gregorian calendar: an era of 400 years has
//! 146,097 days, and a year that starts in March has its leap day last.

use std::cell::Cell;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{Nanos, UnixNanos};

const SECONDS_PER_DAY: u64 = 86_400;
const DAYS_PER_ERA: u64 = 146_097;
/// Days from 0000-03-01, where the arithmetic starts, to 1970-01-01.
const DAYS_BEFORE_EPOCH: u64 = 719_468;

/// A calendar month: months since January 1970, UTC. The clock's range ends in 2554, month 7,014.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub u16);

impl Month {
    /// Reads a month as [`Display`](std::fmt::Display) writes it, `2026-11`. The clock's range, and so the last month, ends in 2553.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let digits =
            |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return None;
        }
        let (year, month): (u16, u16) = (year.parse().ok()?, month.parse().ok()?);
        let is_one = (1_970..=2_553).contains(&year) && (1..=12).contains(&month);
        is_one
            .then(|| year.checked_sub(1_970)?.checked_mul(12)?.checked_add(month.checked_sub(1)?))
            .flatten()
            .map(Self)
    }

    /// The month that `moment` lies in.
    #[must_use]
    #[inline(never)]
    pub fn of(moment: UnixNanos) -> Self {
        let day = (moment.seconds() / SECONDS_PER_DAY).wrapping_add(DAYS_BEFORE_EPOCH);
        let era = day / DAYS_PER_ERA;
        let day_of_era = day % DAYS_PER_ERA;
        // Leap days of the era before this day: one every 4 years, except every 100 years, and one at the era's end.
        let leaps = (day_of_era / 1_460).wrapping_sub(day_of_era / 36_524).wrapping_add(day_of_era / 146_096);
        let year_of_era = day_of_era.wrapping_sub(leaps) / 365;
        let day_of_year = day_of_era.wrapping_sub(days_of_years(year_of_era));
        // 0 is March, 11 is February: five months have 153 days.
        let month = day_of_year.wrapping_mul(5).wrapping_add(2) / 153;
        let months_since_year_0 = era
            .wrapping_mul(400)
            .wrapping_add(year_of_era)
            .wrapping_mul(12)
            .wrapping_add(month)
            .wrapping_add(2);
        Self(u16::try_from(months_since_year_0.saturating_sub(1_970 * 12)).unwrap_or(u16::MAX))
    }

    /// The month's first moment.
    #[must_use]
    pub fn start(self) -> UnixNanos {
        let months = u64::from(self.0).wrapping_add(1_970 * 12 - 2);
        let year = months / 12;
        let month = months % 12;
        let day_of_year = month.wrapping_mul(153).wrapping_add(2) / 5;
        let days = (year / 400)
            .wrapping_mul(DAYS_PER_ERA)
            .wrapping_add(days_of_years(year % 400))
            .wrapping_add(day_of_year)
            .wrapping_sub(DAYS_BEFORE_EPOCH);
        UnixNanos::from_seconds(days.wrapping_mul(SECONDS_PER_DAY))
    }

    /// The first moment of the next month, when a quota is whole again.
    #[must_use]
    pub fn end(self) -> UnixNanos {
        Self(self.0.saturating_add(1)).start()
    }

    /// The month's length, 28 to 31 days.
    #[must_use]
    pub fn length(self) -> Nanos {
        self.end().since(self.start())
    }

    /// The calendar year, and the month from 1 to 12.
    #[must_use]
    pub const fn year_and_month(self) -> (u16, u8) {
        ((self.0 / 12).saturating_add(1_970), ((self.0 % 12) as u8).saturating_add(1))
    }
}

/// A calendar day: days since 1970-01-01, UTC. The clock's range ends in 2554, but these in 2149.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u16);

impl Day {
    /// 1970-01-01. No usage is older.
    pub const FIRST: Self = Self(0);

    /// Reads a day as [`Display`](std::fmt::Display) writes it, `2026-11-24`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (month, number) = text.rsplit_once('-')?;
        let month = Month::parse(month)?;
        let is_number = number.len() == 2 && number.bytes().all(|digit| digit.is_ascii_digit());
        let number: u16 = is_number.then(|| number.parse().ok())??;
        let first = u16::try_from(month.start().seconds() / SECONDS_PER_DAY).ok()?;
        let day = Self(first.checked_add(number.checked_sub(1)?)?);
        (day.month() == month).then_some(day)
    }

    /// The first day of `month`.
    #[must_use]
    pub fn first_of(month: Month) -> Self {
        Self::of(month.start())
    }

    /// The first day after `month`.
    #[must_use]
    pub fn after(month: Month) -> Self {
        Self::of(month.end())
    }

    /// The day that begins at `moment`, if one does.
    #[must_use]
    pub fn beginning_at(moment: UnixNanos) -> Option<Self> {
        let day = Self::of(moment);
        (day.start() == moment).then_some(day)
    }

    /// The day that `moment` lies in.
    #[must_use]
    pub fn of(moment: UnixNanos) -> Self {
        Self(u16::try_from(moment.seconds() / SECONDS_PER_DAY).unwrap_or(u16::MAX))
    }

    /// The day's first moment.
    #[must_use]
    pub fn start(self) -> UnixNanos {
        UnixNanos::from_seconds(u64::from(self.0).wrapping_mul(SECONDS_PER_DAY))
    }

    /// The month that it lies in.
    #[must_use]
    #[inline(never)]
    pub fn month(self) -> Month {
        thread_local! {
            /// The last answer. A record is read and written several times for each request, all on one day.
            static LAST: Cell<(Day, Month)> = const { Cell::new((Day(0), Month(0))) };
        }
        let (day, month) = LAST.get();
        if day == self {
            return month;
        }
        let month = Month::of(self.start());
        LAST.set((self, month));
        month
    }

    /// The next day.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The number of days in the first `years` years of an era.
const fn days_of_years(years: u64) -> u64 {
    years.wrapping_mul(365).wrapping_add(years / 4).wrapping_sub(years / 100)
}

impl std::fmt::Display for Month {
    /// Writes `2026-11`, as in the store's API.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month) = self.year_and_month();
        write!(out, "{year:04}-{month:02}")
    }
}

impl std::fmt::Display for Day {
    /// Writes `2026-11-24`, as in the store's API.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let month = self.month();
        let number = self.0.saturating_sub(Self::first_of(month).0).saturating_add(1);
        write!(out, "{month}-{number:02}")
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
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("a day is not one; it has to be written like 2026-11-24"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{ToSpan, civil::date, tz::TimeZone};

    fn nanos(year: i16, month: i8) -> UnixNanos {
        let start = date(year, month, 1).to_zoned_datetime(TimeZone::UTC).unwrap();
        UnixNanos::from_seconds(start.timestamp().as_second().try_into().unwrap())
    }

    #[test]
    fn every_month_until_2550_is_the_calendar_librarys() {
        let mut first = date(1970, 1, 1);
        let mut index = 0;
        while first.year() < 2550 {
            let start = nanos(first.year(), first.month());
            assert_eq!(Month::of(start), Month(index), "{first}");
            assert_eq!(Month(index).start(), start, "{first}");
            assert_eq!(
                Month(index).length().0 / 1_000_000_000 / 86_400,
                u64::from(first.days_in_month() as u8)
            );
            assert_eq!(Month(index).year_and_month(), (first.year() as u16, first.month() as u8));
            if index > 0 {
                assert_eq!(
                    Month::of(UnixNanos(start.0 - 1)),
                    Month(index - 1),
                    "a nanosecond before {first}"
                );
            }
            first += 1.month();
            index += 1;
        }
        assert_eq!(index, 580 * 12);
    }

    #[test]
    fn a_month_prints_as_the_api_writes_it() {
        assert_eq!(Month::of(nanos(2026, 11)).to_string(), "2026-11");
        assert_eq!(Month::of(UnixNanos(0)).to_string(), "1970-01");
    }

    #[test]
    fn a_month_is_read_as_it_is_printed() {
        for number in 0..584 * 12 {
            assert_eq!(Month::parse(&Month(number).to_string()), Some(Month(number)));
        }
        for bad in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "2026-1",
            "26-11",
            "+026-11",
            "2026-11-01",
            "9999-01",
            "1969-12",
        ] {
            assert_eq!(Month::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_day_is_read_as_it_is_printed() {
        for number in 0..=u16::MAX {
            let day = Day(number);
            assert_eq!(Day::parse(&day.to_string()), Some(day));
            assert_eq!(
                (Day::beginning_at(day.start()), Day::of(UnixNanos(day.start().0 + 1))),
                (Some(day), day)
            );
            assert_eq!(Day::beginning_at(UnixNanos(day.start().0 + 1)), None);
        }
        assert_eq!(
            (Day(20_781).to_string(), Day(u16::MAX).to_string()),
            ("2026-11-24".into(), "2149-06-06".into())
        );
        let december = Month::parse("2026-12").unwrap();
        assert_eq!(
            (Day::first_of(december).to_string(), Day::after(december).to_string()),
            ("2026-12-01".into(), "2027-01-01".into())
        );
        for bad in [
            "",
            "2026-11",
            "2026-11-1",
            "2026-11-00",
            "2026-11-31",
            "2026-11-+1",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "1969-12-31",
            "2149-06-07",
            "20261101",
            "2026/11/01",
            "+026-11-01",
            "2026-11-01T00:00:00Z",
            "２026-11-01",
        ] {
            assert_eq!(Day::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_ends_of_the_range_do_not_panic() {
        assert_eq!(Month::of(UnixNanos(u64::MAX)).to_string(), "2554-07");
        assert!(Month(u16::MAX).start() >= Month(7_014).start());
    }
}
