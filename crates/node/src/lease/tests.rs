use super::*;
use proptest::prelude::*;
use tollgate_core::wire::Refusal;

const MONTH: Month = Month(682);

const fn wish(need: u64, want: u64) -> Wish {
    Wish { need, more: 0, want }
}

fn standing(lease: &Lease, hold: u64) -> Standing {
    Standing {
        epoch: lease.epoch,
        seq: lease.seq,
        spent: lease.spent,
        hold,
        ttl_ms: 10_000,
        idle_ms: 5_000,
        ..Standing::default()
    }
}

#[test]
fn a_request_is_paid_for_as_long_as_the_lease_lasts_and_holds_enough() {
    let mut hold = Hold::default();
    assert_eq!(hold.spend(Cost(1_000), Tick(0)), Spend::Ask, "there is no lease yet");
    let lease = hold.message(MONTH, wish(1_000, 0), [0; 3], 100, 1_000);
    assert!(hold.take(&standing(&lease, 2_000), 1_000, Tick(1_000), Tick(1_002)));
    assert_eq!(hold.spend(Cost(1_500), Tick(1_003)), Spend::Paid);
    assert_eq!(hold.spend(Cost(1_500), Tick(1_003)), Spend::Ask);
    assert_eq!(hold.spend(Cost(500), Tick(10_995)), Spend::Ask, "it ends before the store's does");
    assert_eq!(hold.spend(Cost(500), Tick(10_994)), Spend::Paid);
    assert_eq!((hold.spent, hold.owed()), (2_000, 2_000));
}

#[test]
fn what_was_spent_while_the_message_was_under_way_comes_off() {
    let mut hold = Hold::default();
    let first = hold.message(MONTH, wish(1_000, 0), [0; 3], 100, 1_000);
    hold.take(&standing(&first, 5_000), 1_000, Tick(1_000), Tick(1_000));
    let second = hold.message(MONTH, wish(0, 5_000), [0; 3], 100, 1_100);
    assert_eq!((second.hold, second.seq), (5_000, 2));
    hold.spend(Cost(3_000), Tick(1_101));
    assert!(!hold.take(&standing(&first, 9_000), 0, Tick(1_000), Tick(1_101)), "an older message's answer");
    assert!(hold.take(&standing(&second, 6_000), 0, Tick(1_100), Tick(1_102)));
    assert_eq!((hold.left, hold.owed()), (3_000, 3_000));
}

#[test]
fn what_was_lent_or_refused_under_other_terms_is_given_back_or_void() {
    let mut hold = Hold { terms: 1, ..Hold::default() };
    let lease = hold.message(MONTH, wish(1_000, 4_000), [0; 3], 100, 1_000);
    let refusal = Refusal { limits: 1, month: false, never: false, wait: 60_000_000 };
    let standing = Standing { refusal: Some(refusal), ..standing(&lease, 5_000) };
    assert!(hold.take(&standing, 7_000, Tick(1_000), Tick(1_002)));
    assert!(matches!(hold.spend(Cost(7_000), Tick(1_003)), Spend::Refused(_)));
    hold.come_under(1);
    assert_eq!((hold.left, hold.refused.cost), (5_000, 7_000), "the same terms change nothing");
    hold.spend(Cost(2_000), Tick(1_003));
    hold.come_under(2);
    assert_eq!(hold.spend(Cost(1_000), Tick(1_003)), Spend::Ask);
    let next = hold.message(MONTH, wish(1_000, 0), [0; 3], 100, 1_004);
    assert_eq!((next.seq, next.spent, next.hold), (2, 2_000, 0), "it tells what was spent");
}

#[test]
fn a_message_under_way_is_repeated_not_replaced() {
    let mut hold = Hold::default();
    let first = hold.message(MONTH, wish(1_000, 0), [0; 3], 100, 1_000);
    assert_eq!(hold.message(MONTH, wish(1_000, 0), [0; 3], 100, 1_050).seq, first.seq);
    assert_eq!(
        hold.message(MONTH, wish(1_000, 0), [0; 3], 100, 1_101).seq,
        first.seq + 1,
        "until patience ends"
    );
}

