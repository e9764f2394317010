//! Documents and fields that are wrong as a whole.

use serde_json::json;

use super::{GONE, says};
use crate::policy::Policy;
use crate::policy::parse::{MINIMAL, document};

#[test]
fn unknown_fields_are_explained() {
    says(&[
        (
            json!({ "name": 1 }),
            "name: is not a field; write one of namespace, enforcement, tiers, default_tier, anonymous, identity, \
             endpoints, default_cost, refund, overrides, headers, store, memory, or remove it",
        ),
        (
            json!({ "tiers": { "free": { "brust": 1 } } }),
            "tiers.free.brust: is not a field; write one of rate, burst, monthly, on_failure, or remove it",
        ),
        (
            json!({ "anonymous": { "monthly": 1 } }),
            "anonymous.monthly: is not a field; write one of rate, burst, on_failure, or remove it",
        ),
    ]);
}

#[test]
fn missing_fields_are_explained() {
    says(&[
        (json!({ "tiers": GONE }), "tiers: is missing; write tiers: { free: { rate: 100/minute } }"),
        (
            json!({ "default_tier": GONE }),
            "default_tier: is missing; write default_tier: and the name of the tier for consumers whose tier nothing \
             says",
        ),
        (
            json!({ "anonymous": GONE }),
            "anonymous: is missing; write anonymous: { rate: 30/minute }, or anonymous: { rate: unlimited }",
        ),
        (
            json!({ "tiers": { "free": { "rate": GONE } } }),
            "tiers.free.rate: is missing; write rate: 100/minute, or rate: unlimited",
        ),
        (
            json!({ "endpoints": [{ "cost": 1 }] }),
            "endpoints[0].path: is missing; write path: /search, or path: /v1/* for all below it",
        ),
        (
            json!({ "endpoints": [{ "path": "/a" }] }),
            "endpoints[0].cost: is missing; write cost: 1, or cost: 0 for what is never limited",
        ),
        (
            json!({ "overrides": [{ "tier": "free" }] }),
            "overrides[0].consumer: is missing; write consumer: and the name of the consumer that the override is for",
        ),
        (
            json!({ "overrides": [{ "consumer": "a" }] }),
            "overrides[0].tier: is missing; write tier: and the name of one of the tiers",
        ),
        (
            json!({ "store": {} }),
            "store.upstream: is missing; write upstream: 127.0.0.1:7600 (Kong), or the name of a cluster (Envoy)",
        ),
    ]);
}

#[test]
fn tiers_and_sources_of_the_wrong_kind_are_explained() {
    says(&[
        (
            json!({ "tiers": [] }),
            "tiers: [] is not a mapping of names to tiers; write { free: { rate: 100/minute } }",
        ),
        (
            json!({ "tiers": { "free": "100/minute" } }),
            "tiers.free: \"100/minute\" is not a tier; write { rate: 100/minute }, with burst, monthly and on_failure \
             as needed",
        ),
        (
            json!({ "anonymous": ["30/minute"] }),
            "anonymous: a list is not the limits of clients without a consumer; write { rate: 30/minute }",
        ),
        (
            json!({ "identity": null }),
            "identity: null is not a set of sources; write { consumer: [{ header: x-consumer-username }], tier: [{ \
             header: x-consumer-groups }] }",
        ),
        (
            json!({ "identity": { "tier": null } }),
            "identity.tier: null is not a list; put each entry into its own line behind \"- \", or into [ ]",
        ),
        (
            json!({ "identity": { "tier": ["x-tier"] } }),
            "identity.tier[0]: \"x-tier\" is not a source; write { header: x-consumer-username } or { property: a.b.c }",
        ),
    ]);
}

#[test]
fn prices_overrides_and_settings_of_the_wrong_kind_are_explained() {
    says(&[
        (
            json!({ "endpoints": { "/a": 1 } }),
            "endpoints: a mapping is not a list; put each entry into its own line behind \"- \", or into [ ]",
        ),
        (
            json!({ "endpoints": ["/a"] }),
            "endpoints[0]: \"/a\" is not an endpoint's price; write { path: /search, cost: 2 }",
        ),
        (
            json!({ "overrides": ["a"] }),
            "overrides[0]: \"a\" is not an override; write { consumer: NAME, tier: TIER }",
        ),
        (
            json!({ "headers": true }),
            "headers: true is not a choice of headers; write { x_ratelimit: true, ietf: true }",
        ),
        (json!({ "memory": 65_536 }), "memory: 65536 is not a size of memory; write { clients: 65536 }"),
        (
            json!({ "store": null }),
            "store: null is not a store; write { upstream: 127.0.0.1:7600 }, or leave store out",
        ),
    ]);
}

#[test]
fn a_document_that_is_no_policy_is_shown_one() {
    let said = |text: &[u8]| {
        Policy::from_json(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        said(b" \n"),
        [format!("there is no policy, and the filter needs one; the smallest is {MINIMAL}")]
    );
    assert_eq!(said(b"null"), [format!("null is not a policy; the smallest is {MINIMAL}")]);
    assert_eq!(said(b"[1]"), [format!("a list is not a policy; the smallest is {MINIMAL}")]);
    assert_eq!(said(b"{\"a\":"), ["the policy is not JSON: EOF while parsing a value at line 1 column 5"]);
    assert_eq!(said(b"\"\xff\""), ["the policy is not JSON: invalid unicode code point at line 1 column 2"]);
    assert_eq!(said(b"{} {}"), ["the policy is not JSON: trailing characters at line 1 column 4"]);
    let long = vec![b' '; document::MAX_BYTES + 1];
    assert_eq!(
        said(&long),
        [
            "the policy has 1048577 bytes; at most 1048576 are allowed: write a prefix (/v1/*) for endpoints that cost the same"
        ]
    );
    assert!(Policy::from_json(MINIMAL.as_bytes()).is_ok());
}

#[test]
fn a_key_that_stands_twice_is_refused_wherever_it_stands() {
    let text =
        MINIMAL.replace(r#""rate": "100/minute""#, r#""rate": "100/minute", "rate": "1/day""#).replace(
            r#""default_tier": "free""#,
            r#""default_tier": "free", "endpoints": [{"cost": 1, "cost": 1}], "tiers": {}"#,
        );
    let said: Vec<String> =
        Policy::from_json(text.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "tiers.free.rate: is written twice; keep one of them",
            "endpoints[0].cost: is written twice; keep one of them",
            "tiers: is written twice; keep one of them"
        ]
    );
}
