use super::*;
use crate::account::{Verdict, decide_all};
use crate::limit::{NotNow, Period};
use crate::units::UnixNanos;
use proptest::prelude::*;

const ONE: Cost = Cost::from_units(1);
/// 2026-11-24T00:00:00Z.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);

fn tier(limits: &[(u64, Period, u64)]) -> Tier {
    let limits = limits.iter().map(|(units, period, burst)| Limit::new(*units, *period, *burst).unwrap());
    Tier { name: "free".into(), limits: limits.collect(), monthly: None, on_failure: None }
}

fn per_minute(units: u64) -> Tier {
    tier(&[(units, Period::Minute, 100)])
}

fn later(milli: u64) -> UnixNanos {
    UnixNanos(NOW.0 + milli * 1_000_000)
}

/// How many of `most` requests of one unit pass at `now`.
fn pass(account: &mut Account, tier: &Tier, now: UnixNanos, most: u64) -> u64 {
    (0..most).take_while(|_| try_one(account, tier, now)).count() as u64
}

/// Decides as the engine does: it does not write what a refused request has changed.
fn try_one(account: &mut Account, tier: &Tier, now: UnixNanos) -> bool {
    let mut tried = *account;
    let is_allowed = decide_all(&mut tried, tier, ONE, now) == Verdict::Allowed;
    if is_allowed {
        *account = tried;
    }
    is_allowed
}

fn wait(account: &Account, tier: &Tier, now: UnixNanos) -> Nanos {
    match decide_all(&mut { *account }, tier, ONE, now) {
        Verdict::NotNow(refusal) => refusal.until.since(now),
        _ => Nanos(0),
    }
}

#[test]
fn what_was_used_stays_used_when_the_limit_is_raised() {
    let mut account = Account::default();
    assert_eq!(pass(&mut account, &per_minute(45), NOW, 20), 20);
    assert_eq!(pass(&mut { account }, &per_minute(100), NOW, 1_000), 80);
    assert_eq!(pass(&mut { account }, &tier(&[(45, Period::Minute, 200)]), NOW, 1_000), 70, "burst alone");
    // The second had no level, so its bucket is full; the minute's level limits the rest.
    let maxi = tier(&[(10, Period::Second, 100), (1_000, Period::Minute, 100)]);
    assert_eq!(pass(&mut { account }, &maxi, NOW, 1_000), 10);
    let mut in_time = account;
    let passed: u64 = (0..200).map(|second| pass(&mut in_time, &maxi, later(second * 1_000), 10)).sum();
    assert_eq!(passed, 2_000, "10/second is what holds it back");
}

#[test]
fn two_limits_in_turn_never_hand_out_a_bucket_again() {
    let (small, large) = (per_minute(70), per_minute(100));
    let mut account = Account::default();
    assert_eq!(pass(&mut account, &small, NOW, 1_000), 70);
    assert_eq!(pass(&mut account, &large, NOW, 1), 1);
    assert_eq!(pass(&mut account, &small, NOW, 1_000), 0);
    assert_eq!(pass(&mut account, &large, NOW, 1_000), 29);
    // It was emptied under the large limit: the small one names the wait, and allows nothing until then.
    let until = wait(&account, &small, NOW);
    assert_eq!(until, Nanos(18_000_000_000 + 857_142_858), "30 at 100 a minute, then one at 70");
    assert_eq!(pass(&mut account, &small, UnixNanos(NOW.0 + until.0 - 1), 1), 0);
    assert_eq!(pass(&mut { account }, &large, UnixNanos(NOW.0 + until.0), 1_000), 31);
    assert_eq!(pass(&mut account, &small, UnixNanos(NOW.0 + until.0), 1_000), 1);
}

#[test]
fn a_lowered_limit_refuses_until_what_was_used_has_drained() {
    let mut account = Account::default();
    assert_eq!(pass(&mut account, &per_minute(100), NOW, 1_000), 100);
    assert_eq!(pass(&mut account, &per_minute(90), later(6_666), 1_000), 0);
    assert_eq!(pass(&mut account, &per_minute(90), later(6_667), 1_000), 1);
}

#[test]
fn a_lowered_limit_of_another_period_leaves_an_empty_bucket_not_a_longer_debt() {
    let mut account = Account::default();
    let hourly = tier(&[(1_000, Period::Hour, 1_000)]);
    assert_eq!(pass(&mut account, &hourly, NOW, 100_000), 10_000);
    let quick = tier(&[(10, Period::Second, 100)]);
    assert_eq!(pass(&mut account, &quick, NOW, 1_000), 0);
    assert_eq!(pass(&mut account, &quick, later(1_000), 1_000), 10);
    assert_eq!(pass(&mut account, &hourly, later(1_000), 1_000), 0, "the hour's is not forgotten");
}

