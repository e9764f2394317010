use super::*;
use proptest::prelude::*;

/// The days of the model.
const DAYS: u16 = 40;

/// A customer for each day; the last entry stands for all days after the others.
type Model = Vec<Option<&'static str>>;

const NAMES: [&str; 3] = ["cus_1", "cus_2", "cus_3"];

/// One change: to whom, from which day on, and for how many days.
type Step = (Option<&'static str>, u16, Option<u16>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let customer = prop::option::weighted(0.8, prop::sample::select(&NAMES[..]));
    prop::collection::vec((customer, 0..DAYS, prop::option::weighted(0.7, 1..DAYS)), 0..40)
}

fn make((customer, from, length): Step, periods: &Periods, model: &mut Model) -> Periods {
    let to = length.map(|length| (from + length).min(DAYS));
    for day in from..to.unwrap_or(DAYS + 1) {
        model[day as usize] = customer;
    }
    periods.with(customer, Day(from), to.map(Day))
}

proptest! {
    #[test]
    fn every_day_has_the_customer_that_was_set_for_it_last(steps in steps()) {
        let (mut periods, mut model) = (Periods::default(), vec![None; DAYS as usize + 1]);
        for step in steps {
            periods = make(step, &periods, &mut model);
            for day in 0..DAYS + 1 {
                prop_assert_eq!(customer_at(periods.as_slice(), Day(day)), model[day as usize], "day {}", day);
            }
            prop_assert_eq!(customer_at(periods.as_slice(), Day(u16::MAX)), model[DAYS as usize]);
            // There are only as many periods as the days need.
            let runs = (0..model.len()).filter(|day| {
                model[*day].is_some() && (*day == 0 || model[*day] != model[*day - 1])
            });
            prop_assert_eq!(periods.as_slice().len(), runs.count(), "{:?}", periods);
            let kept = Periods::from_bytes(&periods.to_bytes());
            prop_assert_eq!(kept.as_ref(), Some(&periods));
        }
    }

    #[test]
    fn a_change_that_is_made_again_changes_nothing(steps in steps()) {
        let (mut periods, mut model) = (Periods::default(), vec![None; DAYS as usize + 1]);
        for step in steps {
            periods = make(step, &periods, &mut model);
            prop_assert_eq!(make(step, &periods, &mut model), periods.clone());
        }
    }

    #[test]
    fn what_is_gone_and_what_is_new_lead_from_one_state_to_the_next(steps in steps()) {
        let (mut periods, mut model) = (Periods::default(), vec![None; DAYS as usize + 1]);
        for step in steps {
            let next = make(step, &periods, &mut model);
            let (gone, new) = (periods.missing_in(&next), next.missing_in(&periods));
            let mut replayed: Vec<_> = periods.as_slice().iter().filter(|period| !gone.contains(period)).collect();
            replayed.extend(new);
            replayed.sort_by_key(|period| period.first());
            prop_assert_eq!(replayed, next.as_slice().iter().collect::<Vec<_>>());
            let has = |periods: &Periods, name: &str| periods.as_slice().iter().any(|period| period.customer == name);
            for name in NAMES {
                let joins = next.customers_missing_in(&periods).contains(&name.to_owned());
                let leaves = periods.customers_missing_in(&next).contains(&name.to_owned());
                let (was, is) = (has(&periods, name), has(&next, name));
                prop_assert_eq!((joins, leaves), (is && !was, was && !is));
            }
            periods = next;
        }
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in any::<String>()) {
        let _ = (Periods::from_bytes(&bytes), Day::parse(&text));
    }
}
