//! What a client or an upstream claims in the gateway's name.

use serde_json::{Value, json};
use tollgate_e2e::gateway::Gateway;
use tollgate_e2e::standing::{OURS, Standing, tier};
use tollgate_testkit::http::{Request, Response};

use crate::{Behaviour, behaviours};

pub const BEHAVIOURS: &[Behaviour] = behaviours![
    a_consumer_cannot_claim_to_be_another,
    an_anonymous_client_cannot_claim_to_be_a_consumer,
    a_flood_of_headers_hides_no_claim,
    any_number_of_headers_is_survived,
    a_clients_copies_of_our_headers_never_reach_the_upstream,
    the_upstream_learns_who_calls,
    an_upstreams_copies_of_our_headers_are_replaced,
    an_upstreams_copies_are_removed_where_we_say_nothing,
    odd_bytes_in_a_claim_do_no_harm,
];

/// What a client would claim that wants to be taken for a better customer.
const CLAIMS: [(&str, &str); 9] = [
    ("X-Consumer-Username", "umbrella-partner"),
    ("X-Consumer-Groups", "partner, enterprise"),
    ("x-consumer-id", "7"),
    ("X-Consumer-Custom-ID", "umbrella"),
    ("X-Credential-Identifier", "umbrella"),
    ("X-Anonymous-Consumer", "true"),
    ("X-Quota-Tier", "partner"),
    ("X-Quota-Consumer", "umbrella-partner"),
    ("X-RateLimit-Remaining", "1000000"),
];

fn claiming(mut request: Request) -> Request {
    for (name, value) in CLAIMS {
        request = request.header(name, value);
    }
    request
}

/// A request header's values as the upstream received them.
fn received(response: &Response, name: &str) -> Value {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["headers"][name].clone()
}

fn a_consumer_cannot_claim_to_be_another(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-07");
    let response = caller.send(&claiming(Request::get("/identify")));
    let standing = Standing::of(&response);
    assert_eq!((standing.tier.as_str(), standing.limit), ("free", 100));
    assert_eq!(received(&response, "x-consumer-username"), json!(["free-07"]));
    assert_eq!(received(&response, "x-consumer-groups"), json!(["free"]));
    assert_eq!(received(&response, "x-anonymous-consumer"), Value::Null);
    assert_eq!(received(&response, "x-quota-consumer"), json!(["free-07"]));
    // The client that made the claim is charged.
    let after = Standing::of(&caller.get("/identify"));
    assert_eq!(after.month_left, standing.month_left.map(|left| left - 1));
}

fn an_anonymous_client_cannot_claim_to_be_a_consumer(gateway: &Gateway) {
    let response = gateway.anonymous().send(&claiming(Request::get("/identify")));
    let standing = Standing::of(&response);
    assert_eq!((standing.tier.as_str(), standing.limit), ("anonymous", 30));
    assert_eq!(received(&response, "x-quota-tier"), json!(["anonymous"]));
    for (name, claimed) in CLAIMS {
        let name = name.to_ascii_lowercase();
        // Kong itself sets this header for an anonymous client.
        if name != "x-anonymous-consumer" {
            assert_ne!(received(&response, &name), json!([claimed]), "{name}");
        }
    }
}

fn a_flood_of_headers_hides_no_claim(gateway: &Gateway) {
    drop(gateway.consumer("free-08"));
    for flood in [60, 120, 500] {
        // The key stands first, because Kong looks for it among the first 100 headers.
        let mut request = Request::get("/identify").of("free-08");
        for junk in 0..flood {
            request = request.header(&format!("x-junk-{junk}"), "junk");
        }
        let response = gateway.client().send(&claiming(request)).expect("an answer");
        // Envoy refuses more than 100 headers.
        match response.status {
            200 => assert_eq!(tier(&response), Some("free"), "{flood}"),
            status => assert!(matches!(status, 400 | 431) && flood >= 100, "{flood}: {status}"),
        }
    }
}

/// Kong's Wasm host writes past a buffer from 97 headers on, and what it overwrites there differs from request to request.
fn any_number_of_headers_is_survived(gateway: &Gateway) {
    let mut client = gateway.client();
    let counts = (0..=1_000).step_by(25).chain(88..=104).cycle().take(5 * 58);
    for (turn, count) in counts.enumerate() {
        let value = "v".repeat([1, 2, 30][turn % 3]);
        let request = (0..count)
            .fold(Request::get("/health"), |request, junk| request.header(&format!("A{junk}"), &value));
        let status = client.send(&request).expect("an answer").status;
        // Envoy refuses more than 100 headers, and both gateways refuse so many bytes.
        assert!(status == 200 || (matches!(status, 400 | 431) && count >= 90), "{count}: {status}");
    }
    assert_eq!(client.get("/health").expect("an answer").status, 200);
}

