//! What policies mean. The modules below test every message about a policy that is wrong.

mod fields;
mod properties;
mod values;

use crate::units::Millis;
use serde_json::json;

use super::*;
use crate::limit::{Limit, Period};
use crate::policy::{Source, StoreMode, Token};
use crate::price::{Pattern, Price, Rule};
use crate::tier::Tier;
use crate::units::Cost;

/// As a change for [`with`], removes the field.
const GONE: &str = "(gone)";

/// The smallest policy with `changes` applied.
fn with(changes: Value) -> Value {
    fn lay(over: &mut Value, changes: Value) {
        match (over, changes) {
            (Value::Object(fields), Value::Object(changes)) => {
                for (name, change) in changes {
                    if change == GONE {
                        fields.remove(&name);
                    } else {
                        lay(fields.entry(name).or_insert(Value::Null), change);
                    }
                }
            }
            (over, changes) => *over = changes,
        }
    }
    let mut document = serde_json::from_str(MINIMAL).unwrap();
    lay(&mut document, changes);
    document
}

fn policy(changes: Value) -> Policy {
    Policy::from_value(&with(changes)).unwrap()
}

fn problems(changes: Value) -> Vec<String> {
    Policy::from_value(&with(changes)).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The store of a policy that has one, as the node will use it.
fn store(store: Value) -> crate::policy::Store {
    let raw = shape::read(&with(json!({ "store": store }))).unwrap();
    let mut checker = Checker { problems: Vec::new() };
    let read = checker.store(&raw.store.unwrap());
    assert!(checker.problems.is_empty(), "{:?}", checker.problems);
    read
}

#[track_caller]
fn says(table: &[(Value, &str)]) {
    for (changes, expected) in table {
        let mut said = problems(changes.clone());
        if changes.get("store").is_some() && said.len() > 1 {
            assert!(said.pop().unwrap().contains("next version"));
        }
        assert_eq!(said, [*expected], "{changes}");
    }
}

fn header(name: &str) -> Source {
    Source::Header(name.to_owned())
}

fn property(path: &str) -> Source {
    Source::Property(path.split('.').map(str::to_owned).collect())
}

#[test]
fn the_smallest_policy_has_the_documented_defaults() {
    let policy = policy(json!({}));
    assert_eq!(policy.namespace, "default");
    assert_eq!(policy.enforcement, Enforcement::Enforce);
    let limits = vec![Limit::new(100, Period::Minute, 100).unwrap()];
    let free = Tier { name: "free".to_owned(), limits, monthly: None, on_failure: None };
    assert_eq!(policy.tiers, [free]);
    assert_eq!(policy.default_tier, TierId(0));
    assert_eq!(policy.anonymous.name, "anonymous");
    assert_eq!(policy.anonymous.limits, [Limit::new(30, Period::Minute, 100).unwrap()]);
    assert_eq!(
        policy.identity.consumer,
        [property("kong.ctx.shared.tollgate_consumer"), header("x-consumer-username")]
    );
    assert_eq!(
        policy.identity.tier,
        [property("kong.ctx.shared.tollgate_tier"), header("x-consumer-groups")]
    );
    assert_eq!(policy.endpoints, []);
    assert_eq!(policy.default_cost, Cost(1_000));
    assert!(policy.overrides.is_empty());
    assert_eq!(policy.headers, HeaderFamilies { x_ratelimit: true, ietf: true });
    assert!(policy.tells_upstream);
    assert_eq!(policy.store, None);
    assert_eq!(policy.clients, 65_536);
}

/// A policy with a value of its own in every field.
fn full() -> Policy {
    policy(json!({
        "namespace": "Finger.print_1-x",
        "enforcement": "shadow",
        "tiers": {
            "free": { "rate": "100/minute", "burst": 1.5, "monthly": 50_000 },
            "many": { "rate": [{ "rate": "20/second", "burst": 1 }, "100/minute", { "rate": "5/hour" }], "burst": 2.25 },
            "all": { "rate": "unlimited", "monthly": "unlimited", "on_failure": "closed" },
        },
        "default_tier": "many",
        "anonymous": { "rate": "unlimited", "on_failure": "open" },
        "identity": { "consumer": [{ "header": "X-Who" }], "tier": [{ "property": "a.b" }, { "header": "x-groups" }] },
        "endpoints": [
            { "path": "/batch", "cost": 0.5, "methods": ["POST", "M-SEARCH"], "settle": true },
            { "path": "/v1/*", "cost": 0 },
        ],
        "refund": ["5xx", 422],
        "default_cost": 2.125,
        "overrides": [{ "consumer": "billing worker", "tier": "all" }],
        "headers": { "x_ratelimit": false, "ietf": false, "upstream": false },
        "memory": { "clients": 64 },
    }))
}

#[test]
fn every_field_says_what_it_says() {
    let policy = full();
    assert_eq!(policy.namespace, "Finger.print_1-x");
    assert_eq!(policy.enforcement, Enforcement::Shadow);
    assert_eq!(
        policy.tiers.iter().map(|tier| tier.name.as_str()).collect::<Vec<_>>(),
        ["all", "free", "many"]
    );
    assert!(policy.tiers[0].is_unlimited());
    assert_eq!(policy.tiers[0].on_failure, Some(OnFailure::Closed));
    assert_eq!(policy.tiers[1].limits, [Limit::new(100, Period::Minute, 150).unwrap()]);
    assert_eq!(policy.tiers[1].monthly, Some(Cost::from_units(50_000)));
    assert_eq!(
        policy.tiers[2].limits,
        [
            Limit::new(20, Period::Second, 100).unwrap(),
            Limit::new(100, Period::Minute, 225).unwrap(),
            Limit::new(5, Period::Hour, 225).unwrap()
        ]
    );
    assert_eq!(policy.default_tier, TierId(2));
    assert!(policy.anonymous.is_unlimited());
    assert_eq!(policy.anonymous.on_failure, Some(OnFailure::Open));
    assert_eq!(policy.identity.consumer, [header("x-who")]);
    assert_eq!(policy.identity.tier, [property("a.b"), header("x-groups")]);
    assert_eq!(
        policy.endpoints,
        [
            Rule {
                pattern: Pattern::Exact("/batch".to_owned()),
                methods: vec!["POST".to_owned(), "M-SEARCH".to_owned()],
                price: Price { cost: Cost(500), settles: true }
            },
            Rule { pattern: Pattern::Prefix("/v1".to_owned()), methods: vec![], price: Price::default() },
        ]
    );
    assert_eq!(policy.default_cost, Cost(2_125));
    assert!(policy.refund.covers(599) && policy.refund.covers(422) && !policy.refund.covers(404));
    assert_eq!(policy.overrides.get("billing worker"), Some(&TierId(0)));
    assert_eq!(policy.headers, HeaderFamilies { x_ratelimit: false, ietf: false });
    assert!(!policy.tells_upstream);
    assert_eq!(policy.clients, 64);
}

#[test]
fn numbers_may_come_as_the_doubles_of_envoys_struct() {
    let policy = policy(json!({
        "tiers": { "free": { "burst": 2.0, "monthly": 50_000.0 } },
        "default_cost": 1.0,
        "memory": { "clients": 1e5 },
    }));
    assert_eq!(policy.tiers[0].limits, [Limit::new(100, Period::Minute, 200).unwrap()]);
    assert_eq!(policy.tiers[0].monthly, Some(Cost::from_units(50_000)));
    assert_eq!(policy.default_cost, Cost(1_000));
    assert_eq!(policy.clients, 100_000);
}

#[test]
fn numbers_may_come_as_the_text_that_envoys_yaml_reader_makes_of_them() {
    let policy = policy(json!({
        "tiers": { "free": { "rate": [{ "rate": "100/minute", "burst": "1.25" }], "monthly": "5000000000" } },
        "default_cost": "0.5",
        "memory": { "clients": "65536.0" },
    }));
    assert_eq!(policy.tiers[0].limits, [Limit::new(100, Period::Minute, 125).unwrap()]);
    assert_eq!(policy.tiers[0].monthly, Some(Cost::from_units(5_000_000_000)));
    assert_eq!(policy.default_cost, Cost(500));
    assert_eq!(policy.clients, 65_536);
}

#[test]
fn off_may_come_as_the_false_that_yaml_readers_make_of_it() {
    assert_eq!(policy(json!({ "enforcement": "off" })).enforcement, Enforcement::Off);
    assert_eq!(policy(json!({ "enforcement": false })).enforcement, Enforcement::Off);
}

#[test]
fn an_empty_list_may_come_as_kongs_empty_object() {
    let policy =
        policy(json!({ "endpoints": {}, "overrides": {}, "identity": { "consumer": {}, "tier": [] } }));
    assert_eq!(policy.identity.consumer, []);
    assert_eq!(policy.identity.tier, []);
}

#[test]
fn a_store_is_read_whole_although_it_does_not_work_yet() {
    let read = store(json!({ "upstream": "127.0.0.1:7600" }));
    assert_eq!((read.mode, read.on_failure), (StoreMode::Leased, OnFailure::Local));
    assert_eq!((read.timeout, read.sync_interval, read.token), (Millis(50), Millis(100), None));
    let read = store(json!({
        "upstream": "tollgate_store", "mode": "strict", "timeout": "1ms", "sync_interval": "10s",
        "token": "0123456789abcdef", "on_failure": "ip",
    }));
    assert_eq!(read.upstream, "tollgate_store");
    assert_eq!((read.mode, read.on_failure), (StoreMode::Strict, OnFailure::Ip));
    assert_eq!((read.timeout, read.sync_interval), (Millis(1), Millis(10_000)));
    assert_eq!(read.token, Some(Token::Literal("0123456789abcdef".to_owned())));
    let read = store(json!({ "upstream": "s", "token": { "env": "TOLLGATE_TOKEN" } }));
    assert_eq!(read.token, Some(Token::Env("TOLLGATE_TOKEN".to_owned())));
}

#[test]
fn all_wrong_values_are_reported_in_one_run() {
    let said = problems(json!({
        "namespace": "", "default_tier": "x", "default_cost": -1, "memory": { "clients": 1 },
        "tiers": { "free": { "rate": "x", "burst": 0, "monthly": 0 } }, "anonymous": { "rate": "y" },
    }));
    let places: Vec<&str> = said.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "namespace",
            "default_cost",
            "tiers.free.burst",
            "tiers.free.rate",
            "tiers.free.monthly",
            "default_tier",
            "anonymous.rate",
            "memory.clients"
        ]
    );
}

#[test]
fn a_long_wrong_value_is_cut_in_the_message() {
    let said = problems(json!({ "namespace": "é".repeat(1000) }));
    assert!(said[0].len() < 250, "{said:?}");
    assert!(said[0].contains('…'));
}
