//! What the upstream's headers say, and what a client cannot put into them.

use serde_json::json;
use tollgate_host::Request;

use crate::{by, by_one_of, on_every_gate, policy, policy_with};

#[test]
fn the_upstream_learns_tier_and_consumer_and_what_was_charged() {
    on_every_gate(&policy(), |gate| {
        let seen = gate.ask(by_one_of("pro", "pat")).upstream.unwrap();
        assert_eq!(
            (seen.header("x-quota-tier"), seen.header("x-quota-consumer")),
            (Some("pro"), Some("pat"))
        );
        assert_eq!(seen.header("x-quota-cost"), Some("1"));
        assert_eq!(seen.path, b"/identify");
    });
}

#[test]
fn the_upstream_is_told_nothing_where_the_policy_says_so() {
    on_every_gate(&policy_with(json!({ "headers": { "upstream": false } })), |gate| {
        for request in
            [by_one_of("pro", "pat"), Request::get("/identify"), by("pat").header("X-Quota-Tier", "spoofed")]
        {
            let exchange = gate.ask(request);
            let seen = exchange.upstream.unwrap();
            let told = seen.headers.0.iter().filter(|(name, value)| {
                name.to_ascii_lowercase().starts_with(b"x-quota-") && value.trim_ascii() != b""
            });
            assert_eq!(told.count(), 0, "{:?}", seen.headers);
            assert!(exchange.client.header("x-quota-tier").is_some(), "the client is told as ever");
        }
    });
}

#[test]
fn a_clients_own_quota_headers_never_reach_the_upstream() {
    on_every_gate(&policy(), |gate| {
        for path in ["/identify", "/health"] {
            let names = [
                "X-Quota-Tier",
                "x-quota-consumer",
                "X-QUOTA-Monthly-Remaining",
                "X-RateLimit-Limit",
                "X-RateLimit-Foo",
                "x_quota_tier",
            ];
            for copies in 1..=3 {
                let request = Request::get(path).header("x-consumer-username", "pat");
                let request = names
                    .into_iter()
                    .cycle()
                    .take(names.len() * copies)
                    .fold(request, |request, name| request.header(name, "spoofed"));
                let exchange = gate.ask(request);
                if gate.is_kong() && copies > 1 {
                    // Kong cannot keep any of the copies from the upstream.
                    assert_eq!((exchange.client.status, exchange.reached_upstream()), (400, false));
                    assert_eq!(exchange.client.header("content-type"), Some("application/problem+json"));
                    continue;
                }
                let seen = exchange.upstream.unwrap();
                let spoofed = seen.headers.0.iter().filter(|(_, value)| value == b"spoofed").count();
                assert_eq!(spoofed, 0, "{copies} copies on {path}: {:?}", seen.headers);
                assert_eq!(seen.header("x-quota-tier"), Some("free"), "{copies} copies on {path}");
                assert_eq!(seen.header("x-quota-consumer"), Some("pat"));
            }
        }
    });
}

#[test]
fn other_headers_reach_the_upstream_as_they_are() {
    on_every_gate(&policy(), |gate| {
        let request =
            by("fay").header("X-Request-Id", "7").header("Accept", "*/*").header("Accept", "text/html");
        let seen = gate.ask(request).upstream.unwrap();
        assert_eq!(seen.header("x-request-id"), Some("7"));
        assert_eq!(seen.headers.all(b"accept").count(), 2);
        assert_eq!(seen.header("x-consumer-username"), Some("fay"));
    });
}

#[test]
fn a_hundred_and_more_headers_of_a_client_change_nothing() {
    on_every_gate(&policy(), |gate| {
        // Kong hands over a hundred pairs; the headers that its auth plugins add come after the client's.
        let padded = |consumer: &str| {
            (0..300)
                .fold(Request::get("/identify"), |request, i| request.header(format!("x-pad-{i}"), "1"))
                .header("X-Quota-Tier", "enterprise")
                .header("X-Quota-Consumer", "root")
                .header("x-consumer-username", consumer)
                .header("x-consumer-groups", "pro")
        };
        let exchange = gate.ask(padded("pat"));
        assert_eq!(exchange.client.header("x-quota-tier"), Some("pro"));
        let seen = exchange.upstream.unwrap();
        assert_eq!(
            (seen.header("x-quota-tier"), seen.header("x-quota-consumer")),
            (Some("pro"), Some("pat"))
        );
        assert_eq!(seen.header("x-quota-cost"), Some("1"));
        assert_eq!(gate.passed(&padded("pat"), 1_600), 1_499, "the same bucket");
    });
}

#[test]
fn a_spoof_behind_a_hundred_headers_is_taken_away_too() {
    on_every_gate(&policy(), |gate| {
        let request = (0..300).fold(by("pat"), |request, i| request.header(format!("x-pad-{i}"), "1"));
        let request =
            request.header("X-RateLimit-Remaining", "spoofed").header("X-Quota-Monthly-Remaining", "spoofed");
        let seen = gate.ask(request).upstream.unwrap();
        assert_eq!(seen.headers.0.iter().filter(|(_, value)| value == b"spoofed").count(), 0);
    });
}
