//! Who pays for a consumer: one customer for the whole month, nobody, or several, each on days of its own.

use serde::Deserialize;
use tollgate_core::limit::{Day, Month};

/// A time in which one customer pays for a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Period {
    /// Who pays.
    pub customer: String,
    /// The first day; without one it has always been so.
    #[serde(default)]
    pub starts: Option<Day>,
    /// The first day on which it is no longer so; without one it goes on.
    #[serde(default)]
    pub ends: Option<Day>,
}

impl Period {
    /// Whether `day` is one of its days.
    #[must_use]
    pub fn has(&self, day: Day) -> bool {
        self.starts.is_none_or(|starts| starts <= day) && self.ends.is_none_or(|ends| day < ends)
    }
}

/// Who pays for a consumer in one month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer<'a> {
    /// Nobody on any day.
    Nobody,
    /// One customer on every day.
    One(&'a str),
    /// It changes inside of the month, so usage by day is needed.
    Changes,
}

/// Two periods of one consumer that share a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(pub Day);

/// Who pays in `month`, by the periods of one consumer in any order.
///
/// # Errors
/// Two periods share a day of the month.
pub fn payer(periods: &[Period], month: Month) -> Result<Payer<'_>, Overlap> {
    let (first, after) = (Day::first_of(month), Day::after(month));
    let clipped = periods.iter().map(|period| {
        let starts = period.starts.map_or(first, |day| day.max(first));
        let ends = period.ends.map_or(after, |day| day.min(after));
        (starts, ends, period.customer.as_str())
    });
    let mut within: Vec<_> = clipped.filter(|(starts, ends, _)| starts < ends).collect();
    within.sort_unstable();
    let Some((_, _, customer)) = within.first().copied() else { return Ok(Payer::Nobody) };
    let (mut until, mut is_one) = (first, true);
    for (starts, ends, pays) in within {
        if starts < until {
            return Err(Overlap(starts));
        }
        is_one &= starts == until && pays == customer;
        until = ends;
    }
    Ok(if is_one && until == after { Payer::One(customer) } else { Payer::Changes })
}

/// Who pays on `day`.
#[must_use]
pub fn on(periods: &[Period], day: Day) -> Option<&str> {
    periods.iter().find(|period| period.has(day)).map(|period| period.customer.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(customer: &str, starts: &str, ends: &str) -> Period {
        Period { customer: customer.into(), starts: Day::parse(starts), ends: Day::parse(ends) }
    }

    fn november(periods: &[Period]) -> Result<Payer<'_>, Overlap> {
        payer(periods, Month::parse("2026-11").unwrap())
    }

    #[test]
    fn one_customer_pays_for_the_whole_month() {
        assert_eq!(november(&[period("a", "", "")]), Ok(Payer::One("a")));
        assert_eq!(november(&[period("a", "2026-11-01", "2026-12-01")]), Ok(Payer::One("a")));
        let later = [period("b", "2026-12-01", ""), period("a", "", "2026-12-01")];
        assert_eq!(november(&later), Ok(Payer::One("a")));
        let twice = [period("a", "2026-11-10", ""), period("a", "", "2026-11-10")];
        assert_eq!(november(&twice), Ok(Payer::One("a")));
    }

    #[test]
    fn nobody_pays_outside_of_every_period() {
        assert_eq!(november(&[]), Ok(Payer::Nobody));
        assert_eq!(november(&[period("a", "", "2026-11-01")]), Ok(Payer::Nobody));
        assert_eq!(november(&[period("a", "2026-12-01", "")]), Ok(Payer::Nobody));
        assert_eq!(november(&[period("a", "2026-11-05", "2026-11-05")]), Ok(Payer::Nobody));
    }

    #[test]
    fn a_change_or_a_gap_inside_the_month_needs_days() {
        let two = [period("a", "", "2026-11-10"), period("b", "2026-11-10", "")];
        assert_eq!(november(&two), Ok(Payer::Changes));
        assert_eq!(on(&two, Day::parse("2026-11-09").unwrap()), Some("a"));
        assert_eq!(on(&two, Day::parse("2026-11-10").unwrap()), Some("b"));
        let late = [period("a", "2026-11-02", "")];
        assert_eq!(november(&late), Ok(Payer::Changes));
        assert_eq!(on(&late, Day::parse("2026-11-01").unwrap()), None);
        assert_eq!(november(&[period("a", "", "2026-11-30")]), Ok(Payer::Changes));
        let gap = [period("a", "", "2026-11-10"), period("a", "2026-11-11", "")];
        assert_eq!(november(&gap), Ok(Payer::Changes));
    }

    #[test]
    fn two_customers_on_one_day_are_refused() {
        let both = [period("a", "", "2026-11-10"), period("b", "2026-11-09", "")];
        assert_eq!(november(&both), Err(Overlap(Day::parse("2026-11-09").unwrap())));
        // In another month they may.
        let before =
            [period("a", "", "2026-10-10"), period("c", "", "2026-10-09"), period("b", "2026-10-20", "")];
        assert_eq!(november(&before), Ok(Payer::One("b")));
    }
}
