//! When a limit refuses, and when it admits again.

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_e2e::caller::as_consumer;
use tollgate_e2e::gateway::Gateway;
use tollgate_e2e::standing::{OURS, Standing};
use tollgate_testkit::http::{Request, Response, at_once};
use tollgate_testkit::wait;

use crate::{Behaviour, behaviours};

pub const BEHAVIOURS: &[Behaviour] = behaviours![
    a_full_bucket_lets_its_burst_through_and_no_more,
    a_dear_request_empties_the_bucket_sooner,
    a_refusal_says_why_and_until_when,
    a_refused_grpc_request_is_told_by_its_own_status,
    a_request_is_allowed_when_its_retry_after_is_over,
    an_emptied_bucket_fills_at_its_rate,
    of_200_requests_at_once_exactly_the_bucket_passes,
];

/// The free tier's bucket: 1.5 × 100 units.
const BURST: u64 = 150;

/// The free tier's rate in units per second.
const RATE: f64 = 100.0 / 60.0;

/// The whole units that are refilled in a time. An emptied bucket may already hold a part of another one.
fn refill(time: Duration) -> u64 {
    (time.as_secs_f64() * RATE).floor() as u64
}

fn a_full_bucket_lets_its_burst_through_and_no_more(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-01");
    let start = Instant::now();
    for passed in 1.. {
        let response = caller.get("/identify");
        let most = BURST + refill(start.elapsed());
        if response.status == 429 {
            assert!(passed > BURST && passed <= most + 1, "number {passed} is the first refused of {most}");
            return;
        }
        assert!(passed <= most, "{passed} passed of {most}");
        let standing = Standing::of(&response);
        let (least, most) = (BURST.saturating_sub(passed).min(100), most.saturating_sub(passed).min(100));
        assert!((least..=most).contains(&standing.remaining), "{passed}: {standing:?}");
    }
}

fn a_dear_request_empties_the_bucket_sooner(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-02");
    let start = Instant::now();
    let passed = (0..).find(|_| caller.get("/compare").status == 429).unwrap_or_default();
    let most = BURST + refill(start.elapsed());
    assert!((BURST / 2..=most / 2).contains(&passed), "{passed} × 2 of {most}");
}

fn a_refusal_says_why_and_until_when(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-03");
    let mut last = None;
    let refused = loop {
        match caller.get("/compare") {
            response if response.status == 429 => break response,
            response => last = Standing::of(&response).month_left,
        }
    };
    let retry_after = refused.number("retry-after").expect("Retry-After");
    // Two units take 1.2 s.
    assert!((1..=2).contains(&retry_after), "{retry_after}");
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    let content = refused.header("content-type").and_then(|content| content.split(';').next());
    assert_eq!(content, Some("application/problem+json"));
    assert_eq!(
        refused.json(),
        json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Quota exceeded",
            "status": 429,
            "detail": format!("Tier free allows 100 requests per minute; retry in {retry_after} s."),
            "violated-policies": ["minute"],
            "tier": "free",
            "retry_after": retry_after,
        })
    );
    for name in OURS {
        assert!(refused.header(name).is_some(), "{name}");
    }
    let standing = Standing::of(&refused);
    assert!(standing.limit == 100 && standing.remaining <= 1, "{standing:?}");
    // 148 to 150 units take 0.6 s each; clocks are rounded, and the gateway's Date may lag.
    assert!((88..=93).contains(&standing.full_in), "{standing:?}");
    assert_eq!(standing.month_left, last, "a refused request costs nothing");
    let quota = refused.header("ratelimit").expect("RateLimit");
    assert!(quota.starts_with(&format!("\"minute\";r={};t=", standing.remaining)), "{quota}");
}

fn a_refused_grpc_request_is_told_by_its_own_status(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-14");
    let call = Request::new("POST", "/compare").header("Content-Type", "application/grpc");
    let call = call.header("TE", "trailers").header("Content-Length", "0");
    while caller.get("/compare").status != 429 {}
    let refused = caller.send(&call);
    assert_eq!((refused.status, refused.header("grpc-status")), (200, Some("8")), "{}", refused.text());
    let message = refused.header("grpc-message").expect("a message");
    assert!(message.starts_with("Tier free allows 100 requests per minute; retry in "), "{message}");
    assert_eq!(refused.header("content-type"), Some("application/grpc"));
    assert!(refused.body.is_empty(), "{}", refused.text());
    for name in OURS {
        assert!(refused.header(name).is_some(), "{name}");
    }
}

fn a_request_is_allowed_when_its_retry_after_is_over(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-04");
    let mut refused = |target: &str| loop {
        let response = caller.get(target);
        if response.status == 429 {
            break Duration::from_secs(response.number("retry-after").expect("Retry-After"));
        }
    };
    refused("/identify");
    for target in ["/compare", "/identify"] {
        let stated = refused(target);
        wait::pass(stated);
        assert_eq!(gateway_answer(gateway, target).status, 200, "{target} after {stated:?}");
    }
}

fn gateway_answer(gateway: &Gateway, target: &str) -> Response {
    gateway.client().send(&as_consumer("free-04", target)).expect("an answer")
}

fn an_emptied_bucket_fills_at_its_rate(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-05");
    while caller.get("/identify").status != 429 {}
    let start = Instant::now();
    wait::pass(Duration::from_secs(3));
    let least = refill(start.elapsed());
    let passed = (0..).find(|_| caller.get("/identify").status == 429).unwrap_or_default();
    let most = refill(start.elapsed()) + 1;
    assert!((least..=most).contains(&passed), "{passed}, of {least} to {most}");
}

fn of_200_requests_at_once_exactly_the_bucket_passes(gateway: &Gateway) {
    let consumer = "free-06";
    drop(gateway.consumer(consumer));
    let spans = at_once(200, |_, start| {
        let mut client = gateway.client();
        client.connect().expect("a connection");
        start.wait();
        let sent = Instant::now();
        let response = client.send(&as_consumer(consumer, "/identify")).expect("an answer");
        (response.status, sent, Instant::now())
    });
    let first = spans.iter().map(|(_, sent, _)| *sent).min().expect("200 of them");
    let last = spans.iter().map(|(.., answered)| *answered).max().expect("200 of them");
    let passed = spans.iter().filter(|(status, ..)| *status == 200).count() as u64;
    assert!(spans.iter().all(|(status, ..)| matches!(status, 200 | 429)));
    let most = BURST + refill(last - first);
    assert!((BURST..=most).contains(&passed), "{passed} of {BURST} to {most}");
}
