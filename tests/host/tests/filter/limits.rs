//! Rates, bursts, costs, months.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_host::{Personality, Request};

use crate::{Gate, by, by_one_of, number, on_every_gate, one_tier, policy, policy_with};

#[test]
fn each_tier_passes_its_burst_and_no_more() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by_one_of("free", "fay"), 200), 150);
        assert_eq!(gate.passed(&by_one_of("pro", "pat"), 1_600), 1_500);
        assert_eq!(gate.passed(&by_one_of("enterprise", "eve"), 300), 300);
        assert_eq!(gate.passed(&by_one_of("partner", "pam"), 300), 300);
    });
}

#[test]
fn a_bucket_fills_again_at_the_tiers_rate() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 151), 150);
        gate.wait(Duration::from_millis(600));
        assert_eq!(gate.passed(&by("fay"), 2), 1);
        gate.wait(Duration::from_secs(30));
        assert_eq!(gate.passed(&by("fay"), 60), 50);
        gate.wait(Duration::from_secs(3_600));
        assert_eq!(gate.passed(&by("fay"), 160), 150, "never more than a full bucket");
    });
}

#[test]
fn one_consumers_requests_cost_another_nothing() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 160), 150);
        assert_eq!(gate.passed(&by("fred"), 160), 150);
    });
}

#[test]
fn an_endpoint_costs_what_the_policy_says_however_its_path_is_spelled() {
    on_every_gate(&policy(), |gate| {
        let on = |path: &str| Request::get(path).header("x-consumer-username", "fay");
        for spelling in
            ["/compare", "/compare?a=/health", "//compare", "/x/../compare", "/%63ompare", "/./compare"]
        {
            let consumer = format!("one-{spelling}");
            let request = Request::get(spelling).header("x-consumer-username", &consumer);
            assert_eq!(gate.passed(&request, 80), 75, "{spelling}");
        }
        assert_eq!(gate.passed(&on("/compare"), 74), 74);
        assert_eq!(gate.passed(&on("/batch"), 3), 2, "two of 150 were left");
    });
}

#[test]
fn the_price_is_that_of_the_path_which_the_gateway_routes() {
    on_every_gate(&policy(), |gate| {
        // Kong resolves the dots and sends /compare, while its `:path` says /health, or something without a price of its own.
        for spelling in ["/health#/../compare", "/identify;%2f..;/../compare", "/health%2f..@/../compare"] {
            let consumer = format!("one-{spelling}");
            let request = Request::get(spelling).header("x-consumer-username", &consumer);
            let exchange = gate.ask(request.clone());
            if gate.is_kong() {
                assert_eq!(exchange.upstream.expect("it passes").path, b"/compare", "{spelling}");
            }
            assert_eq!(gate.passed(&request, 80), 74, "{spelling}");
        }
    });
}

#[test]
fn a_policy_with_one_price_asks_for_no_target() {
    let one_price = policy_with(json!({ "endpoints": [], "default_cost": 1 }));
    for (policy, properties) in [(one_price, 0), (policy(), 1)] {
        let mut gate = Gate::new(Personality::Kong, 1, &policy);
        let exchange = gate.ask(by("fay").property("kong.ctx.shared.tollgate_consumer", "fay"));
        assert_eq!(
            exchange.host_calls("proxy_get_property"),
            2 + properties,
            "consumer, tier, and the target"
        );
    }
}

#[test]
fn what_costs_nothing_is_never_limited_and_looks_at_no_table() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 160), 150);
        for _ in 0..10 {
            let exchange = gate.ask(Request::get("/health").header("x-consumer-username", "fay"));
            assert_eq!((exchange.client.status, exchange.host_calls("proxy_get_shared_data")), (200, 0));
            assert_eq!(exchange.client.header("x-quota-tier"), None);
        }
    });
}

#[test]
fn a_cost_has_up_to_three_decimals() {
    let policy = policy_with(json!({ "endpoints": [{ "path": "/identify", "cost": 0.125 }] }));
    on_every_gate(&policy, |gate| assert_eq!(gate.passed(&by("fay"), 1_250), 1_200));
}

