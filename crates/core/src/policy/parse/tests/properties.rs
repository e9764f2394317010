//! Any input: nothing panics, and a policy that is accepted can be used as it is.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::with;
use crate::limit::Level;
use crate::policy::Policy;
use crate::tier::MAX_LIMITS;
use crate::units::Cost;

/// Changes to the smallest policy, about half of which work.
fn changes() -> impl Strategy<Value = Value> {
    let units = prop_oneof![8 => 5_u64..50, 1 => 1_u64..=1_000_000_000];
    let rate = (units, select(vec!["second", "minute", "hour", "day"]));
    let rate = rate.prop_map(|(units, period)| json!(format!("{units}/{period}")));
    let burst =
        prop_oneof![Just(1.0), (100_u32..100_000).prop_map(|hundredths| f64::from(hundredths) / 100.0)];
    let entry = prop_oneof![
        rate.clone(),
        (rate.clone(), burst.clone()).prop_map(|(rate, burst)| json!({ "rate": rate, "burst": burst })),
    ];
    let list = prop::collection::vec(entry, 1..=MAX_LIMITS).prop_map(Value::from);
    let monthly = prop_oneof![Just(json!("unlimited")), (3_u64..2_000).prop_map(Value::from)];
    let unlimited = monthly.clone().prop_map(|monthly| json!({ "rate": "unlimited", "monthly": monthly }));
    let limited = (prop_oneof![rate.clone(), list], burst, monthly)
        .prop_map(|(rate, burst, monthly)| json!({ "rate": rate, "burst": burst, "monthly": monthly }));
    let tier = prop_oneof![1 => unlimited, 3 => limited];
    // The smallest policy has this tier; only some have the others.
    let name = || prop_oneof![12 => Just("free"), 1 => select(vec!["pro", "basic", "a-b_9"])];
    let cost = prop_oneof![
        16 => (0_u32..3_000).prop_map(|milli| json!(f64::from(milli) / 1000.0)),
        1 => (0_u32..40).prop_map(Value::from),
    ];
    let path = select(vec!["/a", "/a/*", "/a/b", "/*", "/"]);
    let endpoints = prop::collection::btree_map(path, cost.clone(), 0..4);
    let overrides = prop::collection::btree_map(select(vec!["a", "b", "c"]), name(), 0..3);
    let tiers = prop::collection::btree_map(select(vec!["free", "pro", "basic", "a-b_9"]), tier, 0..4);
    (tiers, name(), rate, endpoints, cost, overrides).prop_map(
        |(tiers, default_tier, rate, endpoints, default_cost, overrides)| {
            let endpoints = endpoints.into_iter().map(|(path, cost)| json!({ "path": path, "cost": cost }));
            let overrides =
                overrides.into_iter().map(|(name, tier)| json!({ "consumer": name, "tier": tier }));
            json!({
                "tiers": tiers, "default_tier": default_tier, "anonymous": { "rate": rate },
                "endpoints": endpoints.collect::<Value>(), "default_cost": default_cost,
                "overrides": overrides.collect::<Value>(),
            })
        },
    )
}

/// Every tier that something refers to exists, and can allow every request that the policy knows.
fn assert_usable(policy: &Policy) {
    assert!(policy.tiers.is_sorted_by(|one, next| one.name < next.name));
    assert!(policy.default_tier.0 < policy.tiers.len());
    assert!(policy.overrides.values().all(|tier| tier.0 < policy.tiers.len()));
    let costs: Vec<Cost> =
        policy.endpoints.iter().map(|rule| rule.price.cost).chain([policy.default_cost]).collect();
    for tier in policy.tiers.iter().chain([&policy.anonymous]) {
        assert!(tier.limits.len() <= MAX_LIMITS);
        for cost in &costs {
            assert!(
                tier.limits.iter().all(|limit| limit.charged(Level(0), *cost).is_ok()),
                "{} {cost}",
                tier.name
            );
            assert!(tier.monthly.is_none_or(|month| month >= *cost), "{} {cost}", tier.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_policy_that_loads_can_be_used(changes in changes()) {
        let document = with(changes);
        match Policy::from_value(&document) {
            Ok(policy) => assert_usable(&policy),
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }

    #[test]
    fn text_and_document_are_read_alike(changes in changes()) {
        let document = with(changes);
        let from_text = Policy::from_json(document.to_string().as_bytes()).map(|policy| policy.tiers);
        prop_assert_eq!(from_text, Policy::from_value(&document).map(|policy| policy.tiers));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Policy::from_json(&bytes).is_err());
    }

    #[test]
    fn no_broken_policy_panics(
        changes in changes(),
        edits in prop::collection::vec((any::<Index>(), any::<u8>(), 0_u8..3), 1..6),
    ) {
        let mut text = with(changes).to_string().into_bytes();
        for (at, byte, edit) in edits {
            let at = at.index(text.len());
            match edit {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        if let Ok(policy) = Policy::from_json(&text) {
            assert_usable(&policy);
        }
    }
}
