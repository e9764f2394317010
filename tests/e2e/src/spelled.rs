//! Whether a gateway charges what it lets through, however the path is spelled.

use std::collections::BTreeMap;

use tollgate_spellings::readings;
use tollgate_testkit::http::Response;

use crate::standing::{OURS, Standing};

/// The outcome of many spellings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were sent.
    pub sent: usize,
    /// How many requests got each status; the upstream's own is 200.
    pub statuses: BTreeMap<u16, usize>,
    /// How many had their path changed on the way.
    pub changed: usize,
}

/// Sends requests for `targets`, one after the other, until the consumer's bucket is nearly empty. Checks that each one that
/// reached the upstream was charged at least the highest `price` of all that servers make of the path that arrived.
///
/// # Panics
/// If one was charged less.
pub fn are_paid_for(
    mut send: impl FnMut(&str) -> Response,
    targets: impl Iterator<Item = String>,
    price: impl Fn(&[u8]) -> u64,
) -> Tally {
    const ENOUGH: u64 = 100;
    let first = Standing::of(&send("/identify"));
    let mut month_left = first.month_left.expect("a monthly quota");
    let mut tally = Tally::default();
    for target in targets {
        let response = send(&target);
        tally.sent += 1;
        *tally.statuses.entry(response.status).or_default() += 1;
        let is_free = OURS.iter().all(|name| response.header(name).is_none());
        let standing = (!is_free).then(|| Standing::of(&response));
        let left = standing.as_ref().map_or(month_left, |standing| standing.month_left.expect("a month"));
        let charged = month_left - left;
        month_left = left;
        if response.status == 200 {
            let arrived = response.json()["path"].as_str().expect("a path").to_owned();
            tally.changed += usize::from(arrived != target);
            for path in readings(arrived.as_bytes()) {
                let (read, dearest) = (String::from_utf8_lossy(&path), price(&path));
                assert!(
                    charged >= dearest,
                    "{target}, which arrived as {arrived}, was charged {charged}; as {read} it costs {dearest}"
                );
            }
        }
        if standing.is_some_and(|standing| standing.remaining < ENOUGH) {
            break;
        }
    }
    tally
}

/// The sample policy's price of a path that is spelled plainly.
#[must_use]
pub fn sample_price(path: &[u8]) -> u64 {
    let segments: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty()).collect();
    match segments[..] {
        [b"health"] => 0,
        [b"compare"] => 2,
        _ => 1,
    }
}
