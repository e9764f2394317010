use super::*;
use proptest::prelude::*;
use tollgate_core::wire::Refusal;

/// 2026-11-24.
const TODAY: Day = Day(20_781);

const START: Cost = LeaseState::START;

/// It is not known when the buckets are empty.
const UNKNOWN: [Micros; 3] = [Micros(0); 3];

const fn wish(need: u64, want: u64) -> Wish {
    Wish { need: Cost(need), queued: Cost(0), want: Cost(want) }
}

fn grant(request: &LeaseRequest, hold: u64) -> Grant {
    Grant {
        epoch: request.epoch,
        seq: request.seq,
        spent: request.spent,
        hold: Cost(hold),
        ttl: Millis(10_000),
        idle: Millis(5_000),
        ..Grant::default()
    }
}

#[test]
fn a_request_is_paid_for_as_long_as_the_lease_lasts_and_holds_enough() {
    let mut lease = LeaseState::default();
    assert_eq!(lease.spend(Cost(1_000), Tick(0)), Spend::Ask, "there is no request yet");
    let request = lease.message(wish(1_000, 0), UNKNOWN, Millis(100), NodeMillis(1_000));
    assert!(lease.apply_grant(&grant(&request, 2_000), &request, Tick(1_000), Tick(1_002)));
    assert_eq!(lease.spend(Cost(1_500), Tick(1_003)), Spend::Paid);
    assert_eq!(lease.spend(Cost(1_500), Tick(1_003)), Spend::Ask);
    assert_eq!(lease.spend(Cost(500), Tick(10_995)), Spend::Ask, "it ends before the store's does");
    assert_eq!(lease.spend(Cost(500), Tick(10_994)), Spend::Paid);
    assert_eq!((lease.spent, lease.owed()), (START.plus(Cost(2_000)), Cost(2_000)));
}

#[test]
fn what_was_spent_while_the_message_was_under_way_comes_off() {
    let mut lease = LeaseState::default();
    let first = lease.message(wish(1_000, 0), UNKNOWN, Millis(100), NodeMillis(1_000));
    lease.apply_grant(&grant(&first, 5_000), &first, Tick(1_000), Tick(1_000));
    let second = lease.message(wish(0, 5_000), UNKNOWN, Millis(100), NodeMillis(1_100));
    assert_eq!((second.hold, second.seq), (Cost(5_000), 2));
    lease.spend(Cost(3_000), Tick(1_101));
    assert!(
        !lease.apply_grant(&grant(&first, 9_000), &first, Tick(1_000), Tick(1_101)),
        "an older message's answer"
    );
    assert!(lease.apply_grant(&grant(&second, 6_000), &second, Tick(1_100), Tick(1_102)));
    assert_eq!((lease.left, lease.owed()), (Cost(3_000), Cost(3_000)));
}

#[test]
fn what_was_lent_or_refused_under_other_terms_is_given_back_or_void() {
    let mut lease = LeaseState { terms: 1, ..LeaseState::default() };
    let request = lease.message(wish(7_000, 4_000), UNKNOWN, Millis(100), NodeMillis(1_000));
    let refusal = Refusal { limits: 1, month: false, never: false, wait: Micros(60_000_000) };
    let grant = Grant { refusal: Some(refusal), ..grant(&request, 5_000) };
    assert!(lease.apply_grant(&grant, &request, Tick(1_000), Tick(1_002)));
    assert!(matches!(lease.spend(Cost(7_000), Tick(1_003)), Spend::Refused(_)));
    lease.come_under(1);
    assert_eq!((lease.left, lease.refused.cost), (Cost(5_000), Cost(7_000)), "the same terms change nothing");
    lease.spend(Cost(2_000), Tick(1_003));
    lease.come_under(2);
    assert_eq!(lease.spend(Cost(1_000), Tick(1_003)), Spend::Ask);
    let next = lease.message(wish(1_000, 0), UNKNOWN, Millis(100), NodeMillis(1_004));
    assert_eq!(
        (next.seq, next.spent, next.hold),
        (2, START.plus(Cost(2_000)), Cost(0)),
        "it tells what was spent"
    );
}

