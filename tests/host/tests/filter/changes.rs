//! Limits that change: what was used stays used; leases and refusals under other limits no longer count.

use serde_json::{Value, json};
use tollgate_core::client::Client;
use tollgate_core::client::Namespace;
use tollgate_core::terms::{Offer, Rate};
use tollgate_core::wire::{Change, ChangeKind};
use tollgate_host::Request;

use crate::fake_store::{Nodes, on_both};
use crate::{by, number, on_every_gate, policy_with};

/// A policy with the default tier `mini` and the other tier `maxi`.
fn two_tiers(mini: Value, maxi: Value) -> Value {
    policy_with(
        json!({ "tiers": { "mini": mini, "maxi": maxi }, "default_tier": "mini", "overrides": [], "endpoints": [] }),
    )
}

fn rate(rate: &str) -> Value {
    json!({ "rate": rate })
}

fn maxi() -> Request {
    by("acme").header("x-consumer-groups", "maxi")
}

#[test]
fn what_was_used_under_a_smaller_limit_stays_used_under_the_larger() {
    let policy = two_tiers(rate("45/minute"), rate("100/minute"));
    on_every_gate(&policy, |gate| {
        assert_eq!(gate.passed(&by("acme"), 20), 20);
        let upgraded = gate.ask(maxi());
        assert_eq!((upgraded.client.status, number(&upgraded, "x-ratelimit-limit")), (200, 100));
        assert_eq!(number(&upgraded, "x-ratelimit-remaining"), 79);
        assert_eq!(gate.passed(&maxi(), 200), 79);
    });
    // The same change by a reload of the tier, by a static override, and for anonymous clients.
    let reloads = [
        two_tiers(rate("100/minute"), rate("100/minute")),
        policy_with(json!({
            "tiers": { "mini": rate("45/minute"), "maxi": rate("100/minute") }, "default_tier": "mini",
            "overrides": [{ "consumer": "acme", "tier": "maxi" }],
        })),
    ];
    for changed in reloads {
        on_every_gate(&policy, |gate| {
            assert_eq!(gate.passed(&by("acme"), 20), 20);
            gate.node.reload(&[&changed.to_string()]).unwrap();
            assert_eq!(gate.passed(&by("acme"), 200), 80);
        });
    }
    on_every_gate(&policy_with(json!({ "anonymous": rate("30/minute") })), |gate| {
        assert_eq!(gate.passed(&Request::get("/identify"), 20), 20);
        gate.node.reload(&[&policy_with(json!({ "anonymous": rate("70/minute") })).to_string()]).unwrap();
        assert_eq!(gate.passed(&Request::get("/identify"), 200), 50);
    });
}

#[test]
fn two_policies_of_one_namespace_hand_out_no_bucket_twice() {
    let (small, large) =
        (two_tiers(rate("70/minute"), rate("1/hour")), two_tiers(rate("100/minute"), rate("1/hour")));
    on_every_gate(&small, |gate| {
        assert_eq!(gate.passed(&by("acme"), 100), 70);
        gate.node.reload(&[&large.to_string()]).unwrap();
        assert_eq!(gate.passed(&by("acme"), 1), 1);
        gate.node.reload(&[&small.to_string()]).unwrap();
        assert_eq!(gate.passed(&by("acme"), 100), 0);
        gate.node.reload(&[&large.to_string()]).unwrap();
        assert_eq!(gate.passed(&by("acme"), 100), 29);
        gate.node.reload(&[&small.to_string()]).unwrap();
        assert_eq!(gate.passed(&by("acme"), 100), 0);
    });
}