#[test]
fn a_period_that_goes_and_comes_back_has_been_charged() {
    let (minute, second) = (per_minute(100), tier(&[(20, Period::Second, 100)]));
    let mut account = Account::default();
    assert_eq!(pass(&mut account, &minute, NOW, 1_000), 100);
    assert_eq!(pass(&mut account, &second, NOW, 1_000), 0);
    let passed: u64 = (1..=10).map(|tick| pass(&mut account, &second, later(tick * 1_000), 1_000)).sum();
    assert_eq!(passed, 200);
    assert_eq!(pass(&mut account, &minute, later(10_000), 1_000), 0);
    assert_eq!(pass(&mut account, &minute, later(70_000), 1_000), 100, "no more than one bucket is owed");
}

#[test]
fn a_longer_period_begins_with_what_the_shorter_one_has() {
    let mut account = Account::default();
    assert_eq!(pass(&mut account, &per_minute(45), NOW, 20), 20);
    assert_eq!(pass(&mut account, &tier(&[(1_000, Period::Hour, 100)]), NOW, 10_000), 980);
}

#[test]
fn several_limits_of_one_period_find_their_own_level() {
    let two = tier(&[(100, Period::Minute, 100), (40, Period::Minute, 200)]);
    let mut account = Account::default();
    assert_eq!(pass(&mut account, &two, NOW, 1_000), 80);
    let turned = tier(&[(40, Period::Minute, 200), (100, Period::Minute, 100)]);
    assert_eq!(pass(&mut account, &turned, later(60_000), 1_000), 40);
    assert_eq!(pass(&mut account, &two, later(60_000), 1_000), 0);
}

#[test]
fn a_cost_that_a_lowered_limit_never_takes_is_still_told_apart() {
    let limit = Limit::new(10, Period::Second, 100).unwrap();
    let far_above = limit.waiting(limit.level(limit.capacity()), Nanos(u64::MAX));
    assert!(matches!(limit.charged(far_above, ONE), Err(NotNow::Wait(_))));
    assert_eq!(limit.charged(far_above, Cost::from_units(11)), Err(NotNow::Never));
}

fn any_tier() -> impl Strategy<Value = Tier> {
    let limit = (1_u64..200, proptest::sample::select(Period::ALL.to_vec()), 100_u64..250);
    proptest::collection::vec(limit, 1..=3).prop_map(|limits| tier(&limits))
}

proptest! {
    /// Tiers of one period take turns at random. Over any interval they allow at most the larger capacity and the faster
    /// rate, but for a thousandth of a unit at each change.
    #[test]
    fn over_any_interval_the_larger_capacity_and_the_faster_rate_are_the_most(
        limits in proptest::collection::vec((1_u64..200, 100_u64..250), 2..4),
        steps in proptest::collection::vec((0_usize..4, 0_u64..3_000, 1_u64..40), 1..60),
    ) {
        let tiers: Vec<Tier> = limits.iter().map(|(units, burst)| tier(&[(*units, Period::Minute, *burst)])).collect();
        let capacity = tiers.iter().map(|tier| tier.limits[0].capacity().0).max().unwrap();
        let units = limits.iter().map(|(units, _)| *units).max().unwrap();
        let (mut account, mut milli, mut admitted) = (Account::default(), 0, Vec::new());
        for (which, gap, most) in steps {
            milli += gap;
            let passed = pass(&mut account, &tiers[which % tiers.len()], later(milli), most);
            admitted.push((milli, passed * 1_000));
        }
        for (first, (start, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (end, cost) in &admitted[first..] {
                sum += cost;
                prop_assert!(sum * 60 <= capacity * 60 + units * (end - start), "{sum} in {} ms", end - start);
            }
        }
    }

    /// Whatever came before: a client that has waited until its excess has drained, and then as long as the slowest bucket
    /// drains, may spend all of its tier's buckets.
    #[test]
    fn no_change_makes_a_debt_longer_than_the_slowest_buckets(
        tiers in proptest::collection::vec(any_tier(), 1..5),
        steps in proptest::collection::vec((0_usize..5, 0_u64..100_000, 1_u64..40), 1..40),
    ) {
        let (mut account, mut milli) = (Account::default(), 0);
        for (which, gap, most) in &steps {
            milli += gap;
            pass(&mut account, &tiers[which % tiers.len()], later(milli), *most);
        }
        let rested = later(milli + 5 * 86_400 * 1_000);
        for tier in &tiers {
            let whole = tier.limits.iter().map(|limit| limit.capacity().whole_units()).min().unwrap();
            prop_assert_eq!(pass(&mut { account }, tier, rested, 1_000), whole);
        }
    }
}