#[test]
fn a_message_under_way_is_repeated_not_replaced() {
    let mut lease = LeaseState::default();
    let first = lease.message(wish(1_000, 0), UNKNOWN, Millis(100), NodeMillis(1_000));
    assert_eq!(lease.message(wish(1_000, 0), UNKNOWN, Millis(100), NodeMillis(1_050)).seq, first.seq);
    assert_eq!(
        lease.message(wish(1_000, 0), UNKNOWN, Millis(100), NodeMillis(1_101)).seq,
        first.seq + 1,
        "until patience ends"
    );
}

#[test]
fn a_refusal_holds_for_as_much_or_more_until_its_time() {
    let mut lease = LeaseState::default();
    let request = lease.message(wish(2_000, 0), UNKNOWN, Millis(100), NodeMillis(1_000));
    let refusal = Some(Refusal { limits: 2, month: true, never: false, wait: Micros(600_001) });
    lease.apply_grant(&Grant { refusal, ..grant(&request, 0) }, &request, Tick(1_000), Tick(1_001));
    let refused = Refused { cost: Cost(2_000), until: Tick(1_602), limits: 2 | Refused::MONTH };
    assert_eq!(lease.spend(Cost(2_000), Tick(1_601)), Spend::Refused(refused));
    assert_eq!(lease.spend(Cost(1_999), Tick(1_601)), Spend::Ask);
    assert_eq!(lease.spend(Cost(2_000), Tick(1_602)), Spend::Ask);
}

#[test]
fn a_record_that_begins_anew_keeps_what_it_owes() {
    let mut lease = LeaseState::default();
    lease.owe(Cost(4_000), NodeMillis(1_000));
    lease.begin_day(TODAY);
    lease.begin_day(TODAY.next());
    lease.owe(Cost(1_000), NodeMillis(1_000));
    let epoch = lease.epoch;
    lease.begin_anew(NodeMillis(1_001));
    assert_eq!(
        (lease.spent, lease.spent_before_day, lease.acked, lease.seq),
        (START.plus(Cost(5_000)), START.plus(Cost(4_000)), START, 0)
    );
    assert!(lease.epoch > epoch);
}

#[test]
fn moments_compare_across_the_end_of_their_range() {
    let (before, after) = (Tick(u32::MAX - 5), Tick(10));
    assert!(before.has_come(after) && !after.has_come(before));
    assert_eq!((after.since(before), before.since(after)), (Millis(16), Millis(0)));
    assert_eq!(before.after(Millis(16)), after);
}

proptest! {
    #[test]
    fn nothing_that_a_store_says_makes_a_node_spend_more_than_it_was_lent(
        steps in prop::collection::vec((0..5_u8, 0..5_000_u64, any::<u32>()), 1..80),
    ) {
        let (mut lease, mut now, mut lent) = (LeaseState::default(), 1_000_u64, 0);
        for (what, amount, noise) in steps {
            now += 7;
            match what {
                0 => {
                    let before = lease.spent;
                    if lease.spend(Cost(amount), NodeMillis(now).tick()) == Spend::Paid {
                        lent -= amount;
                        prop_assert_eq!(lease.spent, before.plus(Cost(amount)));
                    }
                }
                1 => {
                    let request = lease.message(wish(amount, 0), UNKNOWN, Millis(0), NodeMillis(now));
                    lease.apply_grant(&grant(&request, amount), &request, NodeMillis(now).tick(), NodeMillis(now).tick());
                    lent = amount;
                }
                2 => {
                    let foreign = LeaseRequest { epoch: noise.into(), seq: noise, spent: Cost(amount), ..LeaseRequest::default() };
                    lease.apply_grant(&grant(&foreign, u64::MAX), &foreign, NodeMillis(now).tick(), NodeMillis(now).tick());
                }
                3 => {
                    lease.take_back(Cost(amount), NodeMillis(now - 7).tick(), true, NodeMillis(now));
                }
                _ => lease.owe(Cost(amount), NodeMillis(now)),
            }
            prop_assert!(lease.left.0 <= lent);
            prop_assert!(lease.acked <= lease.spent.plus(lease.returns.cost));
        }
    }
}