#[test]
fn a_client_that_has_spent_a_limit_that_is_lowered_is_refused_until_it_has_drained() {
    on_every_gate(&two_tiers(rate("100/minute"), rate("1/hour")), |gate| {
        assert_eq!(gate.passed(&by("acme"), 100), 100);
        gate.node.reload(&[&two_tiers(rate("90/minute"), rate("1/hour")).to_string()]).unwrap();
        let refused = gate.ask(by("acme"));
        assert_eq!((refused.client.status, number(&refused, "x-ratelimit-remaining")), (429, 0));
        // Ten units drain at 100 per minute and one at 90.
        assert_eq!(number(&refused, "retry-after"), 7);
        gate.wait(std::time::Duration::from_secs(7));
        assert_eq!(gate.passed(&by("acme"), 100), 1);
    });
}

#[test]
fn a_second_limit_begins_where_the_first_one_was() {
    let two = json!({ "rate": [{ "rate": "10/second" }, { "rate": "100/minute" }] });
    on_every_gate(&two_tiers(rate("45/minute"), two), |gate| {
        assert_eq!(gate.passed(&by("acme"), 20), 20);
        let passed: usize = (0..12)
            .map(|_| {
                let passed = gate.passed(&maxi(), 15);
                gate.wait(std::time::Duration::from_secs(1));
                passed
            })
            .sum();
        assert!((98..=99).contains(&passed), "80 and what 11 seconds give back: {passed}");
        assert!(gate.passed(&by("acme"), 100) == 0, "and back");
    });
}

/// The ways in which a consumer gets other limits.
const WAYS: [&str; 4] = ["tier", "reload", "static override", "override"];

fn with_store(tiers: &Value, mode: &str) -> Value {
    let mut policy = tiers.clone();
    policy["store"] = json!({ "upstream": "127.0.0.1:7600", "mode": mode });
    policy
}

/// Moves `acme` to `maxi` in one of these ways. Returns the request that it sends from then on.
fn upgrade(nodes: &mut Nodes, policy: &Value, way: &str, offer: &Offer) -> Request {
    let mut changed = policy.clone();
    match way {
        "tier" => return maxi(),
        "reload" => changed["tiers"]["mini"] = changed["tiers"]["maxi"].clone(),
        "static override" => changed["overrides"] = json!([{ "consumer": "acme", "tier": "maxi" }]),
        _ => {
            let id = Namespace::new("fingerprint").id(&Client::Consumer(b"acme"));
            nodes.bank.changes = vec![Change { client: id, what: ChangeKind::Override(offer.clone()) }];
            nodes.bank.revision = 1;
            nodes.wait(1_500);
            return by("acme");
        }
    }
    for gate in &mut nodes.gates {
        gate.node.reload(&[&changed.to_string()]).unwrap();
    }
    by("acme")
}

#[test]
fn a_refusal_of_the_month_is_the_old_tiers_and_no_longer_counts() {
    let tiers = two_tiers(
        json!({ "rate": "100/minute", "monthly": 5 }),
        json!({ "rate": "1000/minute", "monthly": 1000 }),
    );
    let rates = vec![Rate { units: 1_000, seconds: 60, burst: 100 }];
    let offer = Offer { tier: "maxi".into(), rates, monthly: Some(1_000) };
    for (mode, way) in ["leased", "strict"].into_iter().flat_map(|mode| WAYS.map(|way| (mode, way))) {
        println!("{mode}, by {way}");
        let policy = with_store(&tiers, mode);
        on_both(2, &policy, |nodes| {
            assert_eq!((0..20).filter(|_| nodes.status(0, by("acme")) == 200).count(), 5);
            let request = upgrade(nodes, &policy, way, &offer);
            // This node does not know yet what the other node has used since.
            for (node, left) in [(0, 994..=994), (1, 993..=993), (0, 992..=993)] {
                let exchange = nodes.ask(node, request.clone());
                assert_eq!((exchange.client.status, number(&exchange, "x-ratelimit-limit")), (200, 1_000));
                let shown = number(&exchange, "x-quota-monthly-remaining");
                assert!(left.contains(&shown), "{shown} of {left:?}");
                let name = if way == "reload" { "mini" } else { "maxi" };
                assert_eq!(exchange.client.header("x-quota-tier"), Some(name));
                nodes.wait(1_000);
            }
        });
    }
}

