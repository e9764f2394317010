//! Compares the schema by which Kong checks a policy with the filter's parser.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

mod fields;

use std::sync::LazyLock;

use jsonschema::{Draft, Validator};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};
use tollgate_core::policy::{Policy, schema};

fn validator() -> Validator {
    jsonschema::options().with_draft(Draft::Draft4).build(&schema::config()).unwrap()
}

/// Whether the parser accepts a policy.
fn parses(policy: &Value) -> bool {
    Policy::from_json(policy.to_string().as_bytes()).is_ok()
}

/// A policy with every field; the tables below replace its fields.
fn whole() -> Value {
    json!({
        "namespace": "fingerprint",
        "enforcement": "enforce",
        "tiers": {
            "free": { "rate": "100/minute", "burst": 1.5, "monthly": 50_000, "on_failure": "open" },
            "pro": { "rate": [{ "rate": "200/second", "burst": 1 }, "1000/minute", "5000/day"], "burst": 2 },
            "all": { "rate": "unlimited", "monthly": "unlimited" },
        },
        "default_tier": "free",
        "anonymous": { "rate": "30/minute", "on_failure": "local" },
        "identity": {
            "consumer": [{ "property": "kong.ctx.shared.x" }, { "header": "x-consumer-username" }],
            "tier": [{ "header": "x-consumer-groups" }],
        },
        "endpoints": [{ "path": "/batch", "methods": ["POST", "PUT"], "cost": 1 }, { "path": "/v1/*", "cost": 0.5 }],
        "default_cost": 1,
        "overrides": [{ "consumer": "billing", "tier": "all" }],
        "headers": { "x_ratelimit": true, "ietf": false },
        "store": {
            "upstream": "127.0.0.1:7600", "mode": "strict", "timeout": "50ms", "sync_interval": "100ms",
            "token": "0123456789abcdef", "on_failure": "closed",
        },
        "memory": { "clients": 65_536 },
    })
}

/// [`whole`] with `value` at a JSON pointer, or without the field.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut policy = whole();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match (policy.pointer_mut(parent).unwrap(), value) {
        (Value::Object(fields), Some(value)) => drop(fields.insert(name.to_owned(), value)),
        (Value::Object(fields), None) => drop(fields.remove(name)),
        (Value::Array(list), Some(value)) => list[name.parse::<usize>().unwrap()] = value,
        (parent, _) => panic!("{pointer}: {parent}"),
    }
    policy
}

#[test]
fn schema_and_parser_take_and_refuse_the_same_values() {
    let schema = validator();
    assert!(schema.is_valid(&whole()) && parses(&whole()));
    for field in fields::fields() {
        let judged = |value: Option<Value>, expected: bool| {
            let policy = with(field.pointer, value.clone());
            let told = format!("{} {}", field.pointer, value.unwrap_or_else(|| "(absent)".into()));
            assert_eq!(schema.is_valid(&policy), expected, "schema: {told}");
            assert_eq!(parses(&policy), expected, "parser: {told}");
        };
        // Whatever refers to the tier has to go too.
        if !matches!(field.pointer, "/tiers/all" | "/endpoints/0" | "/overrides/0" | "/identity/tier/0") {
            judged(None, field.may_be_absent);
        }
        for good in field.good.as_array().unwrap() {
            judged(Some(good.clone()), true);
        }
        for bad in field.bad.as_array().unwrap() {
            judged(Some(bad.clone()), false);
        }
    }
}

#[test]
fn schema_and_parser_refuse_unknown_fields_everywhere() {
    let schema = validator();
    let objects = [
        "",
        "/tiers/free",
        "/tiers/pro/rate/0",
        "/anonymous",
        "/identity",
        "/identity/tier/0",
        "/endpoints/0",
        "/overrides/0",
        "/headers",
        "/store",
        "/memory",
    ];
    for object in objects {
        let policy = with(&format!("{object}/unknown"), Some(json!(1)));
        assert!(!schema.is_valid(&policy), "schema: {object}");
        assert!(!parses(&policy), "parser: {object}");
    }
}

#[test]
fn schema_and_parser_count_alike() {
    let schema = validator();
    let tiers = |count: usize| {
        let mut tiers: Map<String, Value> =
            (0..count).map(|i| (format!("t{i}"), json!({ "rate": "99/day" }))).collect();
        tiers.insert("free".to_owned(), json!({ "rate": "99/day" }));
        json!({ "tiers": tiers, "default_tier": "free", "anonymous": { "rate": "30/minute" } })
    };
    let endpoints = |count: usize| {
        let list: Vec<Value> = (0..count).map(|i| json!({ "path": format!("/{i}"), "cost": 1 })).collect();
        with("/endpoints", Some(list.into()))
    };
    let sources =
        |count: usize| with("/identity/consumer", Some(vec![json!({ "header": "a" }); count].into()));
    for (policy, expected) in [
        (tiers(63), true),
        (tiers(64), false),
        (endpoints(10_000), true),
        (endpoints(10_001), false),
        (sources(8), true),
        (sources(9), false),
    ] {
        assert_eq!(schema.is_valid(&policy), expected);
        assert_eq!(parses(&policy), expected);
    }
}

