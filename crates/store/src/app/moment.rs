//! Months, days and moments as the API writes them.

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use tollgate_core::limit::{Day, Month};
use tollgate_core::units::UnixMicros;

use super::problem::AppError;
use crate::accounts::FIRST_DAY;

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// The longest moment that is read, in bytes. It has as many decimals as anybody needs.
pub const MAX_MOMENT: usize = 64;

/// A month as a regular expression, for the API's description.
pub const MONTH: &str = "^(19[7-9][0-9]|2[0-4][0-9]{2}|25[0-4][0-9]|255[0-3])-(0[1-9]|1[0-2])$";

/// Reads a month such as `2026-11`, as months since January 1970.
///
/// # Errors
/// The text is no month; the error says what to write.
pub fn month(text: &str) -> Result<u16, AppError> {
    Month::parse(text).map(|month| month.0).ok_or_else(|| {
        AppError::Malformed("month is not one; write the year and the month: 2026-11".to_owned())
    })
}

/// Reads a day of usage such as `2026-11-24`.
///
/// # Errors
/// The text is no day of 1981 to 2148; the error says what to write.
pub fn usage_day(text: &str) -> Result<Day, AppError> {
    let day = Day::parse(text).filter(|day| (FIRST_DAY..u16::MAX).contains(&day.0));
    day.ok_or_else(|| AppError::Malformed("that is no day; write one such as 2026-11-24".to_owned()))
}

/// The end of `month`, as RFC 3339.
#[must_use]
pub fn end_of(month: u16) -> String {
    format!("{}-01T00:00:00Z", Month(month.saturating_add(1)))
}

/// Reads a moment in RFC 3339, of the years 0000 to 9999. A moment before 1970 is read as 0.
///
/// # Errors
/// The text is no moment; the error says what to write.
pub fn micros(text: &str) -> Result<UnixMicros, AppError> {
    Some(text).filter(|text| text.len() <= MAX_MOMENT).and_then(parsed).ok_or_else(|| {
        AppError::Unprocessable(
            "expires_at is not a time; write it as RFC 3339: 2026-12-24T18:00:00Z".to_owned(),
        )
    })
}

/// Reads a day: `2026-11-01`, or its first moment in UTC as RFC 3339. `field` is what has it.
///
/// # Errors
/// The text is neither, or not of the years 1970 to 2148; the error says what to write.
pub fn day(field: &str, text: &str) -> Result<Day, AppError> {
    let begins = || {
        let (_, fraction) = text.split_once('.').unwrap_or_default();
        let is_whole = fraction.bytes().take_while(u8::is_ascii_digit).all(|digit| digit == b'0');
        Some(text)
            .filter(|text| text.len() <= MAX_MOMENT && is_whole)
            .and_then(signed)
            .and_then(|micros| u64::try_from(micros).ok())
            .map(|micros| UnixMicros(micros).nanos())
    };
    Day::parse(text).or_else(|| Day::beginning_at(begins()?)).ok_or_else(|| {
        AppError::Unprocessable(format!(
            "{field} is not a day; usage is kept by UTC days, so write one of the years 1970 to 2148, 2026-11-01, \
             or its first moment, 2026-11-01T00:00:00Z"
        ))
    })
}

fn parsed(text: &str) -> Option<UnixMicros> {
    Some(UnixMicros(u64::try_from(signed(text)?).unwrap_or(0)))
}

