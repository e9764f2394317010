//! The headers that a client gets.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_host::Request;

use crate::{by, by_one_of, number, on_every_gate, one_tier, policy, policy_with};

const ALL: [&str; 7] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-quota-tier",
    "x-quota-monthly-remaining",
    "ratelimit",
    "ratelimit-policy",
];

#[test]
fn an_allowed_request_of_a_limited_tier_gets_all_headers() {
    on_every_gate(&policy(), |gate| {
        let exchange = gate.ask(by("fay"));
        let now = gate.node.clock().seconds();
        assert_eq!(exchange.client.header("x-ratelimit-limit"), Some("100"));
        assert_eq!(
            exchange.client.header("x-ratelimit-remaining"),
            Some("100"),
            "149 are left, shown up to the limit"
        );
        assert_eq!(number(&exchange, "x-ratelimit-reset"), now + 1, "one unit refills in 0.6 s");
        assert_eq!(exchange.client.header("x-quota-tier"), Some("free"));
        assert_eq!(exchange.client.header("x-quota-monthly-remaining"), Some("49999"));
        assert_eq!(
            exchange.client.header("ratelimit-policy"),
            Some("\"minute\";q=100;w=60, \"month\";q=50000;w=2592000"),
            "November has 30 days"
        );
        assert_eq!(exchange.client.header("ratelimit"), Some("\"minute\";r=100;t=1"));
        assert_eq!(exchange.client.header("retry-after"), None);
        assert_eq!(
            (exchange.client.text(), exchange.client.header("content-type")),
            ("hello", Some("text/plain"))
        );
    });
}

#[test]
fn remaining_counts_down_in_whole_units_and_reset_moves_on() {
    on_every_gate(&policy(), |gate| {
        let start = gate.node.clock().seconds();
        for spent in 1..=150_u64 {
            let exchange = gate.ask(by("fay"));
            assert_eq!(number(&exchange, "x-ratelimit-remaining"), (150 - spent).min(100));
            assert_eq!(number(&exchange, "x-ratelimit-reset"), start + (spent * 600).div_ceil(1_000));
            assert_eq!(number(&exchange, "x-quota-monthly-remaining"), 50_000 - spent);
        }
    });
}

#[test]
fn a_refused_request_gets_429_the_same_headers_and_a_problem_document() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 150), 150);
        let exchange = gate.ask(Request::new("POST", "/compare").header("x-consumer-username", "fay"));
        let client = &exchange.client;
        assert_eq!(client.status, 429);
        assert!(!exchange.reached_upstream());
        assert_eq!(client.header("retry-after"), Some("2"), "two units refill in 1.2 s");
        assert_eq!(client.header("cache-control"), Some("no-store"));
        assert_eq!(client.header("content-type"), Some("application/problem+json"));
        assert_eq!(client.header("x-ratelimit-limit"), Some("100"));
        assert_eq!(client.header("x-ratelimit-remaining"), Some("0"));
        assert_eq!(number(&exchange, "x-ratelimit-reset"), gate.node.clock().seconds() + 90);
        assert_eq!(client.header("x-quota-tier"), Some("free"));
        assert_eq!(client.header("x-quota-monthly-remaining"), Some("49850"));
        assert_eq!(client.header("ratelimit"), Some("\"minute\";r=0;t=1"));
        assert!(client.header("ratelimit-policy").is_some());
        assert_eq!(
            serde_json::from_str::<Value>(client.text()).unwrap(),
            json!({
                "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "title": "Quota exceeded",
                "status": 429,
                "detail": "Tier free allows 100 requests per minute; retry in 2 s.",
                "violated-policies": ["minute"],
                "tier": "free",
                "retry_after": 2,
            })
        );
        assert_eq!(client.header("content-length"), Some(client.body.len().to_string().as_str()));
    });
}

