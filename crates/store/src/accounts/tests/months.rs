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
        spent_before_day: Cost(60 * UNIT),
        day: day_of(december).0,
        ..ask(2, 65 * UNIT, 0, 0, 0)
    };
    account.apply(&terms, 1, &late, december.after(Micros(SECOND)));
    assert_eq!((account.used(november), account.used(november + 1)), (Cost(60 * UNIT), Cost(5 * UNIT)));
}

#[test]
fn a_node_cannot_say_that_the_month_has_turned() {
    let november = month_of(UnixMicros(NOW));
    let mut account = Account::default();
    let early = LeaseRequest {
        day: day_of(end_of(november)).0,
        spent_before_day: Cost(3 * UNIT),
        ..ask(1, 5 * UNIT, 0, 0, 0)
    };
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
fn a_report_belongs_to_the_day_it_is_of() {
    let (today, tomorrow) = (day_of(UnixMicros(NOW)), day_of(UnixMicros(NOW + DAY)));
    let at = |seconds: u64| UnixMicros(NOW + DAY + seconds * SECOND);
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 3 * UNIT, 0, 40 * UNIT, 0), UnixMicros(NOW + DAY - SECOND));
    // Of 30 spent since, 20 were spent before midnight, and another request has come since.
    account.charge(&free(), Cost(UNIT), at(1));
    assert_eq!(account.take_moved(), [Moved { day: today, more: Cost(3 * UNIT), less: Cost(0) }]);
    let late = LeaseRequest {
        spent_before_day: Cost(23 * UNIT),
        day: tomorrow.0,
        ..ask(2, 33 * UNIT, 10 * UNIT, 0, 0)
    };
    account.apply(&free(), 1, &late, at(2));
    assert_eq!(account.take_moved(), [Moved { day: today, more: Cost(20 * UNIT), less: Cost(0) }]);
    assert_eq!(account.used_on(tomorrow), Cost(11 * UNIT));
    assert_eq!(account.used(month_of(at(0))), Cost(34 * UNIT));
}

#[test]
fn what_a_lost_node_held_counts_on_the_day_on_which_it_was_lent_and_comes_back_to_it() {
    let (today, tomorrow) = (day_of(UnixMicros(NOW)), day_of(UnixMicros(NOW + DAY)));
    let midnight = NOW + DAY;
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 0, 0, 40 * UNIT, 0), UnixMicros(midnight - SECOND));
    let late = UnixMicros(midnight + 60 * SECOND);
    assert_eq!(account.used_on_at(today, late), Cost(40 * UNIT));
    account.charge(&free(), Cost(UNIT), late);
    let used = |account: &mut Account| -> i64 {
        let of_today = account.take_moved().into_iter().filter(|moved| moved.day == today);
        of_today.map(|moved| moved.more.0.cast_signed() - moved.less.0.cast_signed()).sum()
    };
    assert_eq!(used(&mut account), 40_000);
    // It lives, and has spent 15, of which 5 after midnight.
    let report =
        LeaseRequest { spent_before_day: Cost(10 * UNIT), day: tomorrow.0, ..ask(2, 15 * UNIT, 0, 0, 0) };
    account.apply(&free(), 1, &report, late);
    assert_eq!(used(&mut account), -30_000);
    assert_eq!((account.used_on(tomorrow), account.used(month_of(late))), (Cost(6 * UNIT), Cost(16 * UNIT)));
}

#[test]
fn what_comes_back_comes_off_today_and_then_yesterday() {
    let (today, midnight) = (day_of(UnixMicros(NOW)), NOW + DAY);
    let (before, after) = (UnixMicros(midnight - SECOND), UnixMicros(midnight + SECOND));
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 20 * UNIT, 0, 0, 0), before);
    account.charge(&free(), Cost(4 * UNIT), after);
    account.take_moved();
    let returned = tollgate_core::wire::Returned { cost: Cost(10 * UNIT), age: Micros(3 * SECOND) };
    let report = LeaseRequest { returned, day: day_of(after).0, ..ask(2, 10 * UNIT, 0, 0, 0) };
    account.apply(&free(), 1, &report, after);
    assert_eq!(account.take_moved(), [Moved { day: today, more: Cost(0), less: Cost(6 * UNIT) }]);
    assert_eq!(account.used(month_of(after)), Cost(14 * UNIT));
    // A reservation knows its day.
    account.settle(&free(), Cost(20 * UNIT), Cost(19 * UNIT), before, after);
    assert_eq!(account.take_moved(), [Moved { day: today, more: Cost(0), less: Cost(UNIT) }]);
}

#[test]
fn what_comes_back_before_anything_is_used_today_comes_off_yesterday() {
    let (today, midnight) = (day_of(UnixMicros(NOW)), NOW + DAY);
    let (before, after) = (UnixMicros(midnight - SECOND), UnixMicros(midnight + SECOND));
    let mut account = Account::default();
    account.apply(&free(), 1, &ask(1, 20 * UNIT, 0, 0, 0), before);
    let returned = tollgate_core::wire::Returned { cost: Cost(10 * UNIT), age: Micros(3 * SECOND) };
    let report = LeaseRequest { returned, day: day_of(after).0, ..ask(2, 10 * UNIT, 0, 0, 0) };
    account.apply(&free(), 1, &report, after);
    let moved = account.take_moved();
    assert_eq!((moved, account.used_on(today)), (Vec::new(), Cost(10 * UNIT)));
}
