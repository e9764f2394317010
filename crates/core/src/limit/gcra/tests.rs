use super::*;
use proptest::prelude::*;

fn limit(units: u64, period: Period, burst_hundredths: u64) -> Limit {
    Limit::new(units, period, burst_hundredths).unwrap()
}

/// The number of requests of `cost` that a full bucket takes at one moment.
fn burst(limit: &Limit, cost: Cost) -> u64 {
    let mut level = Level::default();
    let mut taken = 0;
    while let Ok(after) = limit.charged(level, cost) {
        level = after;
        taken += 1;
    }
    taken
}

#[test]
fn a_full_bucket_takes_exactly_its_burst() {
    assert_eq!(burst(&limit(100, Period::Minute, 150), Cost::from_units(1)), 150);
    assert_eq!(burst(&limit(100, Period::Minute, 150), Cost::from_units(2)), 75);
    assert_eq!(burst(&limit(30, Period::Minute, 100), Cost::from_units(1)), 30);
    assert_eq!(burst(&limit(3, Period::Second, 150), Cost::from_units(1)), 4, "4.5 units hold 4 requests");
    assert_eq!(burst(&limit(1_000, Period::Day, 100), Cost(500)), 2_000);
}

#[test]
fn a_rate_that_does_not_divide_its_period_is_exact_too() {
    for units in [7, 11, 13, 97, 9_999] {
        let limit = limit(units, Period::Minute, 100);
        assert_eq!(burst(&limit, Cost::from_units(1)), units);
        // A client that always sends its next request as soon as it may gets N units per minute for ever: nothing drifts.
        let mut level = limit.charged(Level::default(), limit.capacity()).unwrap();
        let (mut now, mut taken) = (0_u64, 0_u64);
        while now < 60_000_000_000 {
            let Err(NotNow::Wait(wait)) = limit.charged(level, Cost::from_units(1)) else { panic!("full") };
            level = limit.drained(level, wait);
            now += wait.0;
            level = limit.charged(level, Cost::from_units(1)).unwrap();
            taken += 1;
        }
        assert!((units - 1..=units).contains(&taken), "{taken} of {units} a minute");
    }
}

#[test]
fn what_is_left_is_rounded_down_and_full_again_is_rounded_up() {
    let limit = limit(7, Period::Minute, 100);
    let level = limit.charged(Level::default(), Cost::from_units(1)).unwrap();
    assert_eq!(limit.available(level), Cost::from_units(6));
    assert_eq!(limit.full_at(level, UnixNanos(0)), UnixNanos(8_571_428_572));
    assert_eq!(limit.drained(level, Nanos(8_571_428_571)).0, 3, "three sevenths of a nanosecond are owed");
    assert_eq!(limit.drained(level, Nanos(8_571_428_572)), Level(0));
    assert_eq!(limit.until_more(level), Nanos(8_571_428_572));
    assert_eq!(limit.until_more(Level(0)), Nanos(0));
}

#[test]
fn a_cost_above_the_capacity_is_never_allowed() {
    let limit = limit(10, Period::Second, 150);
    assert_eq!(limit.charged(Level(0), Cost::from_units(16)), Err(NotNow::Never));
    assert_eq!(limit.charged(Level(0), Cost(u64::MAX)), Err(NotNow::Never));
    assert!(limit.charged(Level(0), Cost::from_units(15)).is_ok());
}

#[test]
fn a_limit_that_cannot_be_kept_is_not_made() {
    assert_eq!(Limit::new(0, Period::Second, 100), Err(LimitError::NoUnits));
    assert_eq!(Limit::new(1, Period::Second, 99), Err(LimitError::Burst));
    assert_eq!(Limit::new(1, Period::Second, 100_001), Err(LimitError::Burst));
    assert_eq!(Limit::new(999_999_937, Period::Day, 100), Err(LimitError::TooFine));
    assert!(Limit::new(1_000_000_000, Period::Day, 100_000).is_ok(), "a round number is never too fine");
}

fn any_limit() -> impl Strategy<Value = Limit> {
    let period = proptest::sample::select(Period::ALL.to_vec());
    (1_u64..2_000_000, period, 100_u64..1_000)
        .prop_filter_map("too fine", |(units, period, burst)| Limit::new(units, period, burst).ok())
}

proptest! {
    #[test]
    fn a_stated_wait_is_refused_before_its_end_and_allowed_at_it(
        limit in any_limit(), spent in 0_u64..1_000, cost in 1_u64..5_000, early in 1_u64..1_000_000_000_000,
    ) {
        let level = Level(limit.capacity / 1_000 * spent);
        match limit.charged(level, Cost(cost)) {
            Err(NotNow::Wait(wait)) => {
                prop_assert!(wait > Nanos(0));
                prop_assert!(limit.charged(limit.drained(level, wait), Cost(cost)).is_ok());
                let early = Nanos(wait.0 - early.min(wait.0));
                for moment in [early, Nanos(wait.0 - 1)] {
                    prop_assert!(limit.charged(limit.drained(level, moment), Cost(cost)).is_err());
                }
            }
            Err(NotNow::Never) => prop_assert!(Cost(cost) > limit.capacity()),
            Ok(after) => prop_assert!(after.0 <= limit.capacity && after > level),
        }
    }

    #[test]
    fn what_is_said_to_be_left_can_be_spent_and_no_more(limit in any_limit(), spent in 0_u64..=1_000) {
        let level = Level(limit.capacity / 1_000 * spent);
        let left = limit.available(level);
        prop_assert!(limit.charged(level, left).is_ok());
        prop_assert!(limit.charged(level, left.plus(Cost(1))).is_err());
    }

    #[test]
    fn one_more_unit_is_there_after_the_stated_time_and_not_before(limit in any_limit(), spent in 0_u64..=1_000) {
        let level = Level(limit.capacity / 1_000 * spent);
        let wait = limit.until_more(level);
        let next = limit.available(level).whole_units() + 1;
        let later = limit.available(limit.drained(level, wait)).whole_units();
        if Cost::from_units(next) <= limit.capacity() {
            prop_assert_eq!(later, next);
            prop_assert!(wait.0 == 0 || limit.available(limit.drained(level, Nanos(wait.0 - 1))).whole_units() < next);
        } else {
            prop_assert_eq!(limit.drained(level, wait), Level(0), "nothing more than full");
        }
    }

    #[test]
    fn draining_in_steps_is_draining_at_once(limit in any_limit(), steps in proptest::collection::vec(0_u64..1_000_000_000, 1..20)) {
        let full = Level(limit.capacity);
        let total = Nanos(steps.iter().sum());
        let stepped = steps.iter().fold(full, |level, step| limit.drained(level, Nanos(*step)));
        prop_assert_eq!(stepped, limit.drained(full, total));
    }
}
