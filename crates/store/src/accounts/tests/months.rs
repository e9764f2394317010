//! Which month spending belongs to.

use super::*;

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
