use super::*;
use crate::limit::{Limit, Period};
use proptest::prelude::*;

fn tier(limits: Vec<Limit>, monthly: Option<Cost>) -> Tier {
    Tier { name: "free".into(), limits, monthly, on_failure: None }
}

fn per_minute(units: u64, burst: u64) -> Limit {
    Limit::new(units, Period::Minute, burst).unwrap()
}

const ONE: Cost = Cost::from_units(1);
/// 2026-11-24T00:00:00Z.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);

#[test]
fn a_refused_request_charges_nothing_anywhere() {
    let tier = tier(
        vec![Limit::new(2, Period::Second, 100).unwrap(), per_minute(100, 100)],
        Some(Cost::from_units(50)),
    );
    let mut account = Account::default();
    assert_eq!(decide_all(&mut account, &tier, ONE, NOW), Verdict::Allowed);
    assert_eq!(decide_all(&mut account, &tier, ONE, NOW), Verdict::Allowed);
    let before = account;
    let refusal = Refusal { limits: 0b01, month: false, until: UnixNanos(NOW.0 + 500_000_000) };
    assert_eq!(decide_all(&mut account, &tier, ONE, NOW), Verdict::NotNow(refusal));
    assert_eq!(account, before);
    assert_eq!(decide_all(&mut account, &tier, ONE, refusal.until), Verdict::Allowed);
}

#[test]
fn the_month_refuses_until_its_end_and_starts_anew() {
    let tier = tier(vec![], Some(Cost::from_units(3)));
    let mut account = Account::default();
    for _ in 0..3 {
        assert_eq!(decide_all(&mut account, &tier, ONE, NOW), Verdict::Allowed);
    }
    let december = UnixNanos::from_seconds(1_796_083_200);
    let refusal = Refusal { limits: 0, month: true, until: december };
    assert_eq!(decide_all(&mut account, &tier, ONE, NOW), Verdict::NotNow(refusal));
    assert_eq!(decide_all(&mut account, &tier, ONE, UnixNanos(december.0 - 1)), Verdict::NotNow(refusal));
    assert_eq!(decide_all(&mut account, &tier, ONE, december), Verdict::Allowed);
    assert_eq!(account.used, ONE);
}

#[test]
fn the_longest_of_several_waits_is_the_one_that_is_told() {
    let tier = tier(vec![Limit::new(1, Period::Second, 100).unwrap(), per_minute(1, 100)], Some(ONE));
    let mut account = Account::default();
    assert_eq!(decide_all(&mut account, &tier, ONE, NOW), Verdict::Allowed);
    let Verdict::NotNow(refusal) = decide_all(&mut account, &tier, ONE, NOW) else { panic!("allowed") };
    assert_eq!((refusal.limits, refusal.month), (0b11, true));
    assert_eq!(refusal.until, Month::of(NOW).end());
}

#[test]
fn what_can_never_be_allowed_is_told_apart() {
    let two = Cost::from_units(2);
    assert_eq!(
        decide_all(&mut Account::default(), &tier(vec![per_minute(1, 100)], None), two, NOW),
        Verdict::Never
    );
    assert_eq!(decide_all(&mut Account::default(), &tier(vec![], Some(ONE)), two, NOW), Verdict::Never);
}

#[test]
fn a_lagging_clock_refills_nothing_twice() {
    let tier = tier(vec![per_minute(60, 100)], None);
    let mut account = Account::default();
    for _ in 0..60 {
        assert_eq!(decide_all(&mut account, &tier, ONE, NOW), Verdict::Allowed);
    }
    // Two workers whose clocks differ by a millisecond take turns: only the later clock refills.
    let ahead = UnixNanos(NOW.0 + 999_000_000);
    assert!(matches!(decide_all(&mut account, &tier, ONE, ahead), Verdict::NotNow(_)));
    assert!(matches!(decide_all(&mut account, &tier, ONE, NOW), Verdict::NotNow(_)));
    let Verdict::NotNow(refusal) = decide_all(&mut account, &tier, ONE, NOW) else { panic!("refilled") };
    assert_eq!(refusal.until, UnixNanos(NOW.0 + 1_000_000_000));
    assert_eq!(decide_all(&mut account, &tier, ONE, UnixNanos(NOW.0 + 1_000_000_000)), Verdict::Allowed);
}