#[test]
fn a_method_can_have_its_own_price() {
    let endpoints =
        json!([{ "path": "/items/*", "cost": 1 }, { "path": "/items/*", "methods": ["POST"], "cost": 30 }]);
    on_every_gate(&policy_with(json!({ "endpoints": endpoints })), |gate| {
        let on = |method| Request::new(method, "/items/7").header("x-consumer-username", method);
        assert_eq!(gate.passed(&on("POST"), 7), 5);
        assert_eq!(gate.passed(&on("PUT"), 160), 150);
    });
}

#[test]
fn a_refused_request_costs_nothing() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 149), 149);
        let compare = Request::get("/compare").header("x-consumer-username", "fay");
        assert_eq!(gate.passed(&compare, 20), 0, "two do not fit where one is left");
        assert_eq!(gate.passed(&by("fay"), 2), 1);
    });
}

#[test]
fn a_request_is_refused_until_the_moment_that_it_is_told_and_allowed_at_it() {
    for (rate, path, wait) in [
        ("100/minute", "/identify", 600_000_000),
        ("100/minute", "/compare", 1_200_000_000),
        ("7/hour", "/identify", 514_285_714_286),
        ("7/minute", "/compare", 17_142_857_143),
        ("50/day", "/identify", 1_728_000_000_000_u64),
        ("3/second", "/identify", 333_333_334),
    ] {
        on_every_gate(&one_tier(json!({ "rate": rate })), |gate| {
            let request = Request::get(path).header("x-consumer-username", "fay");
            while gate.status(request.clone()) == 200 {}
            // Drain what a cost of 2 has left, so that the wait is that of an empty bucket.
            while gate.status(by("fay")) == 200 {}
            let refused = gate.ask(request.clone());
            let told = number(&refused, "retry-after");
            assert_eq!(told, u64::div_ceil(wait, 1_000_000_000), "{rate} {path}");
            // The clock counts microseconds.
            let first = wait.div_ceil(1_000) * 1_000;
            gate.wait(Duration::from_nanos(first - 1_000));
            assert_eq!(gate.status(request.clone()), 429, "{rate} {path}: too early");
            gate.wait(Duration::from_nanos(1_000));
            assert_eq!(gate.status(request), 200, "{rate} {path}: in time");
        });
    }
}

#[test]
fn several_rates_are_checked_and_charged_together() {
    let rates = json!({ "rate": [{ "rate": "20/second", "burst": 1 }, "100/minute"], "burst": 1.5 });
    on_every_gate(&one_tier(rates), |gate| {
        assert_eq!(gate.passed(&by("fay"), 30), 20);
        let refused = gate.ask(by("fay"));
        let body: Value = serde_json::from_str(refused.client.text()).unwrap();
        assert_eq!(body["violated-policies"], json!(["second"]));
        for _ in 0..6 {
            gate.wait(Duration::from_secs(1));
            assert_eq!(gate.passed(&by("fay"), 30), 20);
        }
        // 140 of 150 are spent; 10 came back in 6 s.
        gate.wait(Duration::from_secs(1));
        let passed = gate.passed(&by("fay"), 30);
        assert_eq!(passed, 20, "150 + 11.67 - 140 are more than 20");
        gate.wait(Duration::from_secs(1));
        assert_eq!(gate.passed(&by("fay"), 30), 3, "the minute's bucket has 3.33 left");
        let body: Value = serde_json::from_str(gate.ask(by("fay")).client.text()).unwrap();
        assert_eq!(body["violated-policies"], json!(["minute"]));
    });
}

/// A moment in seconds, and the end of its month.
const MONTHS: &[(&str, u64, u64)] = &[
    ("2026-02-28T23:59:58Z", 1_772_323_198, 1_772_323_200),
    ("2028-02-29T12:00:00Z", 1_835_438_400, 1_835_481_600),
    ("2026-12-31T23:00:00Z", 1_798_758_000, 1_798_761_600),
    ("2026-04-30T00:00:00Z", 1_777_507_200, 1_777_593_600),
    ("2026-10-31T23:59:59Z", 1_793_491_199, 1_793_491_200),
];

