use super::*;
use proptest::prelude::*;
use tollgate_core::terms::{Offer, Rate};
use tollgate_core::units::{Cost, Micros, Millis, UnixMicros};
use tollgate_core::wire::LONGEST_EMPTY;

/// 2026-11-24T00:00:00Z.
pub(super) const NOW: u64 = 1_795_478_400_000_000;
pub(super) const SECOND: u64 = 1_000_000;
/// A whole unit of cost, thousandths.
pub(super) const UNIT: u64 = 1_000;

pub(super) fn terms(rates: &[(u32, u32, u32)], monthly: Option<u64>) -> Terms {
    let rates =
        rates.iter().map(|(units, seconds, burst)| Rate { units: *units, seconds: *seconds, burst: *burst });
    Offer { tier: "free".into(), rates: rates.collect(), monthly }.terms().unwrap()
}

pub(super) fn free() -> Terms {
    terms(&[(100, 60, 150)], Some(50_000))
}

pub(super) fn ask(seq: u32, spent: u64, hold: u64, need: u64, want: u64) -> LeaseRequest {
    LeaseRequest {
        epoch: 7,
        seq,
        spent: Cost(spent),
        acked: Cost(0),
        spent_before_month: Cost(0),
        month: 0,
        hold: Cost(hold),
        need: Cost(need),
        queued: Cost(0),
        want: Cost(want),
        since: [0; 3],
    }
}

fn grant(applied: Applied) -> Grant {
    match applied {
        Applied::Grant(grant) => grant,
        Applied::Stale => panic!("stale"),
    }
}

#[test]
fn a_node_is_lent_what_it_needs_and_a_share_of_what_it_wants() {
    let mut account = Account::default();
    let first = grant(account.apply(&free(), 1, &ask(1, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW)));
    assert_eq!((first.hold, first.refusal, first.ttl), (Cost(10 * UNIT), None, Millis(10_000)));
    let greedy = grant(account.apply(&free(), 2, &ask(1, 0, 0, UNIT, 1_000 * UNIT), UnixMicros(NOW)));
    assert_eq!(
        greedy.hold,
        Cost(UNIT + 34 * UNIT),
        "a quarter of the 139 left beyond what it needs, in whole requests"
    );
}

#[test]
fn nodes_are_lent_whole_requests_so_that_none_is_stranded_in_parts() {
    let mut account = Account::default();
    let terms = terms(&[(150, 60, 100)], None);
    let mut held = [0; 3];
    for turn in 0..600 {
        let node = turn % 3;
        let next = grant(account.apply(
            &terms,
            node as u64,
            &LeaseRequest {
                seq: turn as u32 + 1,
                ..ask(0, 0, held[node], held[node] + UNIT, held[node] + 5 * UNIT)
            },
            UnixMicros(NOW),
        ));
        held[node] = next.hold.0;
    }
    assert_eq!(held.iter().sum::<u64>(), 150 * UNIT);
}

#[test]
fn requests_that_wait_are_lent_all_there_is_and_not_a_share() {
    let mut account = Account::default();
    let queue = LeaseRequest { queued: Cost(199 * UNIT), ..ask(1, 0, 0, UNIT, 400 * UNIT) };
    assert_eq!(grant(account.apply(&free(), 1, &queue, UnixMicros(NOW))).hold, Cost(150 * UNIT));
    let mut account = Account::default();
    let few = LeaseRequest { queued: Cost(9 * UNIT), ..ask(1, 0, 0, UNIT, 400 * UNIT) };
    assert_eq!(grant(account.apply(&free(), 1, &few, UnixMicros(NOW))).hold, Cost(10 * UNIT + 35 * UNIT));
}

#[test]
fn a_repeated_message_is_answered_by_what_the_store_knows_was_spent() {
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 3 * UNIT, 0, UNIT, 10 * UNIT), UnixMicros(NOW));
    let again = grant(account.apply(&free(), 1, &ask(1, 5 * UNIT, 0, UNIT, 0), UnixMicros(NOW)));
    assert_eq!((again.spent, again.hold), (Cost(3 * UNIT), Cost(10 * UNIT)));
}

