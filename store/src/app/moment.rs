//! Months and moments as the API writes them.

use jiff::Timestamp;
use tollgate::limit::Month;

use super::problem::AppError;

/// The months since January 1970 of `2026-11`.
///
/// # Errors
/// What to write.
pub fn month(text: &str) -> Result<u16, AppError> {
    let parsed = || {
        let (year, month) = text.split_once('-')?;
        let digits =
            |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return None;
        }
        let (year, month): (u16, u16) = (year.parse().ok()?, month.parse().ok()?);
        // The clock's range ends in 2554.
        let is_one = (1_970..=2_553).contains(&year) && (1..=12).contains(&month);
        is_one.then(|| year.checked_sub(1_970)?.checked_mul(12)?.checked_add(month.checked_sub(1)?)).flatten()
    };
    parsed().ok_or_else(|| {
        AppError::Malformed("month is not one; write the year and the month: 2026-11".to_owned())
    })
}

/// The end of `month`, RFC 3339.
#[must_use]
pub fn end_of(month: u16) -> String {
    format!("{}-01T00:00:00Z", Month(month.saturating_add(1)))
}

/// The microseconds since the Unix epoch of an RFC 3339 text.
///
/// # Errors
/// What to write.
pub fn micros(text: &str) -> Result<u64, AppError> {
    let moment =
        text.parse::<Timestamp>().ok().and_then(|moment| u64::try_from(moment.as_microsecond()).ok());
    moment.ok_or_else(|| {
        AppError::Unprocessable(
            "expires_at is not a time; write it as RFC 3339: 2026-12-24T18:00:00Z".to_owned(),
        )
    })
}

/// `micros` since the Unix epoch as RFC 3339.
#[must_use]
pub fn rfc3339(micros: u64) -> String {
    let moment = i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    moment.unwrap_or(Timestamp::MAX).to_string()
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
        assert_eq!(micros("1970-01-01T00:00:00.000001Z").unwrap(), 1);
        for bad in ["", "tomorrow", "2026-11-24", "1969-12-31T23:59:59Z", "2026-11-24T00:00:00"] {
            assert!(micros(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in any::<String>(), number in any::<u64>()) {
            let _ = (month(&text), micros(&text), rfc3339(number));
        }
    }
}