#[test]
fn a_month_ends_at_midnight_utc_and_the_next_one_is_whole() {
    let policy = one_tier(json!({ "rate": "100/second", "monthly": 10 }));
    for (name, now, end) in MONTHS {
        on_every_gate(&policy, |gate| {
            gate.node.clock().jump_to(now * 1_000_000_000);
            assert_eq!(gate.passed(&by("fay"), 12), 10, "{name}");
            let refused = gate.ask(by("fay"));
            assert_eq!(number(&refused, "retry-after"), end - now, "{name}");
            assert_eq!(number(&refused, "x-quota-monthly-remaining"), 0);
            let body: Value = serde_json::from_str(refused.client.text()).unwrap();
            assert_eq!(body["violated-policies"], json!(["month"]));
            gate.wait(Duration::from_secs(end - now) - Duration::from_micros(1));
            assert_eq!(gate.status(by("fay")), 429, "{name}: still this month");
            gate.wait(Duration::from_micros(1));
            let allowed = gate.ask(by("fay"));
            assert_eq!(
                (allowed.client.status, number(&allowed, "x-quota-monthly-remaining")),
                (200, 9),
                "{name}"
            );
        });
    }
}

#[test]
fn an_unlimited_rate_can_have_a_month() {
    on_every_gate(&one_tier(json!({ "rate": "unlimited", "monthly": 25 })), |gate| {
        assert_eq!(gate.passed(&by("fay"), 30), 25);
    });
}

#[test]
fn shadow_decides_counts_and_tells_but_never_refuses() {
    on_every_gate(&policy_with(json!({ "enforcement": "shadow" })), |gate| {
        assert_eq!(gate.passed(&by("fay"), 200), 200);
        let exchange = gate.ask(by("fay"));
        assert_eq!(number(&exchange, "x-ratelimit-remaining"), 0);
        assert_eq!(exchange.client.header("retry-after"), None);
        let metrics = gate.node.metrics();
        let shadowed: Vec<_> =
            metrics.names().filter(|name| name.contains("shadow_refused") && name.contains("free")).collect();
        assert_eq!(shadowed.iter().filter_map(|name| metrics.value(name)).sum::<u64>(), 51);
    });
}

#[test]
fn off_does_nothing_but_keep_clients_from_introducing_themselves() {
    on_every_gate(&policy_with(json!({ "enforcement": "off" })), |gate| {
        assert_eq!(gate.passed(&by("fay"), 200), 200);
        let exchange = gate.ask(by("fay"));
        assert_eq!(exchange.client.header("x-ratelimit-limit"), None);
        let forged = gate.ask(by("fay").header("X-Quota-Consumer", "root").header("X-Quota-Cost", "9"));
        let seen = forged.upstream.unwrap();
        // Kong can only blank the client's copy.
        let blank = gate.is_kong().then_some(" ");
        assert_eq!([seen.header("x-quota-consumer"), seen.header("x-quota-cost")], [blank, blank]);
        assert_eq!(
            exchange.host_calls("proxy_get_shared_data") + exchange.host_calls("proxy_set_shared_data"),
            0
        );
    });
}

#[test]
fn a_clock_that_jumps_back_gives_no_second_burst_and_no_endless_wait() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 160), 150);
        gate.node.clock().jump_back(Duration::from_secs(7_200));
        assert!(gate.passed(&by("fay"), 160) <= 1, "going back is no refill");
        gate.wait(Duration::from_secs(60));
        let passed = gate.passed(&by("fay"), 160);
        assert!(passed <= 101, "a minute gives a hundred, not {passed}");
        gate.wait(Duration::from_secs(7_200 + 60));
        assert!(
            gate.passed(&by("fay"), 160) >= 100,
            "once the clock is where it was, the bucket fills again"
        );
    });
}

#[test]
fn a_clock_that_stands_still_or_leaps_is_survived() {
    for personality in Personality::ALL {
        let mut gate = Gate::new(personality, 1, &policy());
        for moment in [0, 1, 999, u64::from(u32::MAX), 1 << 62, u64::MAX / 2, u64::MAX - 1_000_000, 5] {
            gate.node.clock().jump_to(moment);
            let status = gate.status(by("fay"));
            assert!(matches!(status, 200 | 429), "{status} at {moment}");
        }
    }
}
