//! What a node reports, also twice, late, or after it has lost its record.

use super::*;

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
fn a_repeated_message_is_answered_by_what_the_store_knows_was_spent() {
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 3 * UNIT, 0, UNIT, 10 * UNIT), UnixMicros(NOW));
    let again = grant(account.apply(&free(), 1, &ask(1, 5 * UNIT, 0, UNIT, 0), UnixMicros(NOW)));
    assert_eq!((again.spent, again.hold), (Cost(3 * UNIT), Cost(10 * UNIT)));
}

#[test]
fn a_repeated_message_that_tells_of_more_is_answered_by_what_was_known() {
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW));
    let first = grant(account.apply(&free(), 1, &ask(2, 4 * UNIT, 6 * UNIT, 0, 10 * UNIT), UnixMicros(NOW)));
    // Another worker of the node has spent two units since, and asks while the first one's message is under way.
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
    // The node had spent three of the ten, and let four more through without a lease.
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
    // Both leases have ended, the last one a minute ago. 100 of 150 units have drained.
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
fn a_node_that_the_store_has_forgotten_reports_what_the_store_did_not_know() {
    let mut account = Account::default();
    let late = LeaseRequest { acked: Cost(30 * UNIT), ..ask(5, 32 * UNIT, 0, UNIT, 0) };
    let next = grant(account.apply(&free(), 1, &late, UnixMicros(NOW)));
    assert_eq!((next.hold, account.used(month_of(UnixMicros(NOW)))), (Cost(UNIT), Cost(2 * UNIT)));
}

#[test]
fn what_is_spent_after_a_reset_from_a_lease_of_before_drains_from_its_report_on() {
    let mut account = Account::default();
    account.charge(&free(), Cost(100 * UNIT), UnixMicros(NOW));
    account.apply(&free(), 1, &ask(1, 0, 0, UNIT, 10 * UNIT), UnixMicros(NOW));
    account.reset(true, false, UnixMicros(NOW + 3_000_000));
    let earlier = LeaseRequest { since: [Micros(1); 3], ..ask(2, 10 * UNIT, 0, 0, 0) };
    let told = grant(account.apply(&free(), 1, &earlier, UnixMicros(NOW + 6_000_000)));
    assert_eq!(told.used[0], Cost(10 * UNIT), "nothing of it has drained");
    account.apply(&free(), 1, &ask(3, 10 * UNIT, 0, UNIT, 10 * UNIT), UnixMicros(NOW + 59_000_000));
    let earlier = LeaseRequest { since: [Micros(1); 3], ..ask(4, 15 * UNIT, 0, 0, 0) };
    let told = grant(account.apply(&free(), 1, &earlier, UnixMicros(NOW + 62_000_000)));
    assert_eq!(told.used[0], Cost(0), "all leases of before have ended: 5 units drain in 3 seconds");
}
