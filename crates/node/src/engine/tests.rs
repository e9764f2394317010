use super::*;
use crate::request::Headers;
use crate::request::tests::{Answers, pairs};
use crate::table::FingerprintKey;
use crate::table::tests::{Fake, Rules};

/// 2026-11-24T00:00:00Z.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);

fn policy(change: impl FnOnce(&mut serde_json::Value)) -> Policy {
    let mut json = serde_json::json!({
        "tiers": {
            "free": {"rate": "4/minute", "burst": 1.5, "monthly": 10},
            "enterprise": {"rate": "unlimited", "monthly": "unlimited"},
        },
        "default_tier": "free",
        "anonymous": {"rate": "2/minute"},
        "identity": {"consumer": [{"header": "x-consumer-username"}], "tier": [{"header": "x-consumer-groups"}]},
        "endpoints": [{"path": "/compare", "cost": 2}, {"path": "/health", "cost": 0}],
    });
    change(&mut json);
    Policy::from_value(&json).unwrap()
}

struct Node {
    engine: Engine,
    store: Fake,
}

impl Node {
    fn new(policy: Policy) -> Self {
        let store = Fake::new(Rules::Envoy);
        let table = Table::open(&store, 64, FingerprintKey([1; 16])).unwrap().table;
        Self { engine: Engine::new(policy, table), store }
    }

    fn ask(&self, path: &str, headers: &[(&str, &str)], now: UnixNanos) -> Option<Option<Ruling>> {
        let bytes = pairs(&[&[(":method", "GET"), (":path", path)], headers].concat());
        let mut gateway = Answers::default();
        gateway.properties.insert("source.address".into(), b"192.0.2.7:4711".to_vec());
        let answer = self.engine.decide(&Request::new(Headers::new(&bytes), &gateway), &self.store, now);
        answer.map(|answer| answer.ruling)
    }

    fn outcome(&self, path: &str, headers: &[(&str, &str)]) -> Outcome {
        self.ask(path, headers, NOW).unwrap().unwrap().outcome
    }
}

const ACME: &[(&str, &str)] = &[("x-consumer-username", "acme")];

#[test]
fn a_tier_gets_its_burst_and_then_a_refusal_that_keeps_its_word() {
    let node = Node::new(policy(|_| {}));
    for _ in 0..2 {
        assert_eq!(node.outcome("/identify", ACME), Outcome::Allowed);
        assert_eq!(node.outcome("/compare?x=1", ACME), Outcome::Allowed);
    }
    let ruling = node.ask("/identify", ACME, NOW).unwrap().unwrap();
    assert_eq!(ruling.outcome, Outcome::RefusedRate);
    let document = node.engine.document(&ruling).unwrap();
    assert_eq!((document.status, document.retry_after), (429, 15));
    assert!(node.engine.refuses(&ruling));
    let until = ruling.refusal.unwrap().until;
    let just_before = node.ask("/identify", ACME, UnixNanos(until.0 - 1)).unwrap().unwrap();
    assert_eq!(just_before.outcome, Outcome::RefusedRate);
    assert_eq!(node.ask("/identify", ACME, until).unwrap().unwrap().outcome, Outcome::Allowed);
}

#[test]
fn the_month_refuses_across_refills() {
    let node = Node::new(policy(|_| {}));
    let mut now = NOW;
    for _ in 0..10 {
        now = now.after(tollgate_core::units::Nanos::from_seconds(60));
        assert_eq!(node.ask("/identify", ACME, now).unwrap().unwrap().outcome, Outcome::Allowed);
    }
    assert_eq!(node.ask("/identify", ACME, now).unwrap().unwrap().outcome, Outcome::RefusedMonth);
}

#[test]
fn what_costs_nothing_is_not_looked_at() {
    let node = Node::new(policy(|_| {}));
    let reads = node.store.reads.get();
    assert_eq!(node.ask("/health", ACME, NOW), Some(None));
    assert_eq!(node.store.reads.get(), reads);
}

#[test]
fn an_unlimited_tier_takes_no_record() {
    let node = Node::new(policy(|_| {}));
    let reads = node.store.reads.get();
    for _ in 0..100 {
        let headers = [("x-consumer-username", "initech"), ("x-consumer-groups", "enterprise")];
        assert_eq!(node.outcome("/compare", &headers), Outcome::Allowed);
    }
    assert_eq!(node.store.reads.get(), reads);
}

