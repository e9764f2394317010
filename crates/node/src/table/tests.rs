use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use tollgate_core::account::{Verdict, decide_all};
use tollgate_core::client::Network;
use tollgate_core::limit::{Limit, Period};
use tollgate_core::tier::Tier;
use tollgate_core::units::{Cost, Nanos};

/// Shared data with one host's rules. Between any two calls other workers may act.
pub(crate) struct Fake {
    rules: Rules,
    values: RefCell<HashMap<SlotKey, (Vec<u8>, u32)>>,
    versions: Cell<u32>,
    /// How many keys it holds before it silently drops the oldest.
    room: Cell<usize>,
    order: RefCell<Vec<SlotKey>>,
    pub reads: Cell<u32>,
    pub writes: Cell<u32>,
    is_down: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Each key has versions of its own, from 1.
    Kong,
    /// All keys share one counter.
    Envoy,
}

impl Fake {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            values: RefCell::default(),
            versions: Cell::new(0),
            room: Cell::new(usize::MAX),
            order: RefCell::default(),
            reads: Cell::new(0),
            writes: Cell::new(0),
            is_down: Cell::new(false),
        }
    }

    pub fn go_down(&self) {
        self.is_down.set(true);
    }
}

impl SharedData for Fake {
    fn get(&self, key: &SlotKey) -> Read {
        self.reads.set(self.reads.get() + 1);
        if self.is_down.get() {
            return Read::Failed;
        }
        self.values
            .borrow()
            .get(key)
            .map_or(Read::Missing, |(value, version)| Read::Value(value.clone(), *version))
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        if self.is_down.get() {
            return Write::Failed;
        }
        let mut values = self.values.borrow_mut();
        let held = values.get(key).map(|(_, version)| *version);
        let wins = match expected {
            Expected::Missing => held.is_none(),
            Expected::Version(version) => held == Some(version),
        };
        if !wins {
            return Write::Lost;
        }
        if held.is_none() {
            let mut order = self.order.borrow_mut();
            order.push(*key);
            if order.len() > self.room.get() {
                values.remove(&order.remove(0));
            }
        }
        self.versions.set(self.versions.get() + 1);
        let version = match self.rules {
            Rules::Kong => held.unwrap_or(0) + 1,
            Rules::Envoy => self.versions.get(),
        };
        values.insert(*key, (value.to_vec(), version));
        self.writes.set(self.writes.get() + 1);
        Write::Done
    }

    fn keeps_all(&self) -> bool {
        self.rules == Rules::Envoy
    }
}

const KEY: FingerprintKey = FingerprintKey([3; 16]);
/// 2026-11-24T00:00:00Z.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);
const ONE: Cost = Cost::from_units(1);

fn tier(units: u64) -> Tier {
    let limits = vec![Limit::new(units, Period::Minute, 100).unwrap()];
    Tier { name: "free".into(), limits, monthly: None, on_failure: None }
}

fn open(data: &Fake, clients: u32) -> Table {
    Table::open(data, clients, KEY).unwrap().table
}

fn spend(table: &Table, data: &impl SharedData, name: &str, tier: &Tier, now: UnixNanos) -> Updated<bool> {
    let client = table.fingerprint("default", &Client::Consumer(name.as_bytes()));
    spend_as(table, data, client, tier, now)
}

fn spend_as(
    table: &Table,
    data: &impl SharedData,
    client: Fingerprint,
    tier: &Tier,
    now: UnixNanos,
) -> Updated<bool> {
    table.update(data, client, now, |mut state| match decide_all(&mut state.account, tier, ONE, now) {
        Verdict::Allowed => (Change::Write(state), true),
        _ => (Change::Keep, false),
    })
}

const ALLOWED: Updated<bool> = Updated::Done { answer: true };
const REFUSED: Updated<bool> = Updated::Done { answer: false };

#[test]
fn a_client_spends_from_one_record_and_a_refusal_writes_nothing() {
    for rules in [Rules::Kong, Rules::Envoy] {
        let data = Fake::new(rules);
        let table = open(&data, 64);
        for _ in 0..5 {
            assert_eq!(spend(&table, &data, "acme", &tier(5), NOW), ALLOWED);
        }
        let (reads, writes) = (data.reads.get(), data.writes.get());
        assert_eq!(spend(&table, &data, "acme", &tier(5), NOW), REFUSED);
        assert_eq!((data.reads.get(), data.writes.get()), (reads + 1, writes));
        assert_eq!(spend(&table, &data, "globex", &tier(5), NOW), ALLOWED);
        assert_eq!((data.reads.get(), data.writes.get()), (reads + 2, writes + 1), "one read, one write");
    }
}