#[test]
fn what_is_lent_is_neither_lent_again_nor_refilled() {
    let mut account = Account::default();
    let terms = terms(&[(100, 60, 150)], None);
    assert_eq!(
        grant(account.apply(&terms, 1, &ask(1, 0, 0, 150 * UNIT, 0), UnixMicros(NOW))).hold,
        Cost(150 * UNIT)
    );
    let later = NOW + 9 * SECOND;
    let refused = grant(account.apply(&terms, 2, &ask(1, 0, 0, UNIT, 0), UnixMicros(later))).refusal.unwrap();
    assert_eq!((refused.limits, refused.month, refused.wait), (1, false, Micros(600_000)));
    // The first node has spent all of it: from now on it drains.
    assert_eq!(
        grant(account.apply(&terms, 1, &ask(2, 150 * UNIT, 0, 0, 0), UnixMicros(later))).hold,
        Cost(0)
    );
    assert!(
        grant(account.apply(&terms, 2, &ask(2, 0, 0, UNIT, 0), UnixMicros(later + 599_999)))
            .refusal
            .is_some()
    );
    assert!(
        grant(account.apply(&terms, 2, &ask(3, 0, 0, UNIT, 0), UnixMicros(later + 600_000)))
            .refusal
            .is_none()
    );
}

#[test]
fn a_report_counts_once_however_often_it_comes_and_in_whatever_order() {
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW));
    let report = ask(2, 4 * UNIT, 6 * UNIT, 0, 10 * UNIT);
    let once = grant(account.apply(&free(), 1, &report, UnixMicros(NOW)));
    let after = account.clone();
    assert_eq!(grant(account.apply(&free(), 1, &report, UnixMicros(NOW))).hold, once.hold);
    assert_eq!(account, after);
    assert_eq!(account.apply(&free(), 1, &ask(1, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW)), Applied::Stale);
    assert_eq!(account, after);
    assert_eq!(account.used(month_of(UnixMicros(NOW))), Cost(4 * UNIT));
}

#[test]
fn a_repeated_message_that_tells_of_more_is_answered_by_what_was_known() {
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW));
    let first = grant(account.apply(&free(), 1, &ask(2, 4 * UNIT, 6 * UNIT, 0, 10 * UNIT), UnixMicros(NOW)));
    // Another worker of the node has spent two units since, and asks while the first's message is under way.
    let again = grant(account.apply(&free(), 1, &ask(2, 6 * UNIT, 4 * UNIT, 0, 10 * UNIT), UnixMicros(NOW)));
    assert_eq!((again.spent, again.hold), (first.spent, first.hold));
    assert_eq!(again.spent, Cost(4 * UNIT), "the two units come off what the node may hold");
}

#[test]
fn who_repeats_a_message_that_was_refused_hears_so_too() {
    let mut account = Account::default();
    account.charge(&free(), Cost(150 * UNIT), UnixMicros(NOW));
    let first = grant(account.apply(&free(), 1, &ask(1, 0, 0, UNIT, UNIT), UnixMicros(NOW))).refusal;
    let again = grant(account.apply(&free(), 1, &ask(1, 0, 0, UNIT, UNIT), UnixMicros(NOW))).refusal;
    assert!(first.is_some());
    assert_eq!(first, again);
}

#[test]
fn no_node_is_lent_a_part_of_a_unit_that_it_does_not_need() {
    let small = terms(&[(1, 1, 200)], None);
    let mut account = Account::default();
    assert_eq!(
        grant(account.apply(&small, 1, &ask(1, 0, 0, UNIT, 9 * UNIT), UnixMicros(NOW))).hold,
        Cost(UNIT)
    );
    assert_eq!(
        grant(account.apply(&small, 2, &ask(1, 0, 0, UNIT, 9 * UNIT), UnixMicros(NOW))).hold,
        Cost(UNIT)
    );
}

#[test]
fn a_grant_whose_reply_was_lost_goes_back_with_the_next_message() {
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW));
    let next = grant(account.apply(&free(), 1, &ask(2, 0, 0, UNIT, 0), UnixMicros(NOW)));
    assert_eq!(next.hold, Cost(UNIT));
    assert_eq!(account.lent(), Cost(UNIT));
}

#[test]
fn a_lease_that_nobody_reports_on_counts_as_spent_until_the_node_is_heard_of_again() {
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW));
    let month = month_of(UnixMicros(NOW));
    assert_eq!(account.used_at(month, UnixMicros(NOW + LEASE_TTL.0 - 1)), Cost(0));
    assert_eq!(
        account.used_at(month, UnixMicros(NOW + LEASE_TTL.0)),
        Cost(10 * UNIT),
        "also before anybody asks"
    );
    account.apply(&free(), 2, &ask(1, 0, 0, 0, 0), UnixMicros(NOW + LEASE_TTL.0));
    assert_eq!((account.used(month), account.lent()), (Cost(10 * UNIT), Cost(0)));
    // It had spent three of the ten, and let four more through without a lease.
    account.apply(&free(), 1, &ask(2, 3 * UNIT, 0, 0, 0), UnixMicros(NOW + 2 * LEASE_TTL.0));
    assert_eq!(account.used(month), Cost(3 * UNIT));
    account.apply(&free(), 1, &ask(3, 7 * UNIT, 0, 0, 0), UnixMicros(NOW + 2 * LEASE_TTL.0));
    assert_eq!(account.used(month), Cost(7 * UNIT));
}

