//! Policies that cannot work, and policies that change while the gateway runs.

use serde_json::{Value, json};
use tollgate_host::{Personality, Setup, StartError};

use crate::{Gate, by, by_one_of, on_every_gate, policy, policy_with};

/// A policy that is refused, and what the message has in it.
fn wrong() -> Vec<(Value, &'static [&'static str])> {
    let tier =
        |tier: Value| policy_with(json!({ "tiers": { "free": tier, "partner": { "rate": "unlimited" } } }));
    vec![
        (tier(json!({ "rate": "1000/mnth" })), &["tiers.free.rate", "1000/mnth", "/minute"]),
        (tier(json!({ "rate": "0/minute" })), &["tiers.free.rate"]),
        (tier(json!({ "rate": "10/minute", "burst": 0.5 })), &["tiers.free.burst", "0.5"]),
        (tier(json!({ "rate": "10/minute", "brust": 2 })), &["tiers.free", "brust"]),
        (policy_with(json!({ "default_tier": "gold" })), &["default_tier", "gold"]),
        (policy_with(json!({ "enforcement": "on" })), &["enforcement", "on"]),
        (
            policy_with(json!({ "endpoints": [{ "path": "identify", "cost": 1 }] })),
            &["endpoints[0].path", "identify"],
        ),
        (policy_with(json!({ "endpoints": [{ "path": "/x", "cost": 1000 }] })), &["cost", "1000"]),
        (policy_with(json!({ "memory": { "clients": 0 } })), &["memory.clients"]),
        (policy_with(json!({ "store": { "upstream": "" } })), &["store.upstream"]),
        (
            policy_with(
                json!({ "store": { "upstream": "127.0.0.1:7600", "token": { "env": "NOT_SET_ANYWHERE" } } }),
            ),
            &["store.token.env", "NOT_SET_ANYWHERE"],
        ),
        (policy_with(json!({ "unknown": 1 })), &["unknown"]),
        (json!([]), &[]),
        (json!("free"), &[]),
        (json!({}), &["tiers"]),
    ]
}

#[test]
fn kong_serves_without_a_filter_whose_policy_is_wrong_and_logs_what_to_change() {
    for (policy, message) in wrong() {
        let setup = Setup::new(Personality::Kong).workers(2).filter(&policy.to_string());
        let mut gate = Gate::start(setup, 2).unwrap_or_else(|error| panic!("{error}"));
        assert!(!gate.node.is_filtered(), "{policy}");
        assert_eq!(gate.passed(&by("fay"), 200), 200);
        let said = gate.node.log().iter().any(|line| message.iter().all(|part| line.contains(part)));
        assert!(said, "{message:?} is not in {:#?}", gate.node.log());
    }
}

#[test]
fn envoy_does_not_start_with_a_wrong_policy_and_logs_what_to_change() {
    for (policy, message) in wrong() {
        let setup = Setup::new(Personality::Envoy).filter(&policy.to_string());
        let Err(StartError::Refused(log)) = Gate::start(setup, 1).map(|_| ()) else {
            panic!("took {policy}")
        };
        assert!(
            log.iter().any(|line| message.iter().all(|part| line.contains(part))),
            "{message:?} is not in {log:#?}"
        );
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        "{",
        "null",
        "tiers: {}",
        "\u{0}",
        &"[".repeat(10_000),
        &format!("{{\"namespace\":{}", "9".repeat(70_000)),
    ] {
        for personality in Personality::ALL {
            match Gate::start(Setup::new(personality).filter(text), 1) {
                Ok(gate) => assert!(!gate.node.is_filtered() && personality == Personality::Kong),
                Err(error) => assert!(matches!(error, StartError::Refused(_)), "{error}"),
            }
        }
    }
}

#[test]
fn a_wrong_update_leaves_the_old_policy_in_force() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 100), 100);
        for (policy, _) in wrong() {
            assert!(gate.node.reload(&[&policy.to_string()]).is_err());
        }
        assert_eq!(gate.passed(&by("fay"), 60), 50);
    });
}

#[test]
fn buckets_and_months_outlive_an_update() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 100), 100);
        let mut changed = policy();
        changed["tiers"]["pro"]["rate"] = json!("2000/minute");
        gate.node.reload(&[&changed.to_string()]).unwrap();
        assert_eq!(gate.passed(&by("fay"), 60), 50, "free has not changed");
        assert_eq!(gate.passed(&by_one_of("pro", "pat"), 3_100), 3_000);
        let month =
            gate.ask(by_one_of("pro", "pim")).client.header("x-quota-monthly-remaining").map(str::to_owned);
        assert_eq!(month.as_deref(), Some("999999"));
    });
}

#[test]
fn a_tier_that_changes_takes_its_limits_along() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 160), 150);
        let upgraded = gate.ask(by_one_of("enterprise", "fay"));
        assert_eq!(
            (upgraded.client.status, upgraded.client.header("x-quota-tier")),
            (200, Some("enterprise"))
        );
        assert_eq!(gate.status(by("fay")), 429, "and back");
        let lower = policy_with(json!({ "tiers": {
            "free": { "rate": "10/minute", "burst": 1 }, "partner": { "rate": "unlimited" },
        } }));
        gate.node.reload(&[&lower.to_string()]).unwrap();
        let status = gate.status(by("fay"));
        assert!(matches!(status, 200 | 429), "{status}");
        assert_eq!(gate.passed(&by("new"), 20), 10);
    });
}

#[test]
fn two_namespaces_share_a_node_and_no_bucket() {
    for personality in Personality::ALL {
        // Different hosts in Envoy, or different services in Kong: two chains, here one after the other.
        let mut gate = Gate::new(personality, 1, &policy());
        assert_eq!(gate.passed(&by("fay"), 160), 150);
        gate.node.reload(&[&policy_with(json!({ "namespace": "other" })).to_string()]).unwrap();
        assert_eq!(gate.passed(&by("fay"), 160), 150);
        gate.node.reload(&[&policy().to_string()]).unwrap();
        assert_eq!(gate.passed(&by("fay"), 10), 0, "the first one's bucket is as it was");
    }
}