#[test]
fn a_refusal_of_a_rate_is_the_old_tiers_and_no_longer_counts() {
    let tiers = two_tiers(rate("20/hour"), rate("1000/minute"));
    let rates = vec![Rate { units: 1_000, seconds: 60, burst: 100 }];
    let offer = Offer { tier: "maxi".into(), rates, monthly: None };
    for way in WAYS {
        println!("by {way}");
        let policy = with_store(&tiers, "leased");
        on_both(1, &policy, |nodes| {
            assert_eq!((0..40).filter(|_| nodes.status(0, by("acme")) == 200).count(), 20);
            let request = upgrade(nodes, &policy, way, &offer);
            let exchange = nodes.ask(0, request);
            assert_eq!((exchange.client.status, number(&exchange, "x-ratelimit-limit")), (200, 1_000));
        });
    }
}

#[test]
fn while_the_store_is_away_the_old_tiers_refusal_does_not_count_either() {
    let tiers = two_tiers(
        json!({ "rate": "20/hour", "monthly": 20 }),
        json!({ "rate": "1000/minute", "monthly": 1000 }),
    );
    for way in ["tier", "reload", "static override"] {
        println!("by {way}");
        let policy = with_store(&tiers, "leased");
        on_both(1, &policy, |nodes| {
            assert_eq!((0..40).filter(|_| nodes.status(0, by("acme")) == 200).count(), 20);
            nodes.bank.fails = true;
            assert_eq!(nodes.status(0, by("acme")), 429);
            let request = upgrade(nodes, &policy, way, &Offer::default());
            // On Kong a request asks once: each of the two workers refuses two until its third call fails.
            let mut answers = (0..5).map(|_| nodes.ask(0, request.clone()));
            let exchange = answers.find(|exchange| exchange.client.status == 200).expect("the store is away");
            assert_eq!(number(&exchange, "x-ratelimit-limit"), 1_000);
            assert_eq!(number(&exchange, "x-quota-monthly-remaining"), 979);
            let passed = (0..2_000).filter(|_| nodes.status(0, request.clone()) == 200).count();
            assert_eq!(passed, 979, "what it used stays used");
        });
    }
}

#[test]
fn what_was_lent_under_a_larger_limit_is_given_back_not_spent() {
    on_both(1, &with_store(&two_tiers(rate("10/minute"), rate("1000/minute")), "leased"), |nodes| {
        for _ in 0..4 {
            assert_eq!(nodes.status(0, maxi()), 200);
        }
        assert_eq!((0..40).filter(|_| nodes.status(0, by("acme")) == 200).count(), 6);
        nodes.wait(1_000);
        assert_eq!(nodes.bank.used("acme", nodes.now()), 10);
    });
}

#[test]
fn requests_under_two_limits_that_wait_at_once_are_each_decided_by_their_own() {
    let policy =
        with_store(&two_tiers(json!({ "rate": "100/minute", "monthly": 1 }), rate("100/minute")), "leased");
    on_both(1, &policy, |nodes| {
        assert_eq!((nodes.status(0, by("acme")), nodes.status(0, by("acme"))), (200, 429));
        nodes.wait(100);
        let asked: Vec<_> = [by("bob"), by("bob").header("x-consumer-groups", "maxi"), by("bob")]
            .map(|request| nodes.gates[0].ask(request))
            .into_iter()
            .collect();
        assert!(asked.iter().all(|one| one.paused.is_some()));
        let mut done = Vec::new();
        for _ in 0..8 {
            done.extend(nodes.serve(0).into_iter().filter(|one| one.paused.is_none()));
        }
        let mut outcomes: Vec<_> = done
            .iter()
            .map(|one| (one.client.header("x-quota-tier").unwrap_or("").to_owned(), one.client.status))
            .collect();
        outcomes.sort();
        let mini = |status| ("mini".to_owned(), status);
        assert_eq!(outcomes, [("maxi".to_owned(), 200), mini(200), mini(429)]);
    });
}
