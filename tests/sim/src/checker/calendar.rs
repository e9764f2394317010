//! Calendar months, found by walking through them.

const DAY: u64 = 86_400 * 1_000_000_000;

/// The month of `at`, which is in nanoseconds since the Unix epoch. Months are numbered from January 1970.
pub fn month_of(at: u64) -> u16 {
    let (mut month, mut left) = (0_u16, at / DAY);
    loop {
        let days = days_in(month);
        if left < days {
            return month;
        }
        left -= days;
        month += 1;
    }
}

/// When a month begins, in nanoseconds since the Unix epoch.
pub fn start_of(month: u16) -> u64 {
    (0..month).map(days_in).sum::<u64>() * DAY
}

/// The day that is written `2026-11-24`, since 1970; 0 if it is none.
pub fn day_of(date: &str) -> u16 {
    let number = |range: std::ops::Range<usize>| date.get(range).and_then(|part| part.parse::<u64>().ok());
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else { return 0 };
    let of_month = start_of(((year - 1_970) * 12 + month - 1) as u16) / DAY;
    (of_month + day - 1) as u16
}

/// When a day begins, in nanoseconds since the Unix epoch.
pub fn start_of_day(day: u16) -> u64 {
    u64::from(day) * DAY
}

fn days_in(month: u16) -> u64 {
    let year = 1_970 + u64::from(month / 12);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month % 12 {
        1 if is_leap => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_as_long_as_they_are() {
        // 2026-11-24T00:00:00Z and the end of that month.
        let at = 1_795_478_400 * 1_000_000_000;
        assert_eq!(month_of(at), 56 * 12 + 10);
        assert_eq!(start_of(month_of(at) + 1), at + 7 * DAY);
        assert_eq!(start_of_day(day_of("2026-11-24")), at);
    }
}