/// The microseconds since the Unix epoch.
fn signed(text: &str) -> Option<i64> {
    let (moment, offset) = match text.strip_suffix(['Z', 'z']) {
        Some(moment) => (moment, 0),
        None => {
            let (moment, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            (moment, minutes(offset)?)
        }
    };
    let (date, time) = moment.split_at_checked(10)?;
    let time = time.strip_prefix(['T', 't', ' '])?;
    let (time, fraction) = time.split_once('.').map_or((time, "0"), |(time, fraction)| (time, fraction));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if fraction.is_empty() || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    // A leap second is read as the first second of the next minute.
    let leap = i64::from(second == 60);
    let small = |number: i16| i8::try_from(number).ok();
    let time = (small(hour)?, small(minute)?, small(if second == 60 { 59 } else { second })?);
    let moment = DateTime::new(year, small(month)?, small(day)?, time.0, time.1, time.2, 0).ok()?;
    let seconds = moment.duration_since(EPOCH).as_secs().checked_add(leap)?.checked_sub(offset)?;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// The seconds of an offset such as `+01:30`.
fn minutes(offset: &str) -> Option<i64> {
    let (sign, rest) = offset.split_at_checked(1)?;
    let [hours, minutes] = numbers(rest, ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours).checked_mul(60)?.checked_add(minutes.into())?.checked_mul(60)?;
    match sign {
        "+" => Some(seconds),
        "-" => seconds.checked_neg(),
        _ => None,
    }
}

/// The numbers in `text`, which have the given counts of digits and are separated by `between`.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i16; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *number = part.bytes().all(|digit| digit.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

/// Writes `moment` as RFC 3339. Moments after the year 9999 are written as its end.
#[must_use]
pub fn rfc3339(moment: UnixMicros) -> String {
    let since = SignedDuration::from_micros(i64::try_from(moment.0).unwrap_or(i64::MAX));
    format!("{}Z", EPOCH.saturating_add(since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_month_is_read_as_it_is_written() {
        for number in 0..584 * 12 {
            assert_eq!(month(&Month(number).to_string()).unwrap(), number);
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
            assert!(month(bad).is_err(), "{bad}");
        }
        assert_eq!(end_of(month("2026-12").unwrap()), "2027-01-01T00:00:00Z");
    }

    #[test]
    fn a_moment_is_read_in_every_offset_and_written_in_utc() {
        assert_eq!(rfc3339(micros("2026-11-24T01:00:00+01:00").unwrap()), "2026-11-24T00:00:00Z");
        assert_eq!(micros("1970-01-01T00:00:00.000001Z").unwrap(), UnixMicros(1));
        for bad in [
            "",
            "tomorrow",
            "2026-11-24",
            "2026-11-24T00:00:00",
            "2026-11-24T00:00:00+1:00",
            "2026-02-29T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T00:00:61Z",
            "2026-11-24T00:00:00.Z",
            "2026-11-24T00:00Z",
            "2026-11-24T00:00:00+24:00",
            "2026-11-24T00:00:00+00:60",
            "+2026-11-24T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "2026-1-024T00:00:00Z",
            "2026-11-24T00:00:00Z[UTC]",
            "2026-11-24T00:00:00ä0:00",
        ] {
            assert!(micros(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_time_of_rfc_3339_is_one() {
        for (text, written) in [
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("2026-11-24t00:00:00.5z", "2026-11-24T00:00:00.5Z"),
            ("2026-11-24 00:00:00.1234567-00:00", "2026-11-24T00:00:00.123456Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("2024-02-29T12:00:00-11:30", "2024-02-29T23:30:00Z"),
            ("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(micros(text).unwrap()), written, "{text}");
        }
        assert!(micros("9999-12-31T23:59:59-23:59").unwrap() > micros("9999-12-31T23:59:59Z").unwrap());
        assert!(rfc3339(UnixMicros(u64::MAX)).starts_with("9999-12-31T23:59:59"));
    }

    #[test]
    fn a_day_is_a_date_or_its_first_moment_in_utc() {
        let day = |text: &str| day("starts_at", text);
        let first = day("2026-11-01").unwrap();
        for same in [
            "2026-11-01T00:00:00Z",
            "2026-11-01t00:00:00.000z",
            "2026-11-01T01:30:00+01:30",
            "2026-10-31T12:00:00.0-12:00",
        ] {
            assert_eq!(day(same).unwrap(), first, "{same}");
        }
        assert_eq!(day("1970-01-01T00:00:00Z").unwrap(), Day::FIRST);
        for bad in [
            "",
            "2026-11",
            "2026-11-01T00:00:00",
            "2026-11-01T00:00:01Z",
            "2026-11-01T00:00:00.000001Z",
            "2026-11-01T00:00:00.0000001Z",
            "2026-11-01T00:00:00+01:00",
            "2026-02-29",
            "1969-12-31",
            "1969-12-31T00:00:00Z",
            "1970-01-01T00:00:00+00:30",
            "1969-12-31T12:00:00Z",
            "2554-01-01",
            "2554-01-01T00:00:00Z",
            "9999-12-31",
            "today",
        ] {
            assert!(day(bad).unwrap_err().to_string().contains("write one"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in any::<String>(), number in any::<u64>()) {
            let _ = (month(&text), micros(&text), day("from", &text), rfc3339(UnixMicros(number)));
        }

        #[test]
        fn a_moment_is_read_as_it_is_written(number in 0..253_402_300_800_000_000_u64, zone in -1_439..1_440_i64) {
            prop_assert_eq!(micros(&rfc3339(UnixMicros(number))).unwrap(), UnixMicros(number));
            let sign = if zone < 0 { '-' } else { '+' };
            let local = rfc3339(UnixMicros(number.saturating_add_signed(zone * 60_000_000)));
            let text = format!("{}{sign}{:02}:{:02}", local.trim_end_matches('Z'), zone.abs() / 60, zone.abs() % 60);
            prop_assume!(!local.starts_with("9999-12-31T2") && number > 86_400_000_000);
            prop_assert_eq!(micros(&text).unwrap(), UnixMicros(number));
        }
    }
}
