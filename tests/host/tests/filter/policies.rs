//! Policies that cannot work, and policies that change while the gateway runs.

use serde_json::{Value, json};
use tollgate_host::{Personality, Setup, StartError};

use crate::{Gate, by, by_one_of, on_every_gate, policy, policy_with};

/// Policies that are refused, and parts of the message that each gets.
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
        assert_eq!(gate.passed(&by("fay"), 200), 200, "{policy}");
        assert_eq!(gate.ask(by("fay")).client.header("x-quota-tier"), None);
        // A chain that is refused disables the node's other chains, too.
        assert_eq!(gate.node.is_filtered(), policy.is_object(), "{policy}");
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
                Ok(mut gate) => {
                    assert!(personality == Personality::Kong);
                    assert_eq!(gate.ask(by("fay")).client.header("x-quota-tier"), None);
                }
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
            // A policy without a namespace has no earlier policy to go on with.
            if policy["namespace"].is_string() || !gate.is_kong() {
                assert_eq!(gate.node.reload(&[&policy.to_string()]).is_ok(), gate.is_kong());
            }
        }
        assert_eq!(gate.passed(&by("fay"), 60), 50);
    });
}

/// This metric is 1 while a policy is rejected.
fn rejected(gate: &Gate) -> Option<u64> {
    gate.node.metrics().value("policy_rejected")
}

#[test]
fn a_worker_that_kong_starts_anew_goes_on_with_the_last_policy_that_worked() {
    let mut gate = Gate::new(Personality::Kong, 4, &policy());
    assert_eq!(gate.passed(&by("fay"), 100), 100);
    assert_eq!(rejected(&gate), Some(0));
    for (wrong, _) in wrong().into_iter().filter(|(policy, _)| policy["namespace"].is_string()) {
        let _whether_kong_takes_it = gate.node.reload(&[&wrong.to_string()]);
        for worker in 0..4 {
            gate.node.respawn(worker);
        }
        let limit = gate.ask(by("fred")).client.header("x-ratelimit-limit").map(str::to_owned);
        assert_eq!(limit.as_deref(), Some("100"), "{wrong}");
        assert_eq!(rejected(&gate), Some(1), "{wrong}");
    }
    assert_eq!(gate.passed(&by("fay"), 60), 50, "and nobody got a fresh bucket");

    let mut mended = policy();
    mended["tiers"]["free"]["rate"] = json!("200/minute");
    gate.node.reload(&[&mended.to_string()]).unwrap();
    for _ in 0..4 {
        let limit = gate.ask(by("fred")).client.header("x-ratelimit-limit").map(str::to_owned);
        assert_eq!(limit.as_deref(), Some("200"), "what comes then is in force");
    }
    assert_eq!(rejected(&gate), Some(0));
}

#[test]
fn a_mended_policy_is_no_longer_rejected_though_the_old_configuration_lives_on() {
    let with_its_store = || policy_with(json!({ "store": { "upstream": "127.0.0.1:7600" } }));
    let mut wrong = with_its_store();
    wrong["default_tier"] = json!("gold");
    let mut gate = Gate::new(Personality::Kong, 1, &with_its_store());
    gate.ask(by("fay"));
    for _ in 0..2 {
        gate.node.reload_uncollected(&[&wrong.to_string()]).unwrap();
        gate.ask(by("fay"));
        assert_eq!(rejected(&gate), Some(1));
        gate.node.reload_uncollected(&[&with_its_store().to_string()]).unwrap();
        gate.ask(by("fay"));
        assert_eq!(rejected(&gate), Some(0));
    }
}

#[test]
fn of_two_chains_the_one_that_is_rejected_has_the_last_word() {
    let other = policy_with(json!({ "namespace": "other", "default_tier": "gold" })).to_string();
    let mut gate = Gate::new(Personality::Kong, 1, &policy());
    gate.node.reload_uncollected(&[&other, &policy().to_string()]).unwrap();
    for _ in 0..3 {
        // A request passes through both chains.
        gate.ask(by("fay"));
    }
    assert_eq!(rejected(&gate), Some(1));
}

#[test]
fn a_wrong_policy_of_another_service_takes_no_filter_from_this_one() {
    let other = policy_with(json!({ "namespace": "other", "default_tier": "gold" })).to_string();
    let mut gate = Gate::new(Personality::Kong, 2, &policy());
    gate.node.reload(&[&policy().to_string(), &other]).unwrap();
    gate.node.respawn(0);
    assert_eq!(gate.passed(&by("fay"), 160), 150);
    assert_eq!(rejected(&gate), Some(1));
    gate.node.reload(&[&policy().to_string()]).unwrap();
    assert_eq!((gate.passed(&by("fay"), 4), rejected(&gate)), (0, Some(0)));
}

#[test]
fn a_policy_too_long_to_be_kept_is_refused_as_kong_does_it() {
    let many: Vec<Value> =
        (0..2_000).map(|i| json!({ "consumer": format!("worker-{i}"), "tier": "partner" })).collect();
    let mut long = policy_with(json!({ "overrides": many }));
    let mut gate = Gate::new(Personality::Kong, 1, &long);
    long["default_tier"] = json!("gold");
    assert!(gate.node.reload(&[&long.to_string()]).is_err());
    assert_eq!(gate.passed(&by("fay"), 160), 150, "the old one is in force");
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
        // Different hosts in Envoy, or different services in Kong, have two chains: here one after the other.
        let mut gate = Gate::new(personality, 1, &policy());
        assert_eq!(gate.passed(&by("fay"), 160), 150);
        gate.node.reload(&[&policy_with(json!({ "namespace": "other" })).to_string()]).unwrap();
        assert_eq!(gate.passed(&by("fay"), 160), 150);
        gate.node.reload(&[&policy().to_string()]).unwrap();
        assert_eq!(gate.passed(&by("fay"), 10), 0, "the first one's bucket is as it was");
    }
}
