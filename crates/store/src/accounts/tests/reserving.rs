//! Reservations: what is held at first, and what it costs in the end.

use std::sync::Arc;

use super::*;

const MINUTES: u64 = 60 * SECOND;

fn hold(terms: &Terms, cost: u64) -> Hold {
    Hold {
        tier: "free".into(),
        terms: Arc::new(terms.clone()),
        cost: Cost(cost),
        ttl: Micros(5 * MINUTES),
        context: b"kept".to_vec(),
    }
}

fn used(account: &Account) -> Cost {
    account.used(month_of(UnixMicros(NOW)))
}

#[test]
fn a_reservation_charges_at_once_and_settling_replaces_its_cost_once() {
    let (terms, mut account) = (free(), Account::default());
    let mut reservation = account.reserve(&hold(&terms, 20 * UNIT), UnixMicros(NOW)).unwrap();
    assert_eq!((used(&account), reservation.expires), (Cost(20 * UNIT), UnixMicros(NOW + 5 * MINUTES)));
    let later = UnixMicros(NOW + SECOND);
    assert_eq!(reservation.settle(&mut account, Cost(7 * UNIT), later), Settling::Now);
    assert_eq!(used(&account), Cost(7 * UNIT));
    let answer = reservation.clone();
    for cost in [7 * UNIT, 9 * UNIT] {
        assert_eq!(reservation.settle(&mut account, Cost(cost), later), Settling::Before);
        assert_eq!((used(&account), &reservation), (Cost(7 * UNIT), &answer));
    }
}

#[test]
fn what_costs_more_in_the_end_is_charged_without_a_refusal() {
    let (terms, mut account) = (free(), Account::default());
    let mut reservation = account.reserve(&hold(&terms, 0), UnixMicros(NOW)).unwrap();
    reservation.settle(&mut account, Cost(400 * UNIT), UnixMicros(NOW));
    assert_eq!(used(&account), Cost(400 * UNIT));
    assert_eq!(reservation.settled.unwrap().grant.used[0], Cost(150 * UNIT));
}

#[test]
fn a_refused_reservation_holds_nothing() {
    let (terms, mut account) = (free(), Account::default());
    account.charge(&terms, Cost(140 * UNIT), UnixMicros(NOW));
    let refused = account.reserve(&hold(&terms, 20 * UNIT), UnixMicros(NOW)).unwrap_err();
    assert!(refused.grant.refusal.is_some());
    assert_eq!(used(&account), Cost(140 * UNIT));
}

#[test]
fn what_is_settled_too_late_stays_spent() {
    let (terms, mut account) = (free(), Account::default());
    let mut reservation = account.reserve(&hold(&terms, 20 * UNIT), UnixMicros(NOW)).unwrap();
    let settled =
        reservation.clone().settle(&mut account.clone(), Cost(0), UnixMicros(NOW + 5 * MINUTES - 1));
    assert_eq!(settled, Settling::Now);
    let before = account.clone();
    let over = reservation.settle(&mut account, Cost(0), UnixMicros(NOW + 5 * MINUTES));
    assert_eq!((over, account), (Settling::TooLate, before));
    assert_eq!(reservation.settled, None);
}

#[test]
fn reservations_count_until_the_minute_in_which_they_are_forgotten_is_over() {
    let mut count = ReservationCount::default();
    for seconds in [61, 61, 119, 120, 121] {
        count.add(UnixMicros(NOW + seconds * SECOND));
    }
    assert_eq!(count.minutes.len(), 2);
    for (seconds, left) in [(0, 5), (61, 5), (119, 5), (120, 1), (179, 1), (180, 0)] {
        assert_eq!(count.advance(UnixMicros(NOW + seconds * SECOND)), left, "{seconds}");
    }
}
