//! What a response's headers say about the caller.

use std::time::{Duration, UNIX_EPOCH};

use tollgate_testkit::http::Response;

/// Every header in which Tollgate tells a client about its limits.
pub const OURS: [&str; 7] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-quota-tier",
    "x-quota-monthly-remaining",
    "ratelimit-policy",
    "ratelimit",
];

/// The headers of a limited caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `X-Quota-Tier`.
    pub tier: String,
    /// `X-RateLimit-Limit`.
    pub limit: u64,
    /// `X-RateLimit-Remaining`.
    pub remaining: u64,
    /// Seconds from the response's `Date` to `X-RateLimit-Reset`, when the bucket is full.
    pub full_in: u64,
    /// `X-Quota-Monthly-Remaining`.
    pub month_left: Option<u64>,
}

impl Standing {
    /// Reads the headers.
    ///
    /// # Panics
    /// If one is missing, occurs twice, or is not a number.
    #[must_use]
    pub fn of(response: &Response) -> Self {
        let number =
            |name| response.number(name).unwrap_or_else(|| panic!("no {name} in {:#?}", response.headers));
        Self {
            tier: tier(response)
                .unwrap_or_else(|| panic!("no x-quota-tier in {:#?}", response.headers))
                .into(),
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            full_in: number("x-ratelimit-reset").saturating_sub(date(response).as_secs()),
            month_left: response.number("x-quota-monthly-remaining"),
        }
    }
}

/// `X-Quota-Tier`, if there is one.
#[must_use]
pub fn tier(response: &Response) -> Option<&str> {
    response.header("x-quota-tier")
}

/// How long until the caller's bucket is full again; `None` if nothing limits the caller.
#[must_use]
pub fn until_full(response: &Response) -> Option<Duration> {
    response.header("x-ratelimit-reset")?;
    // The gateways' clocks for `Date` lag by up to a second.
    Some(Duration::from_secs(Standing::of(response).full_in + 1))
}

/// The gateway's time, from the `Date` header.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn date(response: &Response) -> Duration {
    let date = response.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
    date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()).expect("a Date header")
}

/// How many seconds into its month (UTC) a response was made, by its `Date`.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn seconds_of_month(response: &Response) -> u64 {
    let (_, month, year) = day_month_year(response);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month.as_str() {
        "Feb" => 28 + u64::from(leap),
        "Apr" | "Jun" | "Sep" | "Nov" => 30,
        _ => 31,
    };
    days * DAY
}

/// Seconds from a response's `Date` to the end of its month (UTC).
///
/// # Panics
/// If there is none.
#[must_use]
pub fn until_month_ends(response: &Response) -> u64 {
    let (day, ..) = day_month_year(response);
    seconds_of_month(response) - (day - 1) * DAY - date(response).as_secs() % DAY
}

const DAY: u64 = 24 * 60 * 60;

/// Day, month and year in the `Date` header: `Tue, 24 Nov 2026 02:13:37 GMT`.
fn day_month_year(response: &Response) -> (u64, String, u64) {
    let date = response.header("date").expect("a Date header");
    let words: Vec<&str> = date.split(' ').collect();
    let [_, day, month, year, ..] = words[..] else { panic!("Date: {date}") };
    (day.parse().expect("a day"), month.into(), year.parse().expect("a year"))
}
