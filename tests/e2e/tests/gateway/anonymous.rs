//! Clients that nothing identifies.

use std::time::{Duration, Instant};

use tollgate_e2e::gateway::Gateway;
use tollgate_e2e::standing::{Standing, tier};
use tollgate_testkit::http::Request;
use tollgate_testkit::wait;

use crate::{Behaviour, behaviours};

pub const BEHAVIOURS: &[Behaviour] =
    behaviours![an_anonymous_client_is_limited_by_address_whatever_it_says_about_itself];

/// An anonymous client's bucket: the rate's 30, without any burst above it.
const BURST: u64 = 30;

fn an_anonymous_client_is_limited_by_address_whatever_it_says_about_itself(gateway: &Gateway) {
    let mut anonymous = gateway.anonymous();
    let first = anonymous.get("/identify");
    assert_eq!(first.status, 200);
    let standing = Standing::of(&first);
    assert_eq!((standing.tier.as_str(), standing.limit, standing.month_left), ("anonymous", 30, None));
    assert_eq!(standing.remaining, BURST - 1);
    assert_eq!(first.header("ratelimit-policy"), Some("\"minute\";q=30;w=60"));
    assert_eq!(first.json()["headers"]["x-quota-tier"][0], "anonymous");

    let start = Instant::now();
    for number in 2.. {
        let elsewhere = format!("203.0.113.{number}");
        let request = Request::get("/identify")
            .header("X-Forwarded-For", &elsewhere)
            .header("X-Real-IP", &elsewhere)
            .header("Forwarded", format!("for={elsewhere}"))
            .header("X-Envoy-External-Address", &elsewhere);
        let response = anonymous.send(&request);
        assert_eq!(tier(&response), Some("anonymous"));
        let most = BURST + 1 + start.elapsed().as_secs() / 2;
        if response.status == 429 {
            assert!(number > BURST, "number {number} is refused");
            let retry_after = response.number("retry-after").expect("Retry-After");
            assert!((1..=2).contains(&retry_after), "{retry_after}");
            wait::pass(Duration::from_secs(retry_after));
            assert_eq!(anonymous.get("/identify").status, 200);
            return;
        }
        assert!(number <= most, "{number} passed of {most}");
    }
}
