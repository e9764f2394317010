use super::super::tests::{NOW, SECOND, ask, free, terms};
use super::super::{Account, UNIT};
use crate::lease::terms::Terms;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn another_tier_does_not_refill_a_bucket() {
    let mut account = Account::default();
    for _ in 0..150 {
        assert!(account.charge(&free(), UNIT, NOW).refusal.is_none());
    }
    let pro = terms(&[(1_000, 60, 150)], None);
    let standing = account.charge(&pro, UNIT, NOW);
    assert_eq!((standing.refusal, standing.used[0]), (None, 151 * UNIT));
    assert!(account.charge(&free(), UNIT, NOW).refusal.is_some(), "and back");
}

#[test]
fn gateways_whose_limits_differ_let_nobody_use_the_larger_one_again_and_again() {
    let (large, small) = (terms(&[(100, 1, 100)], None), terms(&[(1, 1, 1_000)], None));
    let mut account = Account::default();
    let mut admitted = 0;
    for turn in 0..200 {
        let now = NOW + turn * SECOND / 10;
        for terms in [&large, &small] {
            while account.charge(terms, UNIT, now).refusal.is_none() {
                admitted += UNIT;
            }
        }
    }
    assert!((2_000 * UNIT..=2_100 * UNIT).contains(&admitted), "{admitted}: capacity and 20 s of the larger");
}

#[test]
fn what_a_smaller_limit_cannot_hold_drains_first_at_the_faster_rate() {
    let (large, small) = (terms(&[(100, 1, 100)], None), terms(&[(1, 1, 1_000)], None));
    for (first, second) in [(&large, &small), (&terms(&[(60, 60, 200)], None), &terms(&[(10, 1, 100)], None))]
    {
        let mut account = Account::default();
        let holds = first.buckets[0].holds();
        assert_eq!(account.charge(first, holds, NOW).refusal, None);
        let refused = account.charge(second, UNIT, NOW);
        let wait = refused.refusal.unwrap().wait;
        assert_eq!(refused.used[0], holds);
        assert!(account.clone().charge(second, UNIT, NOW + wait - 1).refusal.is_some());
        assert_eq!(account.charge(second, UNIT, NOW + wait).refusal, None, "{wait}");
    }
    let mut account = Account::default();
    account.charge(&large, 100 * UNIT, NOW);
    assert_eq!(account.charge(&small, UNIT, NOW).refusal.unwrap().wait, 900_000 + SECOND);
}

#[test]
fn a_lease_of_a_larger_limit_that_is_reported_by_a_smaller_one_is_not_forgotten() {
    let (large, small) = (terms(&[(100, 1, 100)], None), terms(&[(1, 1, 1_000)], None));
    let mut account = Account::default();
    account.charge(&large, 60 * UNIT, NOW);
    account.settle(&large, 1, &ask(1, 0, 0, 40 * UNIT, 0), NOW);
    account.settle(&small, 1, &ask(2, 40 * UNIT, 0, 0, 0), NOW);
    assert_eq!(account.charge(&large, 10 * UNIT, NOW).refusal.unwrap().wait, SECOND / 10);
}

#[test]
fn a_bucket_drains_while_the_tier_has_none() {
    let mut account = Account::default();
    account.charge(&free(), 150 * UNIT, NOW);
    account.charge(&Terms::default(), UNIT, NOW + 45 * SECOND);
    assert!(account.charge(&free(), 75 * UNIT, NOW + 45 * SECOND).refusal.is_none());
    assert!(account.charge(&free(), UNIT, NOW + 45 * SECOND).refusal.is_some());
}