#[test]
fn what_an_ended_lease_held_drains_from_its_end_on_though_nobody_asks() {
    let terms = terms(&[(100, 60, 150)], None);
    let mut account = Account::default();
    account.apply(&terms, 1, &ask(1, 0, 0, 100 * UNIT, 0), UnixMicros(NOW));
    account.apply(&terms, 2, &ask(1, 0, 0, 50 * UNIT, 0), UnixMicros(NOW + SECOND));
    // Both ended, the last one a minute ago: 100 of 150 units have drained.
    let later = NOW + SECOND + LEASE_TTL.0 + 60 * SECOND;
    assert!(account.clone().charge(&terms, Cost(100 * UNIT + 1), UnixMicros(later)).refusal.is_some());
    assert!(account.charge(&terms, Cost(100 * UNIT), UnixMicros(later)).refusal.is_none());
}

#[test]
fn a_node_that_has_lost_its_record_has_spent_its_lease() {
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(9, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW));
    let again = LeaseRequest { epoch: 8, ..ask(1, 0, 0, UNIT, 0) };
    assert_eq!(grant(account.apply(&free(), 1, &again, UnixMicros(NOW))).hold, Cost(UNIT));
    assert_eq!(account.used(month_of(UnixMicros(NOW))), Cost(10 * UNIT));
    assert_eq!(account.apply(&free(), 1, &ask(10, 5 * UNIT, 0, 0, 0), UnixMicros(NOW)), Applied::Stale);
}

#[test]
fn a_month_is_never_lent_twice_and_a_report_belongs_to_the_month_it_is_of() {
    let terms = terms(&[], Some(100));
    let mut account = Account::default();
    assert_eq!(
        grant(account.apply(&terms, 1, &ask(1, 0, 0, 90 * UNIT, 0), UnixMicros(NOW))).hold,
        Cost(90 * UNIT)
    );
    let refused =
        grant(account.apply(&terms, 2, &ask(1, 0, 0, 11 * UNIT, 0), UnixMicros(NOW))).refusal.unwrap();
    assert!(refused.month && refused.wait == end_of(month_of(UnixMicros(NOW))).since(UnixMicros(NOW)));

    let november = month_of(UnixMicros(NOW));
    let december = end_of(november);
    let late = LeaseRequest {
        spent_before_month: Cost(60 * UNIT),
        month: november + 1,
        ..ask(2, 65 * UNIT, 0, 0, 0)
    };
    account.apply(&terms, 1, &late, december.after(Micros(SECOND)));
    assert_eq!((account.used(november), account.used(november + 1)), (Cost(60 * UNIT), Cost(5 * UNIT)));
}

#[test]
fn a_node_cannot_say_that_the_month_has_turned() {
    let november = month_of(UnixMicros(NOW));
    let mut account = Account::default();
    let early =
        LeaseRequest { month: november + 1, spent_before_month: Cost(3 * UNIT), ..ask(1, 5 * UNIT, 0, 0, 0) };
    account.apply(&free(), 1, &early, UnixMicros(NOW));
    let used = |month| account.used(month);
    assert_eq!([used(november - 1), used(november), used(november + 1)], [0, 5 * UNIT, 0].map(Cost));
}

#[test]
fn a_lease_ends_with_the_month() {
    let end = end_of(month_of(UnixMicros(NOW)));
    let mut account = Account::default();
    let lent = grant(account.apply(&free(), 1, &ask(1, 0, 0, UNIT, 0), UnixMicros(end.0 - 2 * SECOND)));
    assert_eq!(lent.ttl, Millis(2_000));
}

#[test]
fn a_cost_that_no_bucket_holds_is_never_allowed() {
    let refused = Account::default().charge(&free(), Cost(151 * UNIT), UnixMicros(NOW)).refusal.unwrap();
    assert!(refused.never);
}