#[test]
fn every_slot_is_there_when_the_table_is_open_and_none_comes_later() {
    let data = Fake::new(Rules::Kong);
    let table = open(&data, 64);
    let keys = data.values.borrow().len();
    assert_eq!(keys, table.geometry().count() as usize + 1);
    let bytes = |data: &Fake| data.values.borrow().values().map(|(value, _)| value.len()).sum::<usize>();
    let before = bytes(&data);
    for client in 0..10_000 {
        spend(&table, &data, &format!("client-{client}"), &tier(5), NOW);
        let network = Network::V4(u32::to_be_bytes(client));
        spend_as(&table, &data, table.fingerprint("", &Client::Anonymous(network)), &tier(5), NOW);
    }
    assert_eq!((data.values.borrow().len(), bytes(&data)), (keys, before));
}

#[test]
fn where_nothing_is_dropped_a_slot_is_made_when_it_is_first_used() {
    let data = Fake::new(Rules::Envoy);
    let table = open(&data, 65_536);
    assert_eq!((data.values.borrow().len(), data.writes.get()), (1, 1), "the marker alone");
    for _ in 0..2 {
        spend(&table, &data, "acme", &tier(5), NOW);
        assert_eq!(data.values.borrow().len(), 2);
    }
    for client in 0..300_000 {
        spend(&table, &data, &format!("client-{client}"), &tier(5), NOW);
    }
    assert!(data.values.borrow().len() <= table.geometry().count() as usize + 1, "and no more than these");
}

#[test]
fn the_first_policy_decides_the_size_and_the_key() {
    let data = Fake::new(Rules::Kong);
    let first = Table::open(&data, 64, KEY).unwrap();
    let second = Table::open(&data, 4_096, FingerprintKey([9; 16])).unwrap();
    assert!(first.is_new && !second.is_new);
    assert_eq!(first.table.geometry(), second.table.geometry());
    assert_eq!(spend(&first.table, &data, "acme", &tier(1), NOW), ALLOWED);
    assert_eq!(spend(&second.table, &data, "acme", &tier(1), NOW), REFUSED);
}

#[test]
fn a_store_that_drops_what_was_just_written_is_too_small() {
    let data = Fake::new(Rules::Kong);
    data.room.set(10);
    let needed = Geometry::for_clients(1_000).shared_bytes();
    assert_eq!(Table::open(&data, 1_000, KEY).unwrap_err(), OpenError::TooSmall { needed });
    data.room.set(usize::MAX);
    assert!(Table::open(&data, 1_000, KEY).is_ok(), "a failed attempt leaves nothing that looks finished");
}

#[test]
fn a_store_that_does_not_answer_is_unknown_not_allowed() {
    let data = Fake::new(Rules::Kong);
    let table = open(&data, 64);
    data.is_down.set(true);
    assert_eq!(spend(&table, &data, "acme", &tier(5), NOW), Updated::Unknown);
    assert_eq!(Table::open(&data, 64, KEY).unwrap_err(), OpenError::Failed);
}

#[test]
fn a_slot_that_the_host_dropped_or_somebody_overwrote_is_made_anew() {
    for garbage in [None, Some(vec![]), Some(vec![7; 912]), Some(vec![0; 3])] {
        let data = Fake::new(Rules::Kong);
        let table = open(&data, 64);
        let client = table.fingerprint("default", &Client::Consumer(b"acme"));
        match garbage {
            None => drop(data.values.borrow_mut().remove(&table.geometry().slot_of(&client))),
            Some(bytes) => {
                drop(data.values.borrow_mut().insert(table.geometry().slot_of(&client), (bytes, 77)))
            }
        }
        assert_eq!(spend(&table, &data, "acme", &tier(1), NOW), ALLOWED);
        assert_eq!(spend(&table, &data, "acme", &tier(1), NOW), REFUSED);
    }
}

#[test]
fn a_million_anonymous_clients_push_no_consumer_out() {
    let data = Fake::new(Rules::Envoy);
    let table = open(&data, 64);
    assert_eq!(spend(&table, &data, "acme", &tier(1), NOW), ALLOWED);
    for address in 0..100_000_u32 {
        let client = table.fingerprint("default", &Client::Anonymous(Network::V4(address.to_be_bytes())));
        assert_eq!(spend_as(&table, &data, client, &tier(1), NOW), ALLOWED);
    }
    let evicted = table.take_evictions();
    assert!(evicted > 99_000, "anonymous clients make room among themselves, and it is counted: {evicted}");
    assert_eq!(table.take_evictions(), 0, "and counted once");
    assert_eq!(spend(&table, &data, "acme", &tier(1), NOW), REFUSED);
}