#[test]
fn a_clock_set_back_an_hour_neither_refills_nor_locks_out() {
    let tier = tier(vec![per_minute(60, 100)], Some(Cost::from_units(1_000)));
    let mut account = Account::default();
    for _ in 0..60 {
        assert_eq!(decide_all(&mut account, &tier, ONE, NOW), Verdict::Allowed);
    }
    let back = UnixNanos(NOW.0 - 3_600_000_000_000);
    let Verdict::NotNow(refusal) = decide_all(&mut account, &tier, ONE, back) else { panic!("refilled") };
    assert_eq!(refusal.until.since(back), Nanos::from_seconds(1));
    assert_eq!(decide_all(&mut account, &tier, ONE, refusal.until), Verdict::Allowed);
    assert_eq!(account.used, Cost::from_units(61));
}

#[test]
fn a_month_does_not_turn_back_with_the_clock() {
    let tier = tier(vec![], Some(Cost::from_units(2)));
    let (november, december) = (NOW, Month::of(NOW).end());
    let mut account = Account::default();
    assert_eq!(decide_all(&mut account, &tier, ONE, december), Verdict::Allowed);
    assert_eq!(decide_all(&mut account, &tier, ONE, november), Verdict::Allowed);
    assert!(matches!(decide_all(&mut account, &tier, ONE, november), Verdict::NotNow(_)));
    assert!(matches!(decide_all(&mut account, &tier, ONE, december), Verdict::NotNow(_)));
}

proptest! {
    /// The promise itself, checked by an independent sum: in any interval of length t, what was admitted costs at most
    /// capacity + rate × t. The comparison is in whole numbers: thousandths of a unit × period.
    #[test]
    fn admitted_cost_stays_below_capacity_plus_rate_times_t(
        units in 1_u64..500, burst in 100_u64..300, period in proptest::sample::select(Period::ALL.to_vec()),
        arrivals in proptest::collection::vec((0_u64..2_000_000_000, 1_u64..3_000), 1..200),
    ) {
        let limit = Limit::new(units, period, burst).unwrap();
        let tier = tier(vec![limit], None);
        let (mut account, mut now) = (Account::default(), NOW);
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        for (gap, cost) in arrivals {
            now.0 += gap;
            if decide_all(&mut account, &tier, Cost(cost), now) == Verdict::Allowed {
                admitted.push((now.0, cost));
            }
        }
        let length = u128::from(period.length().0);
        let rate = u128::from(units) * 1_000;
        for (first, (start, _)) in admitted.iter().enumerate() {
            let mut sum = 0_u128;
            for (end, cost) in &admitted[first..] {
                sum += u128::from(*cost);
                let bound = rate * u128::from(burst) * length / 100 + rate * u128::from(end - start);
                prop_assert!(sum * length <= bound, "{sum} milli-units in {} ns", end - start);
            }
        }
    }

    /// No budget is lost: a client that always asks gets all that the rate allows.
    #[test]
    fn steady_overload_gets_all_of_the_rate(units in 1_u64..5_000, burst in 100_u64..200) {
        let limit = Limit::new(units, Period::Minute, burst).unwrap();
        let tier = tier(vec![limit], None);
        let (mut account, mut now, mut admitted) = (Account::default(), NOW, 0_u64);
        while now.since(NOW) <= Nanos::from_seconds(120) {
            match decide_all(&mut account, &tier, ONE, now) {
                Verdict::Allowed => admitted += 1,
                Verdict::NotNow(refusal) => now = refusal.until,
                Verdict::Never => panic!("one unit always fits"),
            }
        }
        prop_assert_eq!(admitted, limit.capacity().whole_units() + 2 * units);
    }
}