#[test]
fn a_refusal_holds_for_as_much_or_more_until_its_time() {
    let mut hold = Hold::default();
    let lease = hold.message(MONTH, wish(2_000, 0), [0; 3], 100, 1_000);
    let refusal = Some(Refusal { limits: 2, month: true, never: false, wait: 600_001 });
    hold.take(&Standing { refusal, ..standing(&lease, 0) }, 2_000, Tick(1_000), Tick(1_001));
    let refused = Refused { cost: 2_000, until: Tick(1_602), limits: 2 | Refused::MONTH };
    assert_eq!(hold.spend(Cost(2_000), Tick(1_601)), Spend::Refused(refused));
    assert_eq!(hold.spend(Cost(1_999), Tick(1_601)), Spend::Ask);
    assert_eq!(hold.spend(Cost(2_000), Tick(1_602)), Spend::Ask);
}

#[test]
fn a_record_that_begins_anew_keeps_what_it_owes() {
    let mut hold = Hold::default();
    hold.owe(Cost(4_000), 1_000);
    hold.turn();
    hold.owe(Cost(1_000), 1_000);
    let epoch = hold.epoch;
    hold.begin_anew(1_001);
    assert_eq!((hold.spent, hold.turn, hold.acked, hold.seq), (5_000, 4_000, 0, 0));
    assert!(hold.epoch > epoch);
}

#[test]
fn moments_compare_across_the_end_of_their_range() {
    let (before, after) = (Tick(u32::MAX - 5), Tick(10));
    assert!(before.has_come(after) && !after.has_come(before));
    assert_eq!((after.since(before), before.since(after)), (16, 0));
    assert_eq!(before.after(16), after);
}

proptest! {
    #[test]
    fn nothing_that_a_store_says_makes_a_node_spend_more_than_it_was_lent(
        steps in prop::collection::vec((0..4_u8, 0..5_000_u64, any::<u32>()), 1..80),
    ) {
        let (mut hold, mut now, mut lent) = (Hold::default(), 1_000_u64, 0);
        for (what, amount, noise) in steps {
            now += 7;
            match what {
                0 => {
                    let before = hold.spent;
                    if hold.spend(Cost(amount), tick(now)) == Spend::Paid {
                        lent -= amount;
                        prop_assert_eq!(hold.spent, before + amount);
                    }
                }
                1 => {
                    let lease = hold.message(MONTH, wish(amount, 0), [0; 3], 0, now);
                    hold.take(&standing(&lease, amount), amount, tick(now), tick(now));
                    lent = amount;
                }
                2 => {
                    let foreign = Lease { epoch: noise.into(), seq: noise, spent: amount, ..Lease::default() };
                    hold.take(&standing(&foreign, u64::MAX), amount, tick(now), tick(now));
                }
                _ => hold.owe(Cost(amount), now),
            }
            prop_assert!(u64::from(hold.left) <= lent);
            prop_assert!(hold.acked <= hold.spent);
        }
    }
}

#[test]
fn what_is_owed_without_a_lease_is_told_soon_whatever_the_clock_shows() {
    // The clock's lowest 32 bits, and a first record or one whose last message is weeks old.
    for now in [1_u64 << 20, (1 << 31) + 5, (1 << 32) - 5, 3 << 31] {
        let mut hold = Hold::default();
        hold.owe(Cost(1_000), now);
        assert_eq!(tick(now + 500).since(hold.asked), 500, "at {now}");
        let lease = hold.message(MONTH, Wish::default(), [0; 3], 100, now + 500);
        assert!(hold.take(&standing(&lease, 0), 0, tick(now + 500), tick(now + 501)));
        let later = now + (3 << 30);
        hold.owe(Cost(1_000), later);
        hold.owe(Cost(1_000), later + 300);
        assert_eq!(tick(later + 500).since(hold.asked), 500, "at {now}");
    }
}

#[test]
fn a_lease_that_is_given_up_is_told_of_by_the_next_message() {
    let mut hold = Hold::default();
    let first = hold.message(MONTH, wish(1_000, 9_000), [0; 3], 100, 1_000);
    assert!(hold.take(&standing(&first, 9_000), 1_000, tick(1_000), tick(1_001)));
    hold.give_up(2_000);
    assert!(hold.is_worth_keeping(), "the store has yet to hear of it");
    let next = hold.message(MONTH, Wish::default(), [0; 3], 100, 2_050);
    assert_eq!((next.hold, next.seq), (0, first.seq + 1), "it repeats none that the store knows");
    assert!(hold.take(&standing(&next, 0), 0, tick(2_050), tick(2_051)));
    assert!(!hold.is_worth_keeping());
    hold.give_up(3_000);
    assert!(!hold.is_worth_keeping(), "there is nothing to give up");
}
