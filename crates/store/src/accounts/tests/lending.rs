//! What a node is lent, and when it is refused.

use super::*;

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
    // The first node has spent all of it, which drains from now on.
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
