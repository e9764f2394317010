//! Requests that turn out to cost something else than they were charged at first.

use super::*;
use proptest::prelude::*;
use tollgate_core::wire::Returned;

/// The report of `spent` since the epoch's beginning, of which `cost` came back that was charged up to `age` ago.
fn returning(seq: u32, spent: u64, cost: u64, age: u64) -> LeaseRequest {
    let returned = Returned { cost: Cost(cost), age: Micros(age) };
    LeaseRequest { returned, ..ask(seq, spent, 0, 0, 0) }
}

fn level(account: &Account, terms: &Terms) -> Cost {
    terms.buckets[0].cost_of(account.levels[0].work)
}

#[test]
fn less_comes_back_to_month_and_bucket_and_more_is_charged() {
    let (terms, mut account) = (free(), Account::default());
    account.charge(&terms, Cost(20 * UNIT), UnixMicros(NOW));
    let settled = account.settle(&terms, Cost(20 * UNIT), Cost(5 * UNIT), UnixMicros(NOW), UnixMicros(NOW));
    assert_eq!((settled.used[0], settled.month_used), (Cost(5 * UNIT), Cost(5 * UNIT)));
    let settled = account.settle(&terms, Cost(20 * UNIT), Cost(57 * UNIT), UnixMicros(NOW), UnixMicros(NOW));
    assert_eq!((settled.used[0], settled.month_used), (Cost(42 * UNIT), Cost(42 * UNIT)));
}

#[test]
fn more_than_the_bucket_holds_counts_in_the_month_and_fills_the_bucket() {
    let (terms, mut account) = (free(), Account::default());
    account.charge(&terms, Cost(20 * UNIT), UnixMicros(NOW));
    account.settle(&terms, Cost(20 * UNIT), Cost(1_000 * UNIT), UnixMicros(NOW), UnixMicros(NOW));
    assert_eq!(level(&account, &terms), Cost(150 * UNIT));
    assert_eq!(account.used(month_of(UnixMicros(NOW))), Cost(1_000 * UNIT));
}

#[test]
fn what_has_drained_does_not_come_back_to_the_bucket() {
    let (terms, mut account) = (free(), Account::default());
    account.charge(&terms, Cost(20 * UNIT), UnixMicros(NOW));
    // All of it has drained after 12 seconds, and another request has been charged since.
    let later = UnixMicros(NOW + 30 * SECOND);
    account.charge(&terms, Cost(15 * UNIT), later);
    account.settle(&terms, Cost(20 * UNIT), Cost(0), UnixMicros(NOW), later);
    assert_eq!(level(&account, &terms), Cost(15 * UNIT));
    assert_eq!(account.used(month_of(later)), Cost(15 * UNIT));
}

#[test]
fn a_client_at_its_limit_gets_back_all_even_of_slow_requests() {
    // 20 are charged at first and 10 are the cost, two seconds later, in which more than three units drain.
    let (terms, mut account) = (free(), Account::default());
    let mut flying = std::collections::VecDeque::new();
    let mut admitted = 0;
    for step in 0..6_000_u64 {
        let now = UnixMicros(NOW + step * 100_000);
        if let Some(at) = flying.pop_front_if(|at: &mut UnixMicros| now.since(*at) >= Micros(2 * SECOND)) {
            account.settle(&terms, Cost(20 * UNIT), Cost(10 * UNIT), at, now);
        }
        if account.charge(&terms, Cost(20 * UNIT), now).refusal.is_none() {
            admitted += 10;
            flying.push_back(now);
        }
    }
    // 600 s at 100 a minute and the bucket of 150, less what is lost while the bucket fills for the first time.
    assert!((1_090..=1_150).contains(&admitted), "{admitted}");
}

#[test]
fn a_report_that_is_lost_or_repeated_gives_back_once() {
    let (terms, mut account) = (free(), Account::default());
    let now = UnixMicros(NOW);
    account.apply(&terms, 1, &ask(1, 60 * UNIT, 0, 0, 0), now);
    for _ in 0..2 {
        account.apply(&terms, 1, &returning(2, 45 * UNIT, 15 * UNIT, 0), now);
        assert_eq!(account.used(month_of(now)), Cost(45 * UNIT));
    }
    assert_eq!(level(&account, &terms), Cost(45 * UNIT));
    // The answer was lost, so that the node says it again, with what came back since.
    account.apply(&terms, 1, &returning(3, 40 * UNIT, 20 * UNIT, 0), now);
    assert_eq!(account.used(month_of(now)), Cost(40 * UNIT));
    assert_eq!(level(&account, &terms), Cost(40 * UNIT));
}

