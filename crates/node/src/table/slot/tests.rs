use super::*;
use crate::clock::NodeMillis;
use proptest::prelude::*;
use tollgate_core::limit::{Limit, Period};

fn client(first: u64) -> Fingerprint {
    Fingerprint { is_anonymous: false, bits: [first, !first], place: 0 }
}

/// One that has used as much, with a bucket that is full again at that second.
fn record(first: u64, used: u64, full_at: u64) -> Record {
    let limit = Limit::new(60, Period::Minute, 100).unwrap();
    let mut account = Account { at: UnixNanos(5), used: Cost(used), month: Month(682), ..Account::default() };
    account.levels[0] = limit.waiting(Level(0), UnixNanos::from_seconds(full_at).since(account.at));
    account.rates[0] = PackedRate::of(&limit);
    Record { client: client(first).bits, state: State { account, ..State::default() } }
}

/// 2026-11-24T00:00:00Z, in month 682.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);
const LATER: u64 = 1_795_478_460;

#[test]
fn a_slot_has_the_size_that_the_hosts_pieces_fit() {
    assert_eq!(empty().len(), SLOT_BYTES);
    assert_eq!(SLOT_BYTES, 912);
    assert!(is_ours(&empty()));
    assert!(!is_ours(&[]) && !is_ours(&[0; SLOT_BYTES]) && !is_ours(&empty()[1..]));
}