#[test]
fn anonymous_clients_are_limited_by_address_and_apart_from_a_consumer_of_that_name() {
    let node = Node::new(policy(|_| {}));
    assert_eq!(node.outcome("/identify", &[]), Outcome::Allowed);
    assert_eq!(node.outcome("/identify", &[]), Outcome::Allowed);
    assert_eq!(node.outcome("/identify", &[]), Outcome::RefusedRate);
    assert_eq!(node.outcome("/identify", &[("x-consumer-username", "192.0.2.7")]), Outcome::Allowed);
}

#[test]
fn shadow_refuses_nobody_and_counts_everybody() {
    let node = Node::new(policy(|json| json["enforcement"] = "shadow".into()));
    for _ in 0..6 {
        assert_eq!(node.outcome("/identify", ACME), Outcome::Allowed);
    }
    let ruling = node.ask("/identify", ACME, NOW).unwrap().unwrap();
    assert_eq!(ruling.outcome, Outcome::ShadowRefused);
    assert_eq!(node.engine.document(&ruling), None);
    assert!(!node.engine.refuses(&ruling));
}

#[test]
fn off_looks_at_nothing() {
    let node = Node::new(policy(|json| json["enforcement"] = "off".into()));
    assert_eq!(node.ask("/compare", ACME, NOW), None);
}

#[test]
fn what_cannot_be_decided_is_for_the_policy_to_say() {
    for (on_failure, status) in [
        (None, Some(429)),
        (Some("local"), Some(429)),
        (Some("ip"), Some(429)),
        (Some("closed"), Some(503)),
        (Some("open"), None),
    ] {
        let node = Node::new(policy(|json| {
            if let Some(on_failure) = on_failure {
                json["tiers"]["free"]["on_failure"] = on_failure.into();
            }
        }));
        node.store.go_down();
        let ruling = node.ask("/identify", ACME, NOW).unwrap().unwrap();
        assert_eq!(ruling.outcome, Outcome::Error);
        assert_eq!(node.engine.document(&ruling).map(|document| document.status), status, "{on_failure:?}");
        assert_eq!(node.engine.refuses(&ruling), status.is_some());
        let mut headers = Vec::new();
        node.engine.announce(Some(&ruling), |name, value| headers.push((name, value.map(<[u8]>::to_vec))));
        assert!(headers.iter().all(|(_, value)| value.is_none()), "no number is made up: {headers:?}");
    }
}

#[test]
fn policies_of_two_namespaces_keep_two_buckets() {
    let node = Node::new(policy(|_| {}));
    let other = Node {
        engine: Engine::new(policy(|json| json["namespace"] = "other".into()), node.engine.table.clone()),
        store: Fake::new(Rules::Envoy),
    };
    for _ in 0..6 {
        assert_eq!(node.outcome("/identify", ACME), Outcome::Allowed);
    }
    assert_eq!(node.outcome("/identify", ACME), Outcome::RefusedRate);
    let bytes = pairs(&[(":path", "/identify"), ACME[0]]);
    let gateway = Answers::default();
    let answer =
        other.engine.decide(&Request::new(Headers::new(&bytes), &gateway), &node.store, NOW).unwrap();
    assert_eq!(answer.ruling.unwrap().outcome, Outcome::Allowed);
}

#[test]
fn a_price_that_the_host_says_is_charged_instead_of_the_policys() {
    let node = Node::new(policy(|_| {}));
    let charge = |cost: u64| {
        let bytes = pairs(&[(":method", "GET"), (":path", "/health"), ("x-consumer-username", "acme")]);
        let gateway =
            Answers { price: Some(Price { cost: Cost(cost), settles: false }), ..Answers::default() };
        let request = Request::new(Headers::new(&bytes), &gateway);
        node.engine.decide(&request, &node.store, NOW).unwrap().ruling
    };
    assert_eq!(charge(0), None, "free is free whoever says so");
    assert_eq!(charge(5_500).unwrap().outcome, Outcome::Allowed);
    assert_eq!(charge(501).unwrap().outcome, Outcome::RefusedRate);
    let ruling = charge(500).unwrap();
    assert_eq!((ruling.outcome, ruling.account.unwrap().used), (Outcome::Allowed, Cost(6_000)));
    let never = charge(6_001).unwrap();
    assert_eq!(never.outcome, Outcome::Error);
    assert!(!node.engine.can_hold(&never.under, Cost(6_001)));
    assert!(node.engine.can_hold(&never.under, Cost(6_000)));
}
