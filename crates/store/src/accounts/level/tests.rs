use super::super::Account;
use super::super::tests::{NOW, SECOND, UNIT, ask, free, terms};
use proptest::prelude::*;
use tollgate_core::terms::{Bucket, Terms};
use tollgate_core::units::{Cost, Micros, UnixMicros};
use tollgate_core::wire::LONGEST_EMPTY;
use tollgate_core::wire::LeaseRequest;

#[test]
fn another_tier_does_not_refill_a_bucket() {
    let mut account = Account::default();
    for _ in 0..150 {
        assert!(account.charge(&free(), Cost(UNIT), UnixMicros(NOW)).refusal.is_none());
    }
    let pro = terms(&[(1_000, 60, 150)], None);
    let grant = account.charge(&pro, Cost(UNIT), UnixMicros(NOW));
    assert_eq!((grant.refusal, grant.used[0]), (None, Cost(151 * UNIT)));
    assert!(account.charge(&free(), Cost(UNIT), UnixMicros(NOW)).refusal.is_some(), "and back");
}

#[test]
fn a_limit_that_comes_or_goes_leaves_the_others_their_levels() {
    let both = terms(&[(1_000, 60, 100), (20, 1, 100)], None);
    let (minute, second) = (terms(&[(1_000, 60, 100)], None), terms(&[(20, 1, 100)], None));
    let turned = terms(&[(20, 1, 100), (1_000, 60, 100)], None);
    let mut account = Account::default();
    // The minute's bucket has taken 900, of which the second's bucket still has ten.
    for step in 0..90 {
        assert_eq!(account.charge(&both, Cost(10 * UNIT), UnixMicros(NOW + step * SECOND / 2)).refusal, None);
    }
    let now = NOW + 89 * SECOND / 2;
    let used = account.clone().charge(&both, Cost(0), UnixMicros(now)).used;
    assert_eq!(used[1], Cost(10 * UNIT));
    for (terms, expected) in [
        (&turned, [used[1], used[0], Cost(0)]),
        (&second, [used[1], Cost(0), Cost(0)]),
        (&minute, [used[0], Cost(0), Cost(0)]),
    ] {
        let mut other = account.clone();
        assert_eq!(other.charge(terms, Cost(0), UnixMicros(now)).used, expected);
        assert_eq!(other.charge(&both, Cost(0), UnixMicros(now)).used, used, "and back");
    }
}