#[test]
fn what_is_owed_without_a_lease_is_told_soon_whatever_the_clock_shows() {
    // The clock's lowest 32 bits, and a first record or one whose last message is weeks old.
    for now in [1_u64 << 20, (1 << 31) + 5, (1 << 32) - 5, 3 << 31] {
        let mut lease = LeaseState::default();
        lease.owe(Cost(1_000), NodeMillis(now));
        assert_eq!(NodeMillis(now + 500).tick().since(lease.asked), Millis(500), "at {now}");
        let request = lease.message(Wish::default(), UNKNOWN, Millis(100), NodeMillis(now + 500));
        assert!(lease.apply_grant(
            &grant(&request, 0),
            &request,
            NodeMillis(now + 500).tick(),
            NodeMillis(now + 501).tick()
        ));
        let later = now + (3 << 30);
        lease.owe(Cost(1_000), NodeMillis(later));
        lease.owe(Cost(1_000), NodeMillis(later + 300));
        assert_eq!(NodeMillis(later + 500).tick().since(lease.asked), Millis(500), "at {now}");
    }
}

#[test]
fn a_lease_that_is_given_up_is_told_of_by_the_next_message() {
    let mut lease = LeaseState::default();
    let first = lease.message(wish(1_000, 9_000), UNKNOWN, Millis(100), NodeMillis(1_000));
    assert!(lease.apply_grant(&grant(&first, 9_000), &first, NodeMillis(1_000).tick(), Tick(1_001)));
    lease.give_up(NodeMillis(2_000));
    assert!(lease.is_worth_keeping(), "the store has yet to hear of it");
    let next = lease.message(Wish::default(), UNKNOWN, Millis(100), NodeMillis(2_050));
    assert_eq!((next.hold, next.seq), (Cost(0), first.seq + 1), "it repeats none that the store knows");
    assert!(lease.apply_grant(&grant(&next, 0), &next, NodeMillis(2_050).tick(), Tick(2_051)));
    assert!(!lease.is_worth_keeping());
    lease.give_up(NodeMillis(3_000));
    assert!(!lease.is_worth_keeping(), "there is nothing to give up");
}

#[test]
fn what_came_back_is_told_until_the_store_has_answered() {
    let mut lease = LeaseState::default();
    lease.owe(Cost(20_000), NodeMillis(1_000));
    let first = lease.message(Wish::default(), UNKNOWN, Millis(100), NodeMillis(1_100));
    lease.apply_grant(&grant(&first, 0), &first, Tick(1_100), Tick(1_101));
    assert!(!lease.is_worth_keeping());
    assert!(lease.take_back(Cost(14_500), Tick(1_000), true, NodeMillis(3_000)));
    assert!(lease.is_worth_keeping());
    let lost = lease.message(Wish::default(), UNKNOWN, Millis(100), NodeMillis(3_100));
    assert_eq!((lost.spent, lost.returned.cost), (START.plus(Cost(5_500)), Cost(14_500)));
    assert!(lost.returned.age >= Millis(2_100).micros());
    let second = lease.message(Wish::default(), UNKNOWN, Millis(100), NodeMillis(3_300));
    assert_eq!((second.seq, second.returned.cost), (lost.seq + 1, Cost(14_500)));
    assert!(lease.take_back(Cost(1_000), Tick(1_000), true, NodeMillis(3_301)));
    lease.apply_grant(&grant(&second, 0), &second, Tick(3_300), Tick(3_302));
    let third = lease.message(Wish::default(), UNKNOWN, Millis(100), NodeMillis(3_400));
    assert_eq!((third.spent, third.returned.cost), (START.plus(Cost(4_500)), Cost(1_000)));
    lease.apply_grant(&grant(&third, 0), &third, Tick(3_400), Tick(3_401));
    assert!(!lease.is_worth_keeping());
}

#[test]
fn what_came_back_while_a_message_was_under_way_is_not_spent_of_the_lease_again() {
    let mut lease = LeaseState::default();
    let first = lease.message(wish(20_000, 50_000), UNKNOWN, Millis(100), NodeMillis(1_000));
    lease.apply_grant(&grant(&first, 50_000), &first, Tick(1_000), Tick(1_001));
    lease.spend(Cost(20_000), Tick(1_002));
    let second = lease.message(wish(0, 50_000), UNKNOWN, Millis(100), NodeMillis(1_100));
    assert!(lease.take_back(Cost(15_000), Tick(1_002), true, NodeMillis(1_101)));
    assert_eq!(lease.spend(Cost(10_000), Tick(1_102)), Spend::Paid);
    lease.apply_grant(&grant(&second, 50_000), &second, Tick(1_100), Tick(1_103));
    assert_eq!(lease.left, Cost(40_000), "10 of it are spent");
}