#[test]
fn what_no_schema_can_say_the_parser_says() {
    let schema = validator();
    let parser_only = [
        // References to nothing.
        ("/default_tier", json!("gone")),
        ("/overrides/0/tier", json!("gone")),
        // Values that do not fit together.
        ("/tiers/all", json!({ "rate": "unlimited", "burst": 2 })),
        ("/overrides", json!([{ "consumer": "a", "tier": "all" }, { "consumer": "a", "tier": "pro" }])),
        ("/endpoints", json!([{ "path": "/a", "cost": 1 }, { "path": "/a", "cost": 2 }])),
        ("/endpoints/0/cost", json!(31)),
        ("/default_cost", json!(1_000_000)),
        ("/tiers/free/rate", json!("1000003/day")),
        // Spellings that never match.
        ("/endpoints/0/path", json!("/a//b")),
        ("/endpoints/0/path", json!("/a/*/b")),
        ("/endpoints/0/path", json!("/%61")),
        // The parser counts bytes, the schema characters.
        ("/overrides/0/consumer", json!("é".repeat(200))),
        // Too many decimals: Kong's multipleOf divides doubles.
        ("/tiers/free/burst", json!(1.125)),
        ("/default_cost", json!(0.0001)),
        // For text the pattern gives only a rough range.
        ("/memory/clients", json!("63")),
        ("/memory/clients", json!("9999999")),
    ];
    for (pointer, value) in parser_only {
        let policy = with(pointer, Some(value.clone()));
        assert!(schema.is_valid(&policy), "schema: {pointer} {value}");
        assert!(!parses(&policy), "parser: {pointer} {value}");
    }
}

/// Lists that may be empty.
const LISTS: [&str; 4] = ["/endpoints", "/overrides", "/identity/consumer", "/identity/tier"];

/// Lua has one empty table for both, and Kong passes on `{}` for `[]`; its schema check accepts either.
#[test]
fn kongs_empty_list_only_the_parser_has_to_take() {
    let schema = validator();
    for pointer in LISTS {
        let policy = with(pointer, Some(json!({})));
        assert!(!schema.is_valid(&policy) && parses(&policy), "{pointer}");
    }
}

#[test]
fn the_schema_is_draft_4_and_nothing_later() {
    let schema = schema::config();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-04/schema#");
    assert!(jsonschema::draft4::meta::is_valid(&schema));
    // Keywords of later drafts, which a draft-04 validator ignores.
    let later = [
        "const",
        "contains",
        "propertyNames",
        "if",
        "then",
        "else",
        "examples",
        "$defs",
        "$id",
        "dependentRequired",
        "unevaluatedProperties",
        "prefixItems",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "$ref",
    ];
    fn walk(schema: &Value, later: &[&str], is_properties: bool) {
        match schema {
            Value::Object(words) => {
                for (word, value) in words {
                    assert!(is_properties || !later.contains(&word.as_str()), "{word}");
                    walk(
                        value,
                        later,
                        matches!(word.as_str(), "properties" | "patternProperties") && !is_properties,
                    );
                }
            }
            Value::Array(list) => list.iter().for_each(|schema| walk(schema, later, false)),
            _ => {}
        }
    }
    walk(&schema, &later, false);
}

/// Kong's validator (lua-resty-ljsonschema) stops at the first mistake. In an object it checks first the known fields, with
/// those that are required, then unknown fields, and `allOf` last: only there a required field does not hide that its name
/// is misspelled.
#[test]
fn kong_is_told_of_a_misspelt_field_before_one_that_is_missing() {
    fn walk(schema: &Value, found: &mut usize) {
        match schema {
            Value::Object(words) => {
                if words.get("additionalProperties") == Some(&json!(false)) {
                    assert_eq!(words.get("required"), None, "{schema}");
                    *found +=
                        usize::from(words.get("allOf").is_some_and(|all| all[0]["required"].is_array()));
                }
                words.values().for_each(|value| walk(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = 0;
    walk(&schema::config(), &mut found);
    assert!(found >= 7, "{found}");
}

/// The places in a document, as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = format!("{at}/{name}");
                pointers(value, &at, found);
                found.push(at);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                let at = format!("{at}/{index}");
                pointers(value, &at, found);
                found.push(at);
            }
        }
        _ => {}
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(vec![
            json!(null),
            json!(true),
            json!(false),
            json!([]),
            json!({}),
            json!(""),
            json!("unlimited"),
            json!("free"),
            json!("1/day"),
            json!("1.5"),
            json!("50ms"),
            json!({ "rate": "1/day" }),
            json!([{ "header": "a" }]),
            json!([1]),
            json!(["GET"]),
        ]),
        any::<i64>().prop_map(Value::from),
        (-10_i64..2_000).prop_map(Value::from),
        (0_u32..200_000).prop_map(|hundredths| json!(f64::from(hundredths) / 100.0)),
        "[a-z0-9/.:_ -]{0,12}".prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// The schema is never stricter than the filter.
    #[test]
    fn what_the_schema_refuses_the_parser_refuses(
        changes in prop::collection::vec((any::<Index>(), odd_value(), any::<bool>()), 1..4)
    ) {
        let mut policy = whole();
        for (place, value, remove) in changes {
            let mut places = Vec::new();
            pointers(&policy, "", &mut places);
            if places.is_empty() {
                break;
            }
            let at = place.get(&places).clone();
            let (parent, name) = at.rsplit_once('/').unwrap();
            match policy.pointer_mut(parent).unwrap() {
                Value::Object(fields) if remove => drop(fields.remove(name)),
                Value::Object(fields) => drop(fields.insert(name.to_owned(), value)),
                Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
                _ => {}
            }
        }
        static SCHEMA: LazyLock<Validator> = LazyLock::new(validator);
        let has_kongs_empty_list = LISTS.iter().any(|list| policy.pointer(list) == Some(&json!({})));
        if !SCHEMA.is_valid(&policy) && !has_kongs_empty_list {
            prop_assert!(!parses(&policy), "{policy}");
        }
    }
}
