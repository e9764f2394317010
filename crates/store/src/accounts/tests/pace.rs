//! How long a lease may lie idle.

use super::*;

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