#[test]
fn what_the_store_has_charged_itself_comes_back_too_and_an_epoch_does_not_run_out() {
    let mut lease = LeaseState::default();
    let mut now = 1_000;
    for _ in 0..400 {
        now += 1_000;
        assert!(lease.take_back(Cost(250_000_000), NodeMillis(now).tick(), true, NodeMillis(now)));
        let said = lease.message(Wish::default(), UNKNOWN, Millis(100), NodeMillis(now));
        assert_eq!(said.spent.plus(said.returned.cost), lease.acked);
        lease.apply_grant(&grant(&said, 0), &said, NodeMillis(now).tick(), NodeMillis(now + 1).tick());
        lease.renew(NodeMillis(now + 1));
        assert!(!lease.is_worth_keeping());
    }
}

#[test]
fn what_came_back_of_a_charge_of_long_ago_is_not_told_as_of_a_moment_ago() {
    // A record's moments begin anew every 1,048 seconds.
    for age in [1_049_000, 2_097_600, 36_000_000] {
        let mut lease = LeaseState::default();
        lease.owe(Cost(20_000), NodeMillis(1_000));
        let first = lease.message(Wish::default(), UNKNOWN, Millis(100), NodeMillis(1_100));
        lease.apply_grant(&grant(&first, 0), &first, Tick(1_100), Tick(1_101));
        let now = NodeMillis(1_000 + age);
        assert!(lease.take_back(Cost(20_000), Tick(1_000), true, now));
        let said = lease.message(Wish::default(), UNKNOWN, Millis(100), now);
        assert!(said.returned.age >= Millis(age).micros(), "{age}: {:?}", said.returned);
    }
}

#[test]
fn what_came_back_while_the_store_was_away_for_long_is_told_with_its_age() {
    for (gap, gaps) in [(1_050_000, 1), (60_000, 18), (200_000, 7), (250_000, 30)] {
        let mut lease = LeaseState::default();
        assert!(lease.take_back(Cost(20_000), Tick(900), true, NodeMillis(1_000)));
        for step in 1..=gaps {
            let now = NodeMillis(1_000 + gap * step);
            let said = lease.message(Wish::default(), UNKNOWN, Millis(100), now);
            assert!(said.returned.age >= Millis(gap * step).micros(), "{gap} × {step}: {:?}", said.returned);
            assert!(lease.take_back(Cost(1), now.tick(), true, now));
        }
    }
}

/// What a store that is told everything has counted of this record.
struct Counted {
    spent: Cost,
    sum: i64,
}

impl Counted {
    /// Takes a report in, as the store's `Account::report` does, and answers it.
    fn hear(&mut self, lease: &mut LeaseState, now: u64, wish: Wish) -> LeaseRequest {
        let said = lease.message(wish, UNKNOWN, Millis(100), NodeMillis(now));
        let total = said.spent.plus(said.returned.cost);
        let back = self.spent.max(total).less(said.spent).min(said.returned.cost);
        let after = self.spent.max(total).less(back);
        self.sum += after.0.cast_signed() - self.spent.0.cast_signed();
        self.spent = after;
        let epoch = lease.epoch;
        let answer = Grant { spent: after, ..grant(&said, said.want.0) };
        assert!(lease.apply_grant(&answer, &said, NodeMillis(now).tick(), NodeMillis(now).tick()));
        lease.renew(NodeMillis(now));
        if lease.epoch != epoch {
            self.spent = START;
        }
        said
    }
}

#[test]
fn what_a_record_cannot_hold_comes_back_all_the_same() {
    let (mut lease, mut store) = (LeaseState::default(), Counted { spent: START, sum: 0 });
    lease.owe(Cost(1_000_000_000), NodeMillis(1_000));
    store.hear(&mut lease, 1_100, Wish::default());
    assert_eq!(store.sum, 1_000_000_000);
    // A lost message has told a charge that then comes back, too.
    lease.owe(Cost(600_000_000), NodeMillis(1_200));
    let lost = lease.message(Wish::default(), UNKNOWN, Millis(100), NodeMillis(1_300));
    (store.spent, store.sum) = (lost.spent, 1_600_000_000);
    assert!(lease.take_back(Cost(999_000_000), Tick(1_000), true, NodeMillis(2_000)));
    assert!(lease.take_back(Cost(599_000_000), Tick(1_200), true, NodeMillis(2_000)));
    for step in 0..3 {
        store.hear(&mut lease, 2_100 + step * 200, Wish::default());
    }
    assert_eq!(store.sum, 2_000_000);
    assert!(!lease.is_worth_keeping());
}

