//! Any text is a policy or a list of problems, each with a message; a policy that loads can be used, and Kong's schema check
//! accepts it, too.
#![no_main]

use jsonschema::{Draft, Validator};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tollgate_core::account::{Account, Verdict, decide_all};
use tollgate_core::headers::TierHeaders;
use tollgate_core::policy::{Policy, schema};
use tollgate_core::tier::MAX_LIMITS;
use tollgate_core::units::{Cost, UnixNanos};
use tollgate_node::endpoint::Endpoints;

/// Lists that may be empty: Kong hands on `{}` for `[]`, which the parser accepts but a schema cannot describe.
const LISTS: [&str; 5] = ["/endpoints", "/refund", "/overrides", "/identity/consumer", "/identity/tier"];

fuzz_target!(|bytes: &[u8]| {
    thread_local! {
        static SCHEMA: Validator =
            jsonschema::options().with_draft(Draft::Draft4).build(&schema::config()).expect("a schema");
    }
    match Policy::from_configuration(bytes) {
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        }
        Ok(policy) => is_usable(&policy),
    }
    let Ok(policy) = Policy::from_json(bytes) else { return };
    // A policy that loads as text loads as a document, and the schema accepts it.
    let document: Value = serde_json::from_slice(bytes).expect("a policy is JSON");
    let again = Policy::from_value(&document).expect("the same policy");
    assert_eq!(format!("{policy:?}"), format!("{again:?}"));
    let has_kongs_empty_list = LISTS.iter().any(|list| document.pointer(list) == Some(&json!({})));
    assert!(
        has_kongs_empty_list || SCHEMA.with(|schema| schema.is_valid(&document)),
        "the schema refuses {document}"
    );
});

/// Checks that every tier that something refers to exists, and can allow every request that the policy knows.
fn is_usable(policy: &Policy) {
    assert!(policy.default_tier.0 < policy.tiers.len());
    assert!(policy.overrides.values().all(|tier| tier.0 < policy.tiers.len()));
    let costs: Vec<Cost> =
        policy.endpoints.iter().map(|rule| rule.price.cost).chain([policy.default_cost]).collect();
    for tier in policy.tiers.iter().chain([&policy.anonymous]) {
        assert!(tier.limits.len() <= MAX_LIMITS);
        let _ = TierHeaders::new(tier);
        for cost in &costs {
            let now = UnixNanos::from_seconds(1_795_478_400);
            // A policy that loads can allow this: a full bucket covers every price of the list.
            assert_eq!(decide_all(&mut Account::default(), tier, *cost, now), Verdict::Allowed);
        }
    }
    assert!(
        costs.contains(&Endpoints::new(&policy.endpoints, policy.default_cost).price(b"GET", b"/a/b?c").cost)
    );
}