#[test]
fn what_is_told_again_empties_no_full_bucket() {
    let (terms, mut account) = (free(), Account::default());
    let at = |millis: u64| UnixMicros(NOW + millis * 1_000);
    account.apply(&terms, 1, &ask(1, 150 * UNIT, 0, 0, 0), at(0));
    account.apply(&terms, 1, &returning(2, 130 * UNIT, 20 * UNIT, 600_000), at(100));
    let mut admitted = 130;
    for again in 1..=3 {
        if account.charge(&terms, Cost(19 * UNIT), at(100 * again)).refusal.is_none() {
            admitted += 19;
        }
        let seq = 2 + u32::try_from(again).unwrap();
        account.apply(&terms, 1, &returning(seq, 130 * UNIT, 20 * UNIT, 600_000), at(100 * again + 50));
    }
    // In 0.3 s the bucket drains half a unit.
    assert!((140..=150).contains(&admitted), "{admitted}");
    assert_eq!(account.used(month_of(at(0))), Cost(admitted * UNIT));
}

#[test]
fn what_is_told_again_is_still_lent() {
    let (terms, mut account) = (free(), Account::default());
    let at = |millis: u64| UnixMicros(NOW + millis * 1_000);
    account.apply(&terms, 1, &ask(1, 0, 0, 100 * UNIT, 0), at(0));
    let lent = grant(account.apply(&terms, 1, &ask(2, 100 * UNIT, 0, 40 * UNIT, 0), at(10)));
    assert_eq!(lent.hold, Cost(40 * UNIT));
    for seq in 3..=5 {
        let told = LeaseRequest { hold: Cost(40 * UNIT), ..returning(seq, 80 * UNIT, 20 * UNIT, 600_000) };
        let answer = grant(account.apply(&terms, 1, &told, at(160 * u64::from(seq))));
        assert_eq!(answer.hold, Cost(40 * UNIT));
    }
    // 80 are spent and 40 are lent of 150.
    let other = grant(account.apply(&terms, 2, &ask(1, 0, 0, 33 * UNIT, 0), at(801)));
    assert!(other.refusal.is_some());
}

#[test]
fn what_was_spent_beyond_a_full_bucket_gives_back_no_more_than_it_poured_in() {
    let (terms, mut account) = (free(), Account::default());
    account.charge(&terms, Cost(100 * UNIT), UnixMicros(NOW));
    account.apply(&terms, 1, &returning(1, 0, 140 * UNIT, 300_000), UnixMicros(NOW));
    assert_eq!(level(&account, &terms), Cost(100 * UNIT));
}

#[test]
fn a_bucket_that_is_empty_knows_nothing_of_what_came_back() {
    let (terms, mut account) = (free(), Account::default());
    account.charge(&terms, Cost(20 * UNIT), UnixMicros(NOW));
    account.settle(&terms, Cost(20 * UNIT), Cost(5 * UNIT), UnixMicros(NOW), UnixMicros(NOW));
    assert_ne!(account.levels[0].floor, Work(0));
    account.charge(&terms, Cost(0), UnixMicros(NOW + 60 * SECOND));
    assert_eq!(account.levels[0].floor, Work(0));
}

#[test]
fn a_store_that_has_lost_the_node_learns_its_whole_epoch_anew() {
    let (terms, mut account) = (free(), Account::default());
    let now = UnixMicros(NOW);
    account.apply(&terms, 1, &returning(9, 45 * UNIT, 15 * UNIT, 0), now);
    assert_eq!((account.used(month_of(now)), level(&account, &terms)), (Cost(45 * UNIT), Cost(45 * UNIT)));
}

#[test]
fn what_is_less_without_a_word_is_an_old_report() {
    let (terms, mut account) = (free(), Account::default());
    let now = UnixMicros(NOW);
    account.apply(&terms, 1, &ask(1, 60 * UNIT, 0, 0, 0), now);
    account.apply(&terms, 1, &ask(2, 45 * UNIT, 0, 0, 0), now);
    assert_eq!(account.used(month_of(now)), Cost(60 * UNIT));
}

#[test]
fn what_was_reserved_before_the_months_turn_comes_back_to_its_own_month() {
    let (terms, mut account) = (free(), Account::default());
    let turn = end_of(month_of(UnixMicros(NOW)));
    let (before, after) = (UnixMicros(turn.0 - SECOND), UnixMicros(turn.0 + SECOND));
    account.charge(&terms, Cost(20 * UNIT), before);
    account.charge(&terms, Cost(4 * UNIT), after);
    account.settle(&terms, Cost(20 * UNIT), Cost(10 * UNIT), before, after);
    assert_eq!(account.used(month_of(before)), Cost(10 * UNIT));
    assert_eq!(account.used(month_of(after)), Cost(4 * UNIT));
}

