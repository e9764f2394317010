//! Policies that only watch, that do nothing, and that tell clients less.

use serde_json::json;
use tollgate_e2e::standing::{OURS, Standing};
use tollgate_testkit::envoy::Config;
use tollgate_testkit::http::{Request, Response};

use crate::Site;
use crate::metrics::requests;

/// Allows free consumers one request per minute: the second is refused.
fn with_one_a_minute(enforcement: &str) -> Site {
    Site::with_policy(|policy| {
        policy["enforcement"] = enforcement.into();
        policy["tiers"]["free"] = json!({ "rate": "2/minute", "burst": 1, "monthly": 3 });
    })
}

#[test]
fn in_the_shadow_nobody_is_refused_and_everybody_told_and_counted() {
    let site = with_one_a_minute("shadow");
    let first = Standing::of(&site.ask("free-01", "/identify"));
    assert_eq!((first.limit, first.remaining, first.month_left), (2, 1, Some(2)));
    for _ in 0..20 {
        let response = site.ask("free-01", "/identify");
        assert_eq!((response.status, response.header("retry-after")), (200, None));
        assert_eq!(Standing::of(&response).tier, "free");
    }
    assert_eq!(site.upstream.requests(), 21);
    let metrics = site.envoy.prometheus().unwrap();
    assert!(requests(&metrics, "free", "shadow_refused") >= 18, "{metrics}");
    assert_eq!(requests(&metrics, "free", "refused_rate") + requests(&metrics, "free", "refused_month"), 0);
}

#[test]
fn switched_off_nothing_is_done() {
    let site = with_one_a_minute("off");
    for _ in 0..20 {
        let response = site.ask("free-01", "/identify");
        assert_eq!(response.status, 200);
        assert!(OURS.iter().all(|name| response.header(name).is_none()), "{:#?}", response.headers);
    }
    let request = Request::get("/identify").header("X-Sample-Response-Header", "X-RateLimit-Limit: 7");
    assert_eq!(site.client().send(&request).unwrap().header("x-ratelimit-limit"), Some("7"));
}

#[test]
fn a_policy_written_as_yaml_is_the_same_as_its_json_text() {
    let site = Site::with(1, Config::policy_as_struct);
    let standing = Standing::of(&site.ask("pro-01", "/compare"));
    assert_eq!((standing.tier.as_str(), standing.limit, standing.month_left), ("pro", 1000, Some(999_998)));
    // The burst is 1.5, which is not a whole number.
    let passed = (0..).find(|_| site.ask("free-01", "/compare").status == 429).unwrap();
    assert!((75..90).contains(&passed), "{passed}");
}

#[test]
fn a_filter_that_is_granted_everything_does_the_same() {
    for change in [Config::granting_everything, std::convert::identity] {
        let site = Site::with(1, |config| {
            change(config).policy(|policy| {
                policy["tiers"]["free"] = json!({ "rate": "2/minute", "burst": 1, "monthly": 3 });
            })
        });
        let ask = || {
            site.client()
                .send(&Request::new("POST", "/identify").json(&json!({ "of": "an image" })).of("free-01"))
                .unwrap()
        };
        let standing = Standing::of(&ask());
        assert_eq!((standing.limit, standing.remaining, standing.month_left), (2, 1, Some(2)));
        assert_eq!([ask().status, ask().status], [200, 429]);
        let metrics = site.envoy.prometheus().unwrap();
        assert_eq!(
            [requests(&metrics, "free", "allowed"), requests(&metrics, "free", "refused_rate")],
            [2, 1]
        );
    }
}

fn family<'a>(response: &'a Response, prefix: &str) -> Vec<&'a str> {
    response.headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with(prefix)).collect()
}

#[test]
fn each_family_of_headers_is_sent_or_not_also_with_a_refusal() {
    for (x_ratelimit, ietf) in [(true, false), (false, true), (false, false)] {
        let site = Site::with_policy(|policy| {
            policy["headers"] = json!({ "x_ratelimit": x_ratelimit, "ietf": ietf });
            policy["tiers"]["free"] = json!({ "rate": "2/minute", "burst": 1 });
        });
        for status in [200, 200, 429] {
            let response = site.ask("free-01", "/identify");
            assert_eq!(response.status, status);
            assert_eq!(family(&response, "x-ratelimit-").len(), if x_ratelimit { 3 } else { 0 });
            assert_eq!(family(&response, "ratelimit").len(), if ietf { 2 } else { 0 });
            assert_eq!(response.header("retry-after").is_some(), status == 429);
        }
    }
}
