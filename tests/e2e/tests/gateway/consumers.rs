//! How consumers are identified: by key, by token, by the policy's override.

use tollgate_e2e::gateway::{Gateway, Kind};
use tollgate_e2e::standing::{OURS, Standing, seconds_of_month, tier};
use tollgate_testkit::http::{Request, Response};
use tollgate_testkit::sample;

use crate::{Behaviour, behaviours};

pub const BEHAVIOURS: &[Behaviour] = behaviours![
    a_free_consumer_sees_its_limit_in_both_header_families,
    a_pro_consumer_sees_its_limit_in_both_header_families,
    enterprise_and_partner_are_not_limited_and_see_only_their_tier,
    an_override_gives_an_internal_service_another_tier,
    a_token_identifies_a_consumer_as_a_key_does,
    a_forged_token_and_a_wrong_key_are_nobodys,
    each_endpoint_has_its_price,
    what_costs_nothing_says_nothing_and_is_never_limited,
];

fn a_free_consumer_sees_its_limit_in_both_header_families(gateway: &Gateway) {
    let response = gateway.consumer("acme-free").get("/identify");
    // The bucket holds 150; headers show at most the rate's 100.
    see(gateway, &response, &Tier { name: "free", rate: 100, monthly: 50_000 });
}

fn a_pro_consumer_sees_its_limit_in_both_header_families(gateway: &Gateway) {
    let response = gateway.consumer("globex-pro").get("/identify");
    see(gateway, &response, &Tier { name: "pro", rate: 1000, monthly: 1_000_000 });
}

struct Tier {
    name: &'static str,
    rate: u64,
    monthly: u64,
}

/// Checks a consumer's first response, of cost 1.
fn see(gateway: &Gateway, response: &Response, tier: &Tier) {
    assert_eq!(response.status, 200);
    let Tier { name, rate, monthly } = tier;
    let standing = Standing::of(response);
    assert_eq!((standing.tier.as_str(), standing.limit, standing.remaining), (*name, *rate, *rate));
    // One unit of 100 or 1,000 per minute is back in under a second; both clocks are rounded.
    assert!(standing.full_in <= 3, "{standing:?}");
    let month_left = standing.month_left.expect("a monthly quota");
    assert!(month_left < *monthly, "{standing:?}");
    if gateway.is_own() {
        assert_eq!(month_left, monthly - 1);
    }
    let month = seconds_of_month(response);
    let policy = format!("\"minute\";q={rate};w=60, \"month\";q={monthly};w={month}");
    assert_eq!(response.header("ratelimit-policy"), Some(policy.as_str()));
    assert_eq!(response.header("ratelimit"), Some(format!("\"minute\";r={rate};t=1").as_str()));
}

fn enterprise_and_partner_are_not_limited_and_see_only_their_tier(gateway: &Gateway) {
    for (consumer, tier) in [("initech-enterprise", "enterprise"), ("umbrella-partner", "partner")] {
        let mut caller = gateway.consumer(consumer);
        for _ in 0..200 {
            see_only_tier(&caller.get("/compare"), tier);
        }
    }
}

fn an_override_gives_an_internal_service_another_tier(gateway: &Gateway) {
    // By the gateway's own credentials it is a free consumer.
    let mut worker = gateway.consumer("billing-worker");
    for _ in 0..200 {
        see_only_tier(&worker.get("/batch"), "partner");
    }
}

fn see_only_tier(response: &Response, tier: &str) {
    assert_eq!(response.status, 200);
    for name in OURS {
        assert_eq!(response.header(name), (name == "x-quota-tier").then_some(tier), "{name}");
    }
}

fn a_token_identifies_a_consumer_as_a_key_does(gateway: &Gateway) {
    for (consumer, tier, rate) in [("acme-mobile", "free", 100), ("globex-mobile", "pro", 1000)] {
        let response = gateway.bearer(consumer).get("/identify");
        assert_eq!(response.status, 200);
        let standing = Standing::of(&response);
        assert_eq!((standing.tier.as_str(), standing.limit), (tier, rate));
        assert_eq!(response.json()["headers"]["x-quota-consumer"][0], consumer);
    }
}

fn a_forged_token_and_a_wrong_key_are_nobodys(gateway: &Gateway) {
    let forged = sample::signed("globex-mobile", sample::in_an_hour(), "not the issuer's secret");
    let mut anonymous = gateway.anonymous();
    for request in [
        Request::get("/identify").header("Authorization", format!("Bearer {forged}")),
        Request::get("/identify").header("apikey", "free-01-key-but-longer"),
    ] {
        let response = anonymous.send(&request);
        match gateway.kind {
            Kind::Envoy => assert_eq!((response.status, tier(&response)), (401, None)),
            Kind::Kong => assert_eq!(tier(&response), Some("anonymous")),
        }
    }
}

fn each_endpoint_has_its_price(gateway: &Gateway) {
    let mut caller = gateway.consumer("pro-01");
    let mut month_left = Standing::of(&caller.get("/identify")).month_left.expect("a monthly quota");
    for (method, target, price) in [
        ("GET", "/identify", 1),
        ("GET", "/compare", 2),
        ("POST", "/compare", 2),
        ("GET", "/compare?cheap=/health", 2),
        ("GET", "/batch", 1),
        ("GET", "/batch?cost=0", 1),
        ("GET", "/identify?/compare", 1),
    ] {
        let response = caller.send(&Request::new(method, target).header("Content-Length", "0"));
        assert_eq!(response.status, 200, "{method} {target}");
        let left = Standing::of(&response).month_left.expect("a monthly quota");
        assert_eq!(month_left - left, price, "{method} {target}");
        month_left = left;
    }
}

fn what_costs_nothing_says_nothing_and_is_never_limited(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-16");
    let before = Standing::of(&caller.get("/identify")).month_left;
    for target in ["/health", "/health?a=b"] {
        for _ in 0..200 {
            let response = caller.get(target);
            assert_eq!(response.status, 200);
            assert!(OURS.iter().all(|name| response.header(name).is_none()), "{:#?}", response.headers);
        }
    }
    let after = Standing::of(&caller.get("/identify")).month_left;
    assert_eq!(after, before.map(|left| left - 1));
}
