//! Paths on a gateway that normalizes none of them.

use serde_json::json;
use tollgate_e2e::spelled;
use tollgate_e2e::standing::Standing;
use tollgate_spellings::generator::Spellings;
use tollgate_testkit::envoy::Config;
use tollgate_testkit::http::Request;

use crate::Site;

/// For each of them there is an upstream that takes it for /compare.
const SPELLINGS: [&str; 30] = [
    "/compare",
    "/compare/",
    "/compare?",
    "/compare?x=/health",
    "//compare",
    "/.//compare",
    "/./compare",
    "/../compare",
    "/x/../compare",
    "/compare/.",
    "/compare/x/..",
    "/%63ompare",
    "/%63%6F%6d%70%61%72%65",
    "/%2e/compare",
    "/x/%2e%2e/compare",
    "/%2fcompare",
    "/compare%2f",
    "/health/../compare",
    "/health/%2e%2e/compare",
    "/health/..%2fcompare",
    "/health%2f..%2Fcompare",
    "/health//../compare",
    "/health\\..\\compare",
    "\\compare",
    "/compare;v=1",
    "/compare;",
    "/health/..;/compare",
    "/health/..;a=b/compare",
    "/health/%2e%2e;/compare",
    "/health/..%3b/compare",
];

#[test]
fn the_filter_itself_knows_every_spelling() {
    let site = Site::with(1, Config::taking_every_path);
    let mut client = site.client();
    let mut left = 1_000_000;
    for spelling in SPELLINGS {
        let response = client.send(&Request::get(spelling).of("globex-pro")).unwrap();
        if response.status == 400 {
            // HTTP does not allow this target; it reached no upstream.
            assert!(spelling.starts_with('\\'), "{spelling}");
            continue;
        }
        assert_eq!(response.json()["path"], spelling, "the gateway was to leave it alone");
        let month_left = Standing::of(&response).month_left.unwrap();
        assert_eq!(left - month_left, 2, "{spelling}");
        left = month_left;
    }
}

/// Sends thousands of spellings through an Envoy that takes every path and treats it as `change` says.
fn all_are_paid_for(seed: u64, change: impl Fn(&mut serde_json::Value)) {
    let site = Site::with(1, |config| {
        config.taking_every_path().http(change).policy(|policy| {
            policy["tiers"]["pro"] = json!({ "rate": "10000000/minute", "monthly": 100_000_000 });
            policy["endpoints"] = json!([
                { "path": "/compare", "cost": 9 },
                { "path": "/compare/*", "cost": 5 },
                { "path": "/health", "cost": 0 },
                { "path": "/health/*", "cost": 1 },
            ]);
            policy["default_cost"] = 3.into();
        })
    });
    let price = |path: &[u8]| {
        let mut segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
        match (segments.next(), segments.next()) {
            (Some(b"compare"), None) => 9,
            (Some(b"compare"), Some(_)) => 5,
            (Some(b"health"), None) => 0,
            (Some(b"health"), Some(_)) => 1,
            _ => 3,
        }
    };
    let mut client = site.client();
    let send = |target: &str| client.send(&Request::get(target).of("globex-pro")).unwrap();
    let targets = Spellings::new(seed, &["compare", "health", "identify"]).take(2_000);
    let tally = spelled::are_paid_for(send, targets, price);
    assert_eq!(tally.sent, 2_000);
    assert!(tally.statuses.get(&200).is_some_and(|arrived| *arrived > 1_000), "{tally:?}");
}

#[test]
fn whatever_reaches_the_upstream_was_paid_for_where_paths_are_left_alone() {
    all_are_paid_for(1, |_| {});
}

#[test]
fn whatever_reaches_the_upstream_was_paid_for_where_paths_are_normalised() {
    all_are_paid_for(2, |http| http["normalize_path"] = true.into());
}

#[test]
fn whatever_reaches_the_upstream_was_paid_for_where_escaped_slashes_are_slashes() {
    all_are_paid_for(3, |http| {
        http["normalize_path"] = true.into();
        http["merge_slashes"] = true.into();
        http["path_with_escaped_slashes_action"] = "UNESCAPE_AND_FORWARD".into();
    });
}

#[test]
fn head_is_priced_as_get() {
    let site = Site::with(1, |config| {
        config.taking_every_path().policy(|policy| {
            policy["endpoints"] = json!([{ "path": "/compare", "methods": ["GET"], "cost": 20 }]);
        })
    });
    let head = Request::new("HEAD", "/compare").of("globex-pro");
    assert_eq!(Standing::of(&site.client().send(&head).unwrap()).month_left, Some(999_980));
}

#[test]
fn what_no_endpoint_names_has_the_default_price() {
    let site =
        Site::with(1, |config| config.taking_every_path().policy(|policy| policy["default_cost"] = 7.into()));
    for (path, left) in
        [("/other", 999_993), ("/compared", 999_986), ("/compare/more", 999_979), ("/", 999_972)]
    {
        assert_eq!(Standing::of(&site.ask("globex-pro", path)).month_left, Some(left), "{path}");
    }
}
