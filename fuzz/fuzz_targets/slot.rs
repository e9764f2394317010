//! Any bytes in shared data: nothing panics or trusts them, what is written is what is read, and a client is still limited
//! afterwards.
//!
//! An input is sixteen numbers of eight bytes, which become a client's state, and then the bytes that every key holds.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use tollgate_core::account::{Account, Verdict, decide_all};
use tollgate_core::client::Client;
use tollgate_core::limit::{Day, Level, Limit, Month, PackedRate, Period};
use tollgate_core::tier::Tier;
use tollgate_core::units::{Cost, UnixNanos};
use tollgate_node::clock::Tick;
use tollgate_node::lease::{LeaseState, Refused, Returns};
use tollgate_node::table::{
    Change, Expected, FingerprintKey, Read, Record, SharedData, SlotKey, State, Table, Updated, Write,
};

/// 2026-11-24T00:00:00Z.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);
/// Amounts have 48 bits.
const MOST: u64 = (1 << 48) - 1;

/// Every key holds the fuzzer's bytes until it is written.
struct Hostile {
    bytes: Vec<u8>,
    written: RefCell<HashMap<SlotKey, (Vec<u8>, u32)>>,
}

impl SharedData for Hostile {
    fn get(&self, key: &SlotKey) -> Read {
        let written = self.written.borrow();
        let (value, version) = written.get(key).cloned().unwrap_or((self.bytes.clone(), 1));
        Read::Value(value, version)
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        let version = self.written.borrow().get(key).map_or(1, |(_, version)| *version);
        if expected != Expected::Version(version) {
            return Write::Lost;
        }
        self.written.borrow_mut().insert(*key, (value.to_vec(), version + 1));
        Write::Done
    }

    fn keeps_all(&self) -> bool {
        false
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((numbers, bytes)) = bytes.split_at_checked(16 * 8) else { return };
    let store = Hostile { bytes: bytes.to_vec(), written: RefCell::default() };
    let Ok(opened) = Table::open(&store, 64, FingerprintKey([1; 16])) else { return };
    let tier = Tier {
        name: "free".into(),
        limits: vec![Limit::new(2, Period::Minute, 100).expect("a limit")],
        monthly: Some(Cost::from_units(100)),
        on_failure: None,
    };
    limits(&store, &opened.table, &tier);
    writes(&store, &opened.table, state(numbers));
});

/// A full bucket of two lets exactly two requests through, whatever was there.
fn limits(store: &Hostile, table: &Table, tier: &Tier) {
    let client = table.fingerprint("default", &Client::Consumer(b"acme"));
    let mut allowed = 0;
    for _ in 0..3 {
        let updated = table.update(store, client, NOW, |mut state| {
            match decide_all(&mut state.account, tier, Cost::from_units(1), NOW) {
                Verdict::Allowed => (Change::Write(state), true),
                _ => (Change::Keep, false),
            }
        });
        allowed += u32::from(matches!(updated, Updated::Done { answer: true, .. }));
    }
    assert!(allowed <= 2, "a full bucket of two let {allowed} through");
}

/// A state is read as it was written, and at most one neighbor was lost for it.
fn writes(store: &Hostile, table: &Table, state: State) {
    let client = table.fingerprint("default", &Client::Consumer(b"initech"));
    let before = records(store, table);
    let _of_others = table.take_evictions();
    let written = table.update(store, client, NOW, |_| (Change::Write(state), ()));
    assert_eq!(written, Updated::Done { answer: () }, "nobody else writes");
    let evicted = table.take_evictions() > 0;
    let mut read = None;
    table.update(store, client, NOW, |state| {
        read = Some(state);
        (Change::Keep, ())
    });
    assert_eq!(read, Some(state));
    let mut after = records(store, table);
    let theirs = before.iter().filter(|(_, record)| record.client != client.bits);
    let lost = theirs.filter(|record| match after.iter().position(|kept| kept == *record) {
        Some(place) => {
            after.swap_remove(place);
            false
        }
        None => true,
    });
    // A record that is worth nothing may be overwritten without being counted as evicted.
    let lost = lost.count();
    assert!(lost <= 1 && (lost == 1 || !evicted), "{lost} of {} records went", before.len());
}

fn records(store: &Hostile, table: &Table) -> Vec<(u32, Record)> {
    let mut records = Vec::new();
    for slot in 0..table.geometry().count() {
        table.each(store, slot, |record, _| records.push((slot, *record)));
    }
    records
}

/// A state in which every value fits its field.
fn state(numbers: &[u8]) -> State {
    let mut numbers =
        numbers.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
    let mut next = || numbers.next().expect("sixteen");
    let (flags, ticks) = (next(), next());
    // A day has its month, and a client without a store has none. The first number that is a day is 4,096.
    let day = Day(if flags as u16 >= 4_096 { flags as u16 } else { 0 });
    let mut account = Account {
        at: UnixNanos(next()),
        levels: [Level(next()), Level(next()), Level(next())],
        rates: Default::default(),
        month: if day == Day(0) { Month(flags as u16) } else { day.month() },
        used: Cost(next() & MOST),
    };
    let mut lease = LeaseState {
        epoch: ticks as u32,
        day,
        seq: (ticks >> 32) as u32,
        spent: Cost(next() & MOST),
        spent_before_day: Cost(next() & MOST),
        acked: Cost(next() & MOST),
        left: Cost((next() as u32).into()),
        ends: Tick(next() as u32),
        asked: Tick(next() as u32),
        is_asking: flags >> 16 & 1 == 1,
        idle: (flags >> 24) as u8,
        refused: Refused {
            cost: Cost(flags >> 32 & Refused::MAX_COST.0),
            until: Tick(next() as u32),
            limits: (flags >> 56) as u8,
        },
        offer: (flags >> 17) as u8 & 127,
        terms: 0,
        fresh: 0,
        returns: Returns { cost: Cost(flags.rotate_left(20) % Returns::RANGE), since: (ticks >> 52) as u16 },
    };
    // A record keeps what is owed, in 40 bits.
    lease.acked = Cost(lease.spent.0.saturating_sub(lease.acked.0 & ((1 << 39) - 1)));
    // The rates and the tag came with a later layout: they are last, so that older inputs keep their meaning.
    let (rates, terms) = (next(), next());
    account.rates = [rates as u32, (rates >> 32) as u32, terms as u32].map(PackedRate);
    lease.terms = (terms >> 32) as u32 & tollgate_core::terms::MAX_TAG;
    lease.fresh = (terms >> 56) as u8;
    State { account, lease }
}