fn a_clients_copies_of_our_headers_never_reach_the_upstream(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-09");
    for (target, cost) in [("/identify", "1"), ("/health", "0")] {
        let mut request =
            claiming(Request::get(target)).header("X-Quota-Anything", "1").header("X-Quota-Cost", "0.001");
        for name in OURS.into_iter().filter(|name| name.starts_with("x-")) {
            request = request.header(name, "7").header(&name.to_uppercase(), "8");
        }
        let response = caller.send(&request);
        assert_eq!(response.status, 200);
        let body = response.json();
        let headers = body["headers"].as_object().expect("headers");
        for (name, values) in headers {
            assert!(!name.starts_with("x-ratelimit-"), "{target}: {name}");
            if name.starts_with("x-quota-") {
                let ours = match name.as_str() {
                    "x-quota-tier" => json!(["free"]),
                    "x-quota-consumer" => json!(["free-09"]),
                    "x-quota-cost" => json!([cost]),
                    _ => panic!("{target}: {name}"),
                };
                assert_eq!(*values, ours, "{target}: {name}");
            }
        }
    }
}

fn the_upstream_learns_who_calls(gateway: &Gateway) {
    for (consumer, tier) in [
        ("free-10", "free"),
        ("pro-02", "pro"),
        ("initech-enterprise", "enterprise"),
        ("billing-worker", "partner"),
    ] {
        let response = gateway.consumer(consumer).get("/identify");
        assert_eq!(received(&response, "x-quota-tier"), json!([tier]));
        assert_eq!(received(&response, "x-quota-consumer"), json!([consumer]));
        // The upstream does not learn the key.
        assert_eq!(received(&response, "apikey"), Value::Null);
    }
}

/// A request to which the upstream answers with limits of its own.
fn with_upstream_copies(target: &str) -> Request {
    OURS.into_iter().fold(Request::get(target), |request, name| {
        request.header("X-Sample-Response-Header", format!("{name}: 7"))
    })
}

fn an_upstreams_copies_of_our_headers_are_replaced(gateway: &Gateway) {
    let mut caller = gateway.consumer("pro-03");
    let wanted = caller.get("/identify");
    let response = caller.send(&with_upstream_copies("/identify"));
    assert_eq!(response.status, 200);
    for name in OURS {
        assert!(response.header(name).is_some_and(|value| value != "7"), "{name}");
        // The headers that never change are the same as without the upstream's.
        if ["x-ratelimit-limit", "x-quota-tier", "ratelimit-policy"].contains(&name) {
            assert_eq!(response.header(name), wanted.header(name));
        }
    }
}

fn an_upstreams_copies_are_removed_where_we_say_nothing(gateway: &Gateway) {
    let response = gateway.consumer("umbrella-partner").send(&with_upstream_copies("/identify"));
    for name in OURS {
        assert_eq!(response.header(name), (name == "x-quota-tier").then_some("partner"), "{name}");
    }
    let response = gateway.consumer("free-11").send(&with_upstream_copies("/health"));
    for name in OURS {
        assert_eq!(response.header(name), None, "{name}");
    }
}

fn odd_bytes_in_a_claim_do_no_harm(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-12");
    let before = Standing::of(&caller.get("/identify")).month_left.expect("a monthly quota");
    let odd: &[&[u8]] = &[b"\xff\xfe", b"\xc3\x28", b"%00", b"\xf0\x9f\x90\x88", b",,,", b"partner,\xff"];
    for bytes in odd {
        let request = Request::get("/identify")
            .header("X-Consumer-Username", bytes)
            .header("X-Consumer-Groups", bytes)
            .header("X-Quota-Tier", bytes);
        let response = caller.send(&request);
        assert_eq!((response.status, tier(&response)), (200, Some("free")), "{bytes:?}");
    }
    let after = Standing::of(&caller.get("/identify")).month_left.expect("a monthly quota");
    assert_eq!(before - after, odd.len() as u64 + 1);
}