#[test]
fn of_several_waits_the_longest_is_told() {
    let terms = terms(&[(1, 60, 100), (1, 1, 100)], Some(2));
    let mut account = Account::default();
    assert_eq!(account.charge(&terms, Cost(UNIT), UnixMicros(NOW)).refusal, None);
    let refused = account.charge(&terms, Cost(UNIT), UnixMicros(NOW)).refusal.unwrap();
    assert_eq!((refused.limits, refused.month, refused.wait), (0b11, false, Micros(60 * SECOND)));
    assert_eq!(account.charge(&terms, Cost(UNIT), UnixMicros(NOW + 60 * SECOND)).refusal, None);
    let refused = account.charge(&terms, Cost(UNIT), UnixMicros(NOW + 60 * SECOND)).refusal.unwrap();
    let of_month = end_of(month_of(UnixMicros(NOW))).0 - NOW - 60 * SECOND;
    assert_eq!((refused.limits, refused.month, refused.wait), (0b11, true, Micros(of_month)));
}

#[test]
fn a_node_that_the_store_has_forgotten_reports_what_the_store_did_not_know() {
    let mut account = Account::default();
    let late = LeaseRequest { acked: Cost(30 * UNIT), ..ask(5, 32 * UNIT, 0, UNIT, 0) };
    let next = grant(account.apply(&free(), 1, &late, UnixMicros(NOW)));
    assert_eq!((next.hold, account.used(month_of(UnixMicros(NOW)))), (Cost(UNIT), Cost(2 * UNIT)));
}

#[test]
fn a_clock_that_steps_back_refills_nothing() {
    let mut account = Account::default();
    account.charge(&free(), Cost(150 * UNIT), UnixMicros(NOW));
    assert!(account.charge(&free(), Cost(UNIT), UnixMicros(NOW - 3_600 * SECOND)).refusal.is_some());
    assert!(
        account.charge(&free(), Cost(UNIT), UnixMicros(NOW - 3_600 * SECOND + 600_000)).refusal.is_none()
    );
}

#[test]
fn unlimited_is_counted_and_never_refused() {
    let mut account = Account::default();
    account.apply(&Terms::default(), 1, &ask(1, 1_000_000 * UNIT, 0, 0, 0), UnixMicros(NOW));
    assert_eq!(account.used(month_of(UnixMicros(NOW))), Cost(1_000_000 * UNIT));
    assert_eq!(account.charge(&Terms::default(), Cost(5), UnixMicros(NOW)).refusal, None);
}

fn any_lease() -> impl Strategy<Value = LeaseRequest> {
    let small = || 0..200 * UNIT;
    (
        prop_oneof![6..9_u64, any::<u64>()],
        prop_oneof![0..6_u32, any::<u32>()],
        [small().boxed(), any::<u64>().boxed()].map(|some| some),
        any::<u16>(),
        [small(), small(), small()],
        prop::bool::weighted(0.05),
    )
        .prop_map(|(epoch, seq, [spent, absurd], month, [hold, need, want], is_absurd)| LeaseRequest {
            epoch,
            seq,
            spent: if is_absurd { Cost(absurd) } else { Cost(spent) },
            acked: Cost(absurd % 50_000),
            spent_before_month: Cost(absurd % 200_000),
            month,
            hold: if is_absurd { Cost(absurd) } else { Cost(hold) },
            need: Cost(need),
            queued: Cost(absurd % 9_000),
            want: if is_absurd { Cost(absurd) } else { Cost(want) },
            since: [absurd % 3, LONGEST_EMPTY.0 - absurd % 10, absurd % (2 * LONGEST_EMPTY.0)],
        })
}