#[test]
fn what_a_node_gives_back_after_the_months_turn_comes_off_the_month_before_last() {
    let (terms, mut account) = (free(), Account::default());
    let turn = end_of(month_of(UnixMicros(NOW)));
    let (before, after) = (UnixMicros(turn.0 - SECOND), UnixMicros(turn.0 + SECOND));
    account.apply(&terms, 1, &ask(1, 20 * UNIT, 0, 0, 0), before);
    account.charge(&terms, Cost(4 * UNIT), after);
    account.apply(&terms, 1, &returning(2, 10 * UNIT, 10 * UNIT, 2 * SECOND), after);
    assert_eq!(account.used(month_of(before)), Cost(14 * UNIT));
    assert_eq!(account.used(month_of(after)), Cost(0));
}

#[test]
fn what_comes_back_after_a_reset_of_the_month_leaves_the_month_before_alone() {
    let (terms, now) = (free(), UnixMicros(NOW));
    let before = UnixMicros(NOW - 40 * 86_400 * SECOND);
    let mut account = Account::default();
    account.charge(&terms, Cost(50 * UNIT), before);
    account.charge(&terms, Cost(20 * UNIT), now);
    account.reset(false, true, now);
    account.settle(&terms, Cost(20 * UNIT), Cost(0), now, UnixMicros(NOW + SECOND));
    assert_eq!(account.used(month_of(before)), Cost(50 * UNIT));
    // The same of a gateway's report.
    account.apply(&terms, 1, &ask(1, 20 * UNIT, 0, 0, 0), now);
    account.reset(false, true, now);
    account.apply(&terms, 1, &returning(2, 0, 20 * UNIT, SECOND), UnixMicros(NOW + SECOND));
    assert_eq!(account.used(month_of(before)), Cost(50 * UNIT));
}

#[test]
fn what_was_charged_before_the_clock_was_set_back_has_drained() {
    let (terms, mut account) = (free(), Account::default());
    account.charge(&terms, Cost(150 * UNIT), UnixMicros(NOW));
    let back = NOW - 86_400 * SECOND;
    account.charge(&terms, Cost(0), UnixMicros(back));
    let later = UnixMicros(back + 120 * SECOND);
    account.charge(&terms, Cost(150 * UNIT), later);
    account.settle(&terms, Cost(150 * UNIT), Cost(0), UnixMicros(NOW), later);
    assert_eq!(level(&account, &terms), Cost(150 * UNIT));
}

/// The level of a bucket into which every request was poured as it cost, when it came.
fn exact_level(terms: &Terms, poured: &[(u64, u64)], now: u64) -> Work {
    let bucket = &terms.buckets[0];
    let (mut work, mut at) = (Work(0), NOW);
    for (moment, cost) in poured {
        work = work.less(bucket.drained_in(Micros(moment - at))).plus(bucket.work_of(Cost(*cost)));
        at = *moment;
    }
    work.less(bucket.drained_in(Micros(now - at)))
}

proptest! {
    /// A bucket never has more room than if every request had cost from the start what it costs in the end, and the month is
    /// exact.
    #[test]
    fn nothing_comes_back_that_was_never_there(
        steps in prop::collection::vec(
            (0..3_u8, any::<prop::sample::Index>(), 1..60_u64, 0..60_u64, prop_oneof![0..SECOND, 0..60 * SECOND]),
            1..80,
        ),
    ) {
        let terms = terms(&[(100, 60, 150)], None);
        let mut account = Account::default();
        let (mut poured, mut open, mut now) = (Vec::new(), Vec::new(), NOW);
        for (kind, which, first, cost, elapsed) in steps {
            now += elapsed;
            let first = first * UNIT;
            if kind > 0 {
                if account.charge(&terms, Cost(first), UnixMicros(now)).refusal.is_none() {
                    open.push(poured.len());
                    poured.push((now, first));
                }
            } else if !open.is_empty() {
                let index = open.swap_remove(which.index(open.len()));
                let (at, first) = poured[index];
                let cost = (cost * UNIT).min(first);
                account.settle(&terms, Cost(first), Cost(cost), UnixMicros(at), UnixMicros(now));
                poured[index].1 = cost;
            }
            account.advance(&terms, UnixMicros(now));
            let level = account.levels[0].work;
            prop_assert!(level >= exact_level(&terms, &poured, now), "{level:?}");
        }
        let all: u64 = poured.iter().map(|(_, cost)| cost).sum();
        prop_assert_eq!(months(&account), all);
    }
}