#[test]
fn an_absurd_cost_does_not_make_a_record_stop_counting() {
    let (mut lease, mut store) = (LeaseState::default(), Counted { spent: START, sum: 0 });
    // As a record keeps it.
    lease.owe(Cost((1 << 48) - 1 - START.0), NodeMillis(1_000));
    for step in 0..4 {
        store.hear(&mut lease, 1_100 + step * 200, wish(0, 5_000));
        lease.spend(Cost(1_000), Tick(0));
    }
    assert!(lease.spent < LeaseState::FAR, "{lease:?}");
}

#[test]
fn a_new_epoch_takes_along_what_came_back() {
    let (mut lease, mut store) = (LeaseState::default(), Counted { spent: START, sum: 0 });
    lease.owe(Cost(20_000), NodeMillis(1_000));
    store.hear(&mut lease, 1_100, Wish::default());
    assert!(lease.take_back(Cost(15_000), Tick(1_000), true, NodeMillis(2_000)));
    lease.begin_anew(NodeMillis(2_050));
    store.spent = START;
    store.hear(&mut lease, 2_100, Wish::default());
    assert_eq!(store.sum, 5_000);
}

/// A node that has spent 50 of a lease of 90, of which the store knows, and holds the rest.
fn after_fifty() -> LeaseState {
    let mut lease = LeaseState::default();
    let first = lease.message(wish(20_000, 90_000), UNKNOWN, Millis(150), NodeMillis(1_000));
    lease.apply_grant(&grant(&first, 90_000), &first, Tick(1_000), Tick(1_001));
    lease.spend(Cost(50_000), Tick(1_002));
    let told = lease.message(wish(0, 40_000), UNKNOWN, Millis(150), NodeMillis(1_100));
    lease.apply_grant(&grant(&told, 40_000), &told, Tick(1_100), Tick(1_101));
    lease
}

#[test]
fn a_second_answer_acknowledges_nothing_that_came_back_since_the_first() {
    let mut lease = after_fifty();
    assert!(lease.take_back(Cost(20_000), Tick(1_002), true, NodeMillis(2_000)));
    let first = lease.message(wish(0, 40_000), UNKNOWN, Millis(150), NodeMillis(2_010));
    let second = lease.message(wish(0, 40_000), UNKNOWN, Millis(150), NodeMillis(2_011));
    assert_eq!((first.seq, first.returned.cost), (second.seq, Cost(20_000)));
    assert_eq!((second.returned, second.spent), (Returned::default(), first.spent.plus(Cost(20_000))));
    let answer = grant(&first, 40_000);
    assert!(lease.apply_grant(&answer, &first, Tick(2_010), Tick(2_012)));
    assert_eq!(lease.spend(Cost(30_000), Tick(2_013)), Spend::Paid);
    assert!(lease.take_back(Cost(15_000), Tick(1_002), true, NodeMillis(2_013)));
    assert!(lease.apply_grant(&answer, &second, Tick(2_011), Tick(2_014)));
    assert_eq!((lease.left, lease.returns.cost), (Cost(10_000), Cost(15_000)));
}

#[test]
fn an_answer_to_the_first_message_of_a_number_acknowledges_nothing_of_the_second() {
    let mut lease = after_fifty();
    let first = lease.message(wish(0, 40_000), UNKNOWN, Millis(150), NodeMillis(2_010));
    let answer = grant(&first, 40_000);
    assert_eq!(lease.spend(Cost(20_000), Tick(2_011)), Spend::Paid);
    assert!(lease.take_back(Cost(20_000), Tick(1_002), true, NodeMillis(2_012)));
    let second = lease.message(wish(0, 40_000), UNKNOWN, Millis(150), NodeMillis(2_013));
    assert_eq!(first.seq, second.seq);
    // The store has applied the first one, and answers both alike.
    assert!(lease.apply_grant(&answer, &second, Tick(2_013), Tick(2_014)));
    assert_eq!((lease.left, lease.returns.cost), (Cost(20_000), Cost(20_000)));
}

#[test]
fn without_a_store_nobody_has_to_be_told_of_what_came_back() {
    let mut lease = LeaseState::default();
    lease.returns.count(Cost(5_000));
    assert!(!lease.is_worth_keeping());
    // If there is a store later, the count is none of what it knows.
    lease.owe(Cost(1_000), NodeMillis(1_000));
    assert_eq!(lease.returns, Returns::default());
}