proptest! {
    /// Whatever nodes say, what is in the bucket and what is lent fit it, and the month.
    #[test]
    fn no_message_makes_the_store_lend_more_than_there_is(
        steps in prop::collection::vec((1..4_u64, any_lease(), 0..20 * SECOND), 1..60),
    ) {
        let terms = terms(&[(100, 60, 150), (20, 1, 100)], Some(1_000));
        let mut account = Account::default();
        let mut now = NOW;
        for (node, lease, elapsed) in steps {
            now += elapsed;
            let before = account.clone();
            let applied = account.apply(&terms, node, &lease, UnixMicros(now));
            let lent = account.lent();
            if let Applied::Grant(grant) = applied {
                prop_assert!(grant.hold <= Cost(EXACT));
                let grew = lent > before.lent();
                for (level, bucket) in account.levels.iter().zip(&terms.buckets) {
                    prop_assert!(level.work <= bucket.capacity);
                    prop_assert!(!grew || level.work.plus(bucket.work_of(lent)) <= bucket.capacity);
                }
                prop_assert!(!grew || account.used(month_of(UnixMicros(now))).plus(lent) <= Cost(1_000 * UNIT));
            }
            prop_assert!(account.loans.len() <= 3);
        }
    }

    /// What honest nodes let through, over all of them, stays below capacity + rate·t, and the usage is exact.
    #[test]
    fn honest_nodes_never_let_through_more_than_the_limit(
        steps in prop::collection::vec((0..3_usize, 1..5_u64, 0..3_u64, 0..2 * SECOND, 0..4_u8), 1..200),
    ) {
        let terms = terms(&[(100, 60, 150)], None);
        let mut account = Account::default();
        let (mut nodes, mut now, mut admitted) = ([(0_u32, 0_u64, 0_u64); 3], NOW, Vec::new());
        for (node, cost, want, elapsed, fate) in steps {
            now += elapsed;
            let (seq, spent, hold) = &mut nodes[node];
            let cost = cost * UNIT;
            if *hold < cost {
                *seq += 1;
                let lease = ask(*seq, *spent, *hold, cost, want * 3 * UNIT);
                if fate == 0 { continue } // The message is lost.
                let reply = grant(account.apply(&terms, node as u64, &lease, UnixMicros(now)));
                if fate == 1 { *hold = 0; continue } // The reply is lost; the node is right to hold less.
                *hold = reply.hold.0;
            }
            if *hold >= cost {
                *hold -= cost;
                *spent += cost;
                admitted.push((now, cost));
            }
        }
        for (first, (start, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &admitted[first..] {
                sum += cost;
                let most = 150 * UNIT + (at - start) * 100 * UNIT / (60 * SECOND) + 1;
                prop_assert!(sum <= most, "{sum} in {} us", at - start);
            }
        }
        for (node, (seq, spent, _)) in nodes.into_iter().enumerate() {
            account.apply(&terms, node as u64, &ask(seq + 1, spent, 0, 0, 0), UnixMicros(now));
        }
        let all: u64 = admitted.iter().map(|(_, cost)| cost).sum();
        prop_assert_eq!(account.usage.iter().map(|usage| usage.used.0).sum::<u64>(), all);
    }
}

#[test]
fn a_node_that_says_something_now_and_then_may_sit_on_little_for_long() {
    let mut account = Account::default();
    let mut next = |seq, spent, hold, need, want, seconds: u64| {
        let applied =
            account.apply(&free(), 1, &ask(seq, spent, hold, need, want), UnixMicros(NOW + seconds * SECOND));
        let grant = grant(applied);
        (grant.hold.whole_units(), grant.ttl, grant.idle)
    };
    assert_eq!(next(1, 0, 0, UNIT, 5 * UNIT, 0), (5, Millis(10_000), IDLE), "nothing is known of it");
    assert_eq!(next(2, UNIT, 0, 0, 0, 3), (0, Millis(10_000), IDLE), "it says something often");
    assert_eq!(next(3, UNIT, 0, UNIT, 5 * UNIT, 8), (5, Millis(58_000), IDLE_CALM));
    assert_eq!(
        next(4, 2 * UNIT, 4 * UNIT, 0, 4 * UNIT, 9),
        (4, Millis(58_000), IDLE_CALM),
        "its first report"
    );
    assert_eq!(next(5, 3 * UNIT, 3 * UNIT, 0, 5 * UNIT, 20), (5, Millis(58_000), IDLE_PATIENT));
    assert_eq!(
        next(6, 8 * UNIT, 0, UNIT, 100 * UNIT, 21),
        (37, Millis(10_000), IDLE),
        "others come with that one"
    );
}

#[test]
fn no_more_than_an_eighth_of_a_bucket_lies_idle_for_long() {
    let mut account = Account::default();
    for node in 1..=5 {
        account.apply(&free(), node, &ask(1, 0, 0, 0, 0), UnixMicros(NOW));
    }
    for (node, lent, ttl_ms) in [(1, 10, 58_000), (2, 8, 58_000), (3, 1, 10_000)] {
        let next =
            account.apply(&free(), node, &ask(2, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW + 10 * SECOND));
        let next = grant(next);
        assert_eq!((next.hold, next.ttl), (Cost(lent * UNIT), Millis(ttl_ms)), "150 / 8 are 18, node {node}");
    }
    let month =
        account.apply(&terms(&[(100, 60, 150)], Some(100)), 4, &ask(2, 0, 0, UNIT, UNIT), UnixMicros(NOW));
    assert_eq!(grant(month).idle, IDLE_SCARCE, "and nothing where the month is scarce");
}
