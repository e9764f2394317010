//! Months, and several limits at once.

use serde_json::{Value, json};
use tollgate_e2e::standing::{Standing, seconds_of_month, until_month_ends};
use tollgate_testkit::http::Response;

use crate::Site;

/// Whether two numbers of seconds differ only by what clocks are rounded and lag.
fn near(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= 2
}

fn violated(response: &Response) -> Value {
    assert_eq!(response.status, 429);
    response.json()["violated-policies"].clone()
}

#[test]
fn a_month_is_used_up_in_units_and_refuses_until_it_ends() {
    let site = Site::with_policy(|policy| policy["tiers"]["free"]["monthly"] = 5.into());
    for (target, left) in [("/identify", 4), ("/compare", 2), ("/batch", 1)] {
        assert_eq!(Standing::of(&site.ask("free-01", target)).month_left, Some(left));
    }
    // One unit is left, not two: a refused request costs neither month nor bucket.
    let refused = site.ask("free-01", "/compare");
    assert_eq!(violated(&refused), json!(["month"]));
    assert_eq!(Standing::of(&refused).month_left, Some(1));
    let last = Standing::of(&site.ask("free-01", "/identify"));
    assert_eq!(last.month_left, Some(0));

    let refused = site.ask("free-01", "/identify");
    assert_eq!(violated(&refused), json!(["month"]));
    let retry_after = refused.number("retry-after").unwrap();
    assert!(near(retry_after, until_month_ends(&refused)), "{retry_after}");
    let detail = format!("Tier free allows 5 requests per month; retry in {retry_after} s.");
    assert_eq!(refused.json()["detail"], detail);
    assert_eq!(refused.json()["retry_after"], retry_after);
    let policy = format!("\"minute\";q=100;w=60, \"month\";q=5;w={}", seconds_of_month(&refused));
    assert_eq!(refused.header("ratelimit-policy"), Some(policy.as_str()));
    let quota = refused.header("ratelimit").unwrap();
    let until = quota.strip_prefix("\"month\";r=0;t=").unwrap_or_else(|| panic!("{quota}"));
    assert!(near(until.parse().unwrap(), until_month_ends(&refused)), "{until}");
    assert_eq!(Standing::of(&refused).remaining, 100);

    // Another consumer has another month, and a request that costs nothing is not refused.
    assert_eq!(site.ask("free-02", "/identify").status, 200);
    assert_eq!(site.ask("free-01", "/health").status, 200);
}

#[test]
fn where_a_rate_refuses_the_month_is_not_charged() {
    let site = Site::with_policy(|policy| {
        policy["tiers"]["free"] = json!({ "rate": "3/hour", "burst": 1, "monthly": 100 });
    });
    for left in [99, 98, 97, 97, 97] {
        assert_eq!(Standing::of(&site.ask("free-01", "/identify")).month_left, Some(left));
    }
    assert_eq!(violated(&site.ask("free-01", "/identify")), json!(["hour"]));
}

#[test]
fn several_limits_are_checked_and_charged_together() {
    let site = Site::with_policy(|policy| {
        policy["tiers"]["free"] =
            json!({ "rate": [{ "rate": "60/minute", "burst": 1 }, "3/hour"], "burst": 1, "monthly": 1000 });
        policy["tiers"]["pro"] = json!({ "rate": ["3/minute", "900/hour"] });
        policy["tiers"]["enterprise"] = json!({ "rate": ["3/minute", "3/hour", "100/day"] });
    });

    // The hour is the scarcer limit from the start, so the headers show it.
    let first = site.ask("free-01", "/identify");
    let standing = Standing::of(&first);
    assert_eq!((standing.limit, standing.remaining), (3, 2));
    let month = seconds_of_month(&first);
    let policy = format!("\"minute\";q=60;w=60, \"hour\";q=3;w=3600, \"month\";q=1000;w={month}");
    assert_eq!(first.header("ratelimit-policy"), Some(policy.as_str()));
    assert!(first.header("ratelimit").unwrap().starts_with("\"hour\";r=2;t="), "{first:#?}");
    assert_eq!(site.ask("free-01", "/compare").status, 200);
    let refused = site.ask("free-01", "/identify");
    assert_eq!(violated(&refused), json!(["hour"]));
    assert!(near(refused.number("retry-after").unwrap(), 1200), "{refused:#?}");

    let statuses: Vec<u16> = (0..4).map(|_| site.ask("pro-01", "/identify").status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(violated(&site.ask("pro-01", "/identify")), json!(["minute"]));

    for _ in 0..3 {
        assert_eq!(site.ask("initech-enterprise", "/identify").status, 200);
    }
    let refused = site.ask("initech-enterprise", "/identify");
    assert_eq!(violated(&refused), json!(["minute", "hour"]));
    let retry_after = refused.number("retry-after").unwrap();
    assert!(near(retry_after, 1200), "{retry_after}");
    let detail = format!("Tier enterprise allows 3 requests per hour; retry in {retry_after} s.");
    assert_eq!(refused.json()["detail"], detail);
}

#[test]
fn a_filter_that_a_request_passes_twice_charges_it_once() {
    // As where both a listener's filter and a route's are Tollgate: two entries, two policies, one namespace.
    let site = Site::with(1, |config| {
        config.http(|http| {
            let filters = http["http_filters"].as_array_mut().unwrap();
            let place = filters.iter().position(|filter| filter["name"] == "tollgate").unwrap();
            let mut again = filters[place].clone();
            let config = &mut again["typed_config"]["config"];
            let policy = config["configuration"]["value"].as_str().unwrap();
            config["configuration"]["value"] =
                policy.replace("\"default_cost\":1", "\"default_cost\":3").into();
            again["name"] = "tollgate-again".into();
            assert_ne!(again["typed_config"], filters[place]["typed_config"]);
            filters.insert(place, again);
        })
    });
    let last = (0..10).map(|_| Standing::of(&site.ask("free-01", "/compare"))).last().unwrap();
    assert_eq!(last.month_left, Some(50_000 - 10 * 2));
}