#[test]
fn a_record_that_changed_in_a_single_bit_is_absent() {
    let mut bytes = empty();
    put(&mut bytes, 3, &record(7, 9, LATER));
    assert_eq!(find(&bytes, &client(7)).map(|(way, _)| way), Some(3));
    let start = HEAD_BYTES + 3 * RECORD_BYTES;
    for bit in 0..RECORD_BYTES * 8 {
        let mut torn = bytes.clone();
        torn[start + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(find(&torn, &client(7)), None, "bit {bit}");
        assert!(!way_for_newcomer(&torn, NOW.into()).1, "its way is free");
    }
}

#[test]
fn a_newcomer_takes_an_empty_way_then_one_that_equals_absent() {
    let mut bytes = empty();
    for way in 0..WAYS {
        assert_eq!(way_for_newcomer(&bytes, NOW.into()), (way, false));
        put(&mut bytes, way, &record(way as u64 + 1, 500, LATER));
    }
    assert!(way_for_newcomer(&bytes, NOW.into()).1);
    let past = Account { month: Month(681), used: Cost(9_000), ..Account::default() };
    let state = State { account: past, ..State::default() };
    put(&mut bytes, 5, &Record { client: client(12).bits, state });
    assert_eq!(way_for_newcomer(&bytes, NOW.into()), (5, false), "full again, and its month is over");
}

#[test]
fn what_the_store_has_to_hear_of_goes_last_and_a_month_that_the_store_keeps_is_nothing() {
    let mut bytes = empty();
    for way in 0..WAYS {
        let mut owing = record(way as u64 + 1, 5, LATER);
        owing.state.lease = LeaseState { epoch: 1, spent: Cost(9), acked: Cost(8), ..LeaseState::default() };
        put(&mut bytes, way, &owing);
    }
    let mut reported = record(3, 5_000, LATER);
    reported.state.lease = LeaseState { epoch: 1, spent: Cost(9), acked: Cost(9), ..LeaseState::default() };
    put(&mut bytes, 2, &reported);
    assert_eq!(way_for_newcomer(&bytes, NOW.into()), (2, true), "full in a minute");
    reported.state.account.levels = Default::default();
    put(&mut bytes, 2, &reported);
    assert_eq!(way_for_newcomer(&bytes, NOW.into()), (2, false));
}

#[test]
fn when_the_month_turns_what_was_spent_belongs_to_the_one_before() {
    let december = Month(683).start();
    let mut state = record(1, 9_000, LATER).state;
    state.turn_to(UnixNanos(december.0 - 2));
    state.lease.owe(Cost(4_000), NodeMillis(1_000));
    state.turn_to(UnixNanos(december.0 - 1));
    assert_eq!((state.lease.spent_before_day, state.account.used), (Cost(0), Cost(9_000)));
    state.turn_to(december);
    assert_eq!(
        (state.lease.spent_before_day, state.account.used, state.account.month),
        (LeaseState::START.plus(Cost(4_000)), Cost(0), Month(683))
    );
    state.lease.owe(Cost(1_000), NodeMillis(1_000));
    state.turn_to(NOW);
    assert_eq!(
        (state.lease.spent_before_day, state.account.month),
        (LeaseState::START.plus(Cost(4_000)), Month(683)),
        "it never turns back"
    );
}

#[test]
fn a_day_that_came_too_early_is_taken_back() {
    let december = Month(683).start();
    let mut state = State::default();
    state.turn_to(december);
    state.lease.owe(Cost(4_000), NodeMillis(1_000));
    state.turn_back_to(UnixNanos(december.0 - 1));
    assert_eq!((state.lease.day, state.account.month), (Day::of(UnixNanos(december.0 - 1)), Month(682)));
    state.turn_to(december);
    assert_eq!(state.lease.spent_before_day, LeaseState::START.plus(Cost(4_000)));
    state.turn_back_to(december);
    assert_eq!(state.lease.day, Day::of(december));
}

#[test]
fn where_something_has_to_go_it_is_what_means_the_least() {
    let mut bytes = empty();
    for way in 0..WAYS {
        put(&mut bytes, way, &record(way as u64 + 1, 5_000 + way as u64, LATER));
    }
    put(&mut bytes, 4, &record(5, 40, LATER + 600));
    assert_eq!(way_for_newcomer(&bytes, NOW.into()), (4, true), "the month's use counts before the bucket");
    put(&mut bytes, 6, &record(7, 0, LATER));
    put(&mut bytes, 2, &record(10, 0, LATER - 30));
    assert_eq!(
        way_for_newcomer(&bytes, NOW.into()),
        (2, true),
        "nothing in the month: the one that is full first"
    );
}

proptest! {
    #[test]
    fn a_record_comes_back_as_it_was(
        bits in any::<[u64; 2]>(), at in any::<u64>(), levels in any::<[u64; 3]>(), month in any::<u16>(),
        amounts in prop::array::uniform4(0..=MAX_USED), words in any::<[u32; 7]>(), small in any::<[u8; 3]>(),
        rates in any::<[u32; 3]>(), terms in 0..=MAX_TAG,
        is_asking in any::<bool>(), way in 0..WAYS,
    ) {
        let client = Fingerprint { is_anonymous: true, bits, place: 0 };
        let [used, spent, turn, acked] = amounts;
        let [returned, epoch, seq, left, ends, asked, until] = words;
        let [idle, limits, fresh] = small;
        let account = Account {
            at: UnixNanos(at), levels: levels.map(Level), rates: rates.map(PackedRate), month: Month(month), used: Cost(used),
        };
        // A day has its month, and a client without a store has none.
        let day = if month < FIRST_DAY { Day(0) } else { Day(month) };
        let month = if day == Day(0) { Month(month) } else { day.month() };
        let account = Account { month, ..account };
        let refused = Refused { cost: Cost(u64::from(returned) & Refused::MAX_COST.0), until: Tick(until), limits };
        let lease = LeaseState {
            epoch, seq, day, spent: Cost(spent), spent_before_day: Cost(turn), acked: Cost((spent + acked % ((1 << 40) - 1)).saturating_sub((1 << 39) - 1)), left: Cost(left.into()), ends: Tick(ends), asked: Tick(asked), is_asking, idle, refused, offer: limits & 127, terms,
            fresh, returns: Returns { cost: Cost(u64::from(returned) % Returns::RANGE), since: (left >> 20) as u16 },
        };
        let record = Record { client: bits, state: State { account, lease } };
        let mut bytes = empty();
        put(&mut bytes, way, &record);
        prop_assert_eq!(find(&bytes, &client), Some((way, record)));
    }

    #[test]
    fn foreign_bytes_are_never_trusted_and_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..1_000), bits in any::<[u64; 2]>(), way in 0_usize..20,
    ) {
        let client = Fingerprint { is_anonymous: false, bits, place: 0 };
        let _ = is_ours(&bytes);
        prop_assert_eq!(find(&bytes, &client), None);
        let (free, _) = way_for_newcomer(&bytes, NOW.into());
        prop_assert!(free < WAYS);
        let mut bytes = bytes;
        put(&mut bytes, way, &record(1, 2, 3));
    }
}