#[test]
fn gateways_whose_limits_differ_let_nobody_use_the_larger_one_again_and_again() {
    let (large, small) = (terms(&[(100, 1, 100)], None), terms(&[(1, 1, 1_000)], None));
    let mut account = Account::default();
    let mut admitted = 0;
    for turn in 0..200 {
        let now = NOW + turn * SECOND / 10;
        for terms in [&large, &small] {
            while account.charge(terms, Cost(UNIT), UnixMicros(now)).refusal.is_none() {
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
        assert_eq!(account.charge(first, holds, UnixMicros(NOW)).refusal, None);
        let refused = account.charge(second, Cost(UNIT), UnixMicros(NOW));
        let wait = refused.refusal.unwrap().wait.0;
        assert_eq!(refused.used[0], holds);
        assert!(account.clone().charge(second, Cost(UNIT), UnixMicros(NOW + wait - 1)).refusal.is_some());
        assert_eq!(account.charge(second, Cost(UNIT), UnixMicros(NOW + wait)).refusal, None, "{wait}");
    }
    let mut account = Account::default();
    account.charge(&large, Cost(100 * UNIT), UnixMicros(NOW));
    assert_eq!(
        account.charge(&small, Cost(UNIT), UnixMicros(NOW)).refusal.unwrap().wait,
        Micros(900_000 + SECOND)
    );
}

#[test]
fn a_lease_of_a_larger_limit_that_is_reported_by_a_smaller_one_is_not_forgotten() {
    let (large, small) = (terms(&[(100, 1, 100)], None), terms(&[(1, 1, 1_000)], None));
    let mut account = Account::default();
    account.charge(&large, Cost(60 * UNIT), UnixMicros(NOW));
    account.apply(&large, 1, &ask(1, 0, 0, 40 * UNIT, 0), UnixMicros(NOW));
    account.apply(&small, 1, &ask(2, 40 * UNIT, 0, 0, 0), UnixMicros(NOW));
    assert_eq!(
        account.charge(&large, Cost(10 * UNIT), UnixMicros(NOW)).refusal.unwrap().wait,
        Micros(SECOND / 10)
    );
}

#[test]
fn a_bucket_drains_while_the_tier_has_none() {
    let mut account = Account::default();
    account.charge(&free(), Cost(150 * UNIT), UnixMicros(NOW));
    account.charge(&Terms::default(), Cost(UNIT), UnixMicros(NOW + 45 * SECOND));
    assert!(account.charge(&free(), Cost(75 * UNIT), UnixMicros(NOW + 45 * SECOND)).refusal.is_none());
    assert!(account.charge(&free(), Cost(UNIT), UnixMicros(NOW + 45 * SECOND)).refusal.is_some());
}

/// A report of `spent` in all. A bucket with only that is empty in `empty_in` microseconds.
fn report(seq: u32, spent: u64, empty_in: i64) -> LeaseRequest {
    let since = LONGEST_EMPTY.0.saturating_add_signed(empty_in).max(2);
    LeaseRequest { since: [Micros(since); 3], ..ask(seq, spent, 0, 0, 0) }
}

#[test]
fn what_was_spent_drains_from_when_it_was_spent_and_not_from_the_report() {
    let one = terms(&[(1, 1, 100)], None);
    let mut account = Account::default();
    account.apply(&one, 1, &ask(1, 0, 0, UNIT, 0), UnixMicros(NOW));
    let asked_again = |empty_in| LeaseRequest { need: Cost(UNIT), ..report(2, UNIT, empty_in) };
    let refusal = |account: &Account, lease: LeaseRequest| {
        let mut account = account.clone();
        match account.apply(&one, 1, &lease, UnixMicros(NOW + SECOND)) {
            super::super::Applied::Grant(grant) => grant.refusal,
            super::super::Applied::Stale => panic!("stale"),
        }
    };
    assert_eq!(refusal(&account, asked_again(0)), None);
    assert_eq!(refusal(&account, asked_again(-200_000)), None);
    assert_eq!(refusal(&account, asked_again(1)).unwrap().wait, Micros(1), "spent a microsecond too late");
    let unknown = LeaseRequest { since: [Micros(0); 3], ..asked_again(0) };
    assert_eq!(refusal(&account, unknown).unwrap().wait, Micros(SECOND), "it counts as spent now");
}

#[test]
fn what_was_spent_before_the_bucket_was_empty_drains_from_there() {
    let one = terms(&[(1, 1, 1_000)], None);
    let mut account = Account::default();
    // This is another node's spending. It has drained after two seconds.
    account.charge(&one, Cost(2 * UNIT), UnixMicros(NOW));
    // Three more, spent at the first second, have drained after five, whoever reports them and when.
    account.apply(
        &one,
        1,
        &LeaseRequest { since: [Micros(1); 3], ..ask(1, 3 * UNIT, 0, 0, 0) },
        UnixMicros(NOW + 4 * SECOND),
    );
    assert_eq!(account.charge(&one, Cost(0), UnixMicros(NOW + 4 * SECOND)).used[0], Cost(UNIT));
}

#[test]
fn what_is_more_than_a_bucket_drained_before_what_is_left_of_it() {
    let one = terms(&[(10, 1, 100)], None);
    for seconds in [1, 3, 40] {
        let mut account = Account::default();
        account.charge(&one, Cost(UNIT), UnixMicros(NOW));
        // An outage: the node's own bucket allowed this much, and it is reported when the outage is over.
        let spent = 10 * (1 + seconds) * UNIT - UNIT;
        let now = NOW + seconds * SECOND;
        account.apply(
            &one,
            1,
            &LeaseRequest { since: [Micros(1); 3], ..ask(1, spent, 0, 0, 0) },
            UnixMicros(now),
        );
        let used = account.charge(&one, Cost(0), UnixMicros(now)).used[0];
        assert!(used >= Cost(10 * UNIT - 1), "{used} after {seconds} s");
    }
}

/// The moment at which a bucket is empty if it takes all of `spent` when it is spent, in work.
fn empty_at(bucket: &Bucket, spent: &[(u64, u64)]) -> u64 {
    spent.iter().fold(0, |empty, (at, milli)| empty.max(at * bucket.drain) + milli * bucket.weight)
}

proptest! {
    /// However late nodes report, and in whatever order, the level is never less than what has not drained. It is
    /// exactly that if one node has spent all of it.
    #[test]
    fn late_reports_never_drain_more_than_time_does(
        steps in prop::collection::vec((0..3_u64, 0..400_000_u64, 1..3_000_u64, prop::bool::weighted(0.3)), 1..80),
        nodes in 1..=3_u64,
        // Kong's clock has steps of a millisecond, which its nodes allow for.
        step in prop::sample::select(vec![1_u64, 1_000]),
    ) {
        let terms = terms(&[(7, 1, 100_000)], None);
        let bucket = terms.buckets[0];
        let mut account = Account::default();
        let (mut now, mut all) = (0, Vec::new());
        // Per node: its last message, what it has spent, and the part of it since that message.
        let mut own = [const { (0_u32, 0, Vec::new()) }; 3];
        for (node, elapsed, milli, reports) in steps {
            let node = node % nodes;
            now += elapsed;
            let (seq, spent, since) = &mut own[node as usize];
            let theirs = now - now % step;
            all.push((now, milli));
            since.push((theirs, milli));
            *spent += milli;
            if reports {
                *seq += 1;
                let allowed = step as i64 - 1;
                let empty = empty_at(&bucket, since).div_ceil(bucket.drain) as i64 - theirs as i64 + allowed;
                account.apply(&terms, node, &report(*seq, *spent, empty), UnixMicros(NOW + now));
                since.clear();
            }
            let level = account.clone().charge(&terms, Cost(0), UnixMicros(NOW + now)).used[0];
            let untold: u64 = own.iter().flat_map(|(.., since)| since).map(|(_, milli)| milli).sum();
            let truth = empty_at(&bucket, &all).saturating_sub(now * bucket.drain).div_ceil(bucket.weight);
            prop_assert!(level.0 + untold >= truth, "{level:?} + {untold} of {truth}");
            if nodes == 1 && reports && step == 1 {
                // Moments are rounded up to microseconds.
                prop_assert!(level <= Cost(truth + bucket.drain.div_ceil(bucket.weight)), "{level} of {truth}");
            }
        }
    }
}