#[test]
fn an_unlimited_tier_gets_its_name_alone() {
    on_every_gate(&policy(), |gate| {
        let exchange = gate.ask(by_one_of("enterprise", "eve"));
        for name in ALL {
            let expected = (name == "x-quota-tier").then_some("enterprise");
            assert_eq!(exchange.client.header(name), expected, "{name}");
        }
    });
}

#[test]
fn each_family_can_be_left_out() {
    for (x_ratelimit, ietf) in [(true, false), (false, true), (false, false)] {
        let policy = policy_with(json!({ "headers": { "x_ratelimit": x_ratelimit, "ietf": ietf } }));
        on_every_gate(&policy, |gate| {
            for count in [1, 150] {
                gate.passed(&by("fay"), count - 1);
                let exchange = gate.ask(by("fay"));
                assert_eq!(exchange.client.header("x-ratelimit-limit").is_some(), x_ratelimit);
                assert_eq!(exchange.client.header("x-ratelimit-reset").is_some(), x_ratelimit);
                assert_eq!(exchange.client.header("ratelimit").is_some(), ietf);
                assert_eq!(exchange.client.header("ratelimit-policy").is_some(), ietf);
                assert_eq!(exchange.client.header("retry-after").is_some(), exchange.client.status == 429);
            }
        });
    }
}

#[test]
fn with_several_rates_the_x_headers_speak_of_the_nearest_and_the_ietf_fields_of_all() {
    let rates = json!({ "rate": [{ "rate": "20/second", "burst": 1 }, "100/minute"], "monthly": 30 });
    on_every_gate(&one_tier(rates), |gate| {
        let exchange = gate.ask(by("fay"));
        assert_eq!(
            (number(&exchange, "x-ratelimit-limit"), number(&exchange, "x-ratelimit-remaining")),
            (20, 19)
        );
        assert_eq!(
            exchange.client.header("ratelimit-policy"),
            Some("\"second\";q=20;w=1, \"minute\";q=100;w=60, \"month\";q=30;w=2592000")
        );
        assert_eq!(exchange.client.header("ratelimit"), Some("\"second\";r=19;t=1"));
        assert_eq!(gate.passed(&by("fay"), 19), 19);
        gate.wait(Duration::from_secs(1));
        let exchange = gate.ask(by("fay"));
        let month = 16 * 86_400 - 12 * 3_600 - 1;
        assert_eq!(
            exchange.client.header("ratelimit"),
            Some(format!("\"month\";r=9;t={month}").as_str()),
            "nine are left of the month, nineteen of the second"
        );
    });
}

#[test]
fn an_upstreams_copies_are_replaced_however_often_they_come() {
    on_every_gate(&policy(), |gate| {
        for copies in 1..=3 {
            let mut request = by("fay");
            for name in ALL.into_iter().cycle().take(ALL.len() * copies) {
                request = request.upstream_header(name, "upstream's");
            }
            let exchange = gate.ask(request);
            for name in ALL {
                let value = exchange.client.header(name);
                assert!(
                    value.is_some_and(|value| value != "upstream's"),
                    "{copies} copies of {name}: {value:?}"
                );
            }
        }
    });
}

#[test]
fn where_nothing_is_to_be_said_an_upstreams_copies_go_too() {
    on_every_gate(&policy(), |gate| {
        let health = Request::get("/health").header("x-consumer-username", "fay");
        for request in [by_one_of("enterprise", "eve"), health] {
            let limited = ALL.into_iter().filter(|name| *name != "x-quota-tier");
            let request =
                limited.clone().fold(request, |request, name| request.upstream_header(name, "upstream's"));
            let exchange = gate.ask(request);
            for name in limited {
                assert_eq!(exchange.client.header(name), None, "{name}");
            }
        }
    });
}

#[test]
fn a_dead_upstream_changes_no_count() {
    on_every_gate(&policy(), |gate| {
        let dead = gate.ask(by("fay").to_dead_upstream());
        assert!(dead.client.status >= 502);
        assert_eq!(number(&gate.ask(by("fay")), "x-quota-monthly-remaining"), 49_998);
    });
}