#[test]
fn as_many_clients_as_the_policy_asks_for_keep_their_records() {
    let data = Fake::new(Rules::Kong);
    let table = open(&data, 4_096);
    let names: Vec<String> = (0..4_096).map(|number| format!("client-{number}")).collect();
    for name in &names {
        spend(&table, &data, name, &tier(1), NOW);
    }
    let lost = names.iter().filter(|name| spend(&table, &data, name, &tier(1), NOW) != REFUSED).count();
    assert!(
        lost * 1_000 <= names.len() * 8,
        "{lost} of {} were evicted; six in a thousand are to be expected, eight are the bound",
        names.len()
    );
}

/// A worker that is somewhere between its read and its write.
struct Worker {
    read: Option<(Vec<u8>, Option<u32>)>,
}

/// A store for one worker's single step: its read is what it read before, perhaps torn, its write goes through.
struct Step<'a> {
    data: &'a Fake,
    worker: &'a RefCell<Worker>,
    torn: Option<usize>,
}

/// Stops `Table::update` after a read (so that others get their turn) by failing the call.
impl SharedData for Step<'_> {
    fn get(&self, key: &SlotKey) -> Read {
        let mut worker = self.worker.borrow_mut();
        if let Some((bytes, version)) = worker.read.take() {
            return version.map_or(Read::Missing, |version| Read::Value(bytes, version));
        }
        worker.read = match self.data.get(key) {
            Read::Value(mut bytes, version) => {
                // Kong copies after it unlocks: the first bytes of now, the last ones of a moment later, or the
                // other way round. Here: some bytes are those of another time, which is to say anything.
                if let Some(at) = self.torn {
                    bytes.iter_mut().skip(at).take(40).for_each(|byte| *byte = byte.wrapping_add(0x5B));
                }
                Some((bytes, Some(version)))
            }
            _ => Some((Vec::new(), None)),
        };
        Read::Failed
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        self.data.set(key, value, expected)
    }

    fn keeps_all(&self) -> bool {
        self.data.keeps_all()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Many workers, one client, every interleaving of their reads and writes that the seed draws, reads torn as
    /// the host may tear them: never more admitted than capacity + rate × t.
    #[test]
    fn workers_that_race_admit_never_more_than_the_limit(
        is_kong in any::<bool>(), units in 1_u64..20,
        turns in proptest::collection::vec((0_usize..6, 0_u64..400_000_000, proptest::option::weighted(0.1, 0_usize..900)), 50..400),
    ) {
        let data = Fake::new(if is_kong { Rules::Kong } else { Rules::Envoy });
        let table = open(&data, 64);
        let tier = tier(units);
        let client = table.fingerprint("default", &Client::Consumer(b"acme"));
        let workers: Vec<RefCell<Worker>> = (0..6).map(|_| RefCell::new(Worker { read: None })).collect();
        let (mut now, mut admitted) = (NOW, Vec::new());
        for (index, gap, torn) in turns {
            now = now.after(Nanos(gap));
            // A tear is only ever seen together with a version that has moved on by the time of the write.
            let step = Step { data: &data, worker: &workers[index], torn: None };
            if torn.is_some() && workers[index].borrow().read.is_none() {
                spend_as(&table, &Step { torn, ..step }, client, &tier, now);
                spend_as(&table, &data, client, &tier, now).eq(&ALLOWED).then(|| admitted.push(now));
                // The version has to move even where that request was refused and wrote nothing.
                let key = table.geometry().slot_of(&client);
                if let Read::Value(bytes, version) = data.get(&key) {
                    data.set(&key, &bytes, Expected::Version(version));
                }
                continue;
            }
            if spend_as(&table, &step, client, &tier, now) == ALLOWED {
                admitted.push(now);
            }
        }
        let minute = Period::Minute.length().0;
        for (first, start) in admitted.iter().enumerate() {
            for (last, end) in admitted.iter().enumerate().skip(first) {
                let count = (last - first + 1) as u64;
                prop_assert!(count * minute <= units * minute + units * end.since(*start).0);
            }
        }
    }
}
