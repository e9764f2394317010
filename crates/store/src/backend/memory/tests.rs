use std::sync::atomic::{AtomicU64, Ordering};
use tollgate_core::units::{Cost, Micros, UnixMicros};

use super::*;
use crate::accounts::{Hold, ReservationId, month_of};
use crate::backend::{NOTICES_REMEMBERED, ReservationStore, Reserved};
use futures_util::TryStreamExt;
use tollgate_core::client::Namespace;
use tollgate_core::client::{Client, Network};
use tollgate_core::terms::{Offer, Rate, Terms};
use tollgate_core::wire::{Answer, Ask, LeaseRequest};

/// 2026-11-24T00:00:00Z.
const NOW: u64 = 1_795_478_400_000_000;
const SECOND: u64 = 1_000_000;

struct Setup {
    now: Arc<AtomicU64>,
    memory: Memory,
    terms: Arc<Terms>,
}

fn setup() -> Setup {
    let now = Arc::new(AtomicU64::new(NOW));
    let clock = Arc::clone(&now);
    let rates = vec![Rate { units: 100, seconds: 60, burst: 150 }];
    let terms = Offer { tier: "free".into(), rates, monthly: Some(50_000) }.terms().unwrap();
    Setup {
        now,
        memory: Memory::new(Arc::new(move || UnixMicros(clock.load(Ordering::Relaxed)))),
        terms: Arc::new(terms),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn put(memory: &Memory, consumer: &str, value: Option<&[u8]>, line: &str) -> Changed {
    let (value, line) = (value.map(<[u8]>::to_vec), line.as_bytes().to_vec());
    let change = OverrideChange { value, line, most: u64::MAX, ..OverrideChange::default() };
    block_on(memory.change_override("n", consumer, change)).unwrap()
}

fn consumer(name: &str) -> ClientId {
    Namespace::new("n").id(&Client::Consumer(name.as_bytes()))
}

impl Setup {
    fn entry(&self, name: &str, cost: u64) -> AccountEntry {
        AccountEntry {
            client: consumer(name),
            name: Some(name.as_bytes().to_vec()),
            is_anonymous: false,
            tier: "free".into(),
            terms: Arc::clone(&self.terms),
            node: 1,
            ask: Ask::Charge { cost: Cost(cost) },
        }
    }

    fn apply(&self, entries: Vec<AccountEntry>) -> Vec<Answer> {
        block_on(self.memory.apply("n", entries)).unwrap().answers
    }

    fn accounts(&self) -> usize {
        self.memory.state("n").unwrap().shards.iter().map(|shard| locks::lock(shard).len()).sum()
    }
}

#[test]
fn a_charge_is_seen_in_the_usage_of_its_month_alone() {
    let setup = setup();
    setup.apply(vec![setup.entry("acme", 2_500)]);
    let month = month_of(UnixMicros(NOW));
    let used = |month| block_on(setup.memory.usage("n", consumer("acme"), month)).unwrap().unwrap().used;
    assert_eq!((used(month), used(month - 1)), (Cost(2_500), Cost(0)));
    assert_eq!(block_on(setup.memory.usage("n", consumer("nobody"), month)).unwrap(), None);
    assert_eq!(block_on(setup.memory.usage("other", consumer("acme"), month)).unwrap(), None);
}

#[test]
fn a_walk_sees_every_consumer_once_and_those_alone_that_used_something() {
    let setup = setup();
    for number in 0..10_000 {
        setup.apply(vec![setup.entry(&format!("c{number}"), u64::from(number % 2 == 0))]);
    }
    let mut names: Vec<_> =
        block_on(setup.memory.usages("n", month_of(UnixMicros(NOW))).try_collect::<Vec<_>>())
            .unwrap()
            .into_iter()
            .map(|usage| usage.name.unwrap())
            .collect();
    assert_eq!(names.len(), 5_000);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5_000);
}

#[test]
fn an_anonymous_client_is_forgotten_when_its_bucket_is_full_again_and_not_before() {
    let setup = setup();
    let anonymous = |last: u8, cost| {
        let network = Network::V4([192, 0, 2, last]);
        let client = Namespace::new("n").id(&Client::Anonymous(network));
        AccountEntry { client, name: None, is_anonymous: true, ..setup.entry("", cost) }
    };
    for last in 0..=255 {
        setup.apply(vec![anonymous(last, 150_000)]);
    }
    setup.now.store(NOW + 90 * SECOND - 1, Ordering::Relaxed);
    let refused = setup.apply(vec![anonymous(7, 150_000)]);
    assert!(matches!(refused[0], Answer::Grant(grant) if grant.refusal.is_some()));
    assert_eq!(setup.accounts(), 256);
    setup.now.store(NOW + 200 * SECOND, Ordering::Relaxed);
    // Each call sweeps a part of its shard.
    for number in 0..1_000 {
        setup.apply(vec![setup.entry(&format!("c{number}"), 0)]);
    }
    assert_eq!(setup.accounts(), 1_000);
}

#[test]
fn a_lease_is_kept_and_a_repeated_message_changes_nothing() {
    let setup = setup();
    let lease =
        LeaseRequest { epoch: 1, seq: 1, need: Cost(1_000), want: Cost(10_000), ..LeaseRequest::default() };
    let entry = AccountEntry { ask: Ask::Lease(lease), ..setup.entry("acme", 0) };
    let first = setup.apply(vec![entry.clone()]);
    assert!(matches!(first[0], Answer::Grant(grant) if grant.hold == Cost(10_000)));
    assert_eq!(setup.apply(vec![entry.clone()]), first);
    let later = AccountEntry { ask: Ask::Lease(LeaseRequest { seq: 2, ..lease }), ..entry.clone() };
    setup.apply(vec![later]);
    assert_eq!(setup.apply(vec![entry]), [Answer::Stale]);
}

#[test]
fn every_change_has_a_revision_and_a_line_and_the_bulletin_forgets_the_oldest_removals() {
    let setup = setup();
    let memory = &setup.memory;
    assert_eq!(put(memory, "acme", Some(b"pro"), "line"), Changed::To(1));
    assert_eq!(block_on(memory.reset("n", consumer("acme"), true, true, b"reset".to_vec())).unwrap(), 2);
    let snapshot = block_on(memory.snapshot("n", Mark::default())).unwrap();
    assert_eq!((snapshot.revision, snapshot.since), (2, 0));
    assert_eq!(snapshot.resets, [(2, consumer("acme"))]);
    assert_eq!(block_on(memory.audit("n", Some(2), 10)).unwrap(), [(1, b"line".to_vec())]);

    for number in 0..=NOTICES_REMEMBERED {
        put(memory, &format!("c{number}"), None, "line");
    }
    let snapshot = block_on(memory.snapshot("n", Mark::default())).unwrap();
    assert_eq!(snapshot.since, 3, "the first removal is forgotten, and all before it");
    assert!(snapshot.resets.is_empty());
    assert_eq!(snapshot.overrides.iter().filter(|row| row.value.is_none()).count(), NOTICES_REMEMBERED);
    assert!(snapshot.overrides.iter().any(|row| row.consumer == "acme" && row.revision == 1));
    assert_eq!(block_on(memory.revision("n")).unwrap(), snapshot.revision);
}

#[test]
fn the_log_keeps_its_numbers_when_old_lines_go() {
    let setup = setup();
    for number in 1..=10_001_u64 {
        put(&setup.memory, "acme", None, &number.to_string());
    }
    let newest = block_on(setup.memory.audit("n", None, 2)).unwrap();
    assert_eq!(newest, [(10_001, b"10001".to_vec()), (10_000, b"10000".to_vec())]);
    assert_eq!(block_on(setup.memory.audit("n", None, usize::MAX)).unwrap().len(), 10_000);
    assert_eq!(block_on(setup.memory.audit("n", Some(3), 9)).unwrap(), [(2, b"2".to_vec())]);
}

#[test]
fn a_reset_makes_bucket_and_month_whole() {
    let setup = setup();
    setup.apply(vec![setup.entry("acme", 150_000)]);
    block_on(setup.memory.reset("n", consumer("acme"), true, false, Vec::new())).unwrap();
    let again = setup.apply(vec![setup.entry("acme", 150_000)]);
    assert!(
        matches!(again[0], Answer::Grant(grant) if grant.refusal.is_none() && grant.month_used == Cost(300_000))
    );
    block_on(setup.memory.reset("n", consumer("acme"), false, true, Vec::new())).unwrap();
    let used =
        block_on(setup.memory.usage("n", consumer("acme"), month_of(UnixMicros(NOW)))).unwrap().unwrap().used;
    assert_eq!(used, Cost(0));
}

#[test]
fn reservations_are_forgotten_once_their_time_is_over_and_a_refused_one_leaves_nothing() {
    let setup = setup();
    let hold = |cost: u64, ttl: u64| Hold {
        tier: "free".into(),
        terms: Arc::clone(&setup.terms),
        cost: Cost(cost),
        ttl: Micros(ttl * SECOND),
        context: Vec::new(),
    };
    let reserve = |number: u8, hold: Hold| {
        let key = (consumer("acme"), ReservationId([number; 16]));
        block_on(setup.memory.reserve("n", key, b"acme".to_vec(), hold)).unwrap()
    };
    let kept = || {
        let shards = setup.memory.state("n").unwrap();
        let all = shards.shards.iter().map(|shard| locks::lock(shard).reservations());
        all.fold((0, 0), |sum, (reservations, counts)| (sum.0 + reservations, sum.1 + counts))
    };
    assert!(matches!(reserve(0, hold(1_000_000, 60)), Reserved::Refused(_)));
    assert_eq!(kept(), (0, 0));
    for number in 1..=40 {
        assert!(matches!(reserve(number, hold(1_000, 60)), Reserved::Now(_)));
    }
    // Its time is over, but its number is still remembered, and then taken again.
    setup.now.fetch_add(100 * SECOND, Ordering::Relaxed);
    assert!(matches!(reserve(1, hold(1_000, 60)), Reserved::Before(_)));
    setup.now.fetch_add(30 * SECOND, Ordering::Relaxed);
    assert!(matches!(reserve(1, hold(1_000, 600)), Reserved::Now(_)));
    for _ in 0..10 {
        setup.now.fetch_add(60 * SECOND, Ordering::Relaxed);
        assert!(matches!(reserve(1, hold(1_000, 600)), Reserved::Before(_)));
    }
    assert_eq!(kept(), (1, 1));
    setup.now.fetch_add(180 * SECOND, Ordering::Relaxed);
    assert!(matches!(reserve(0, hold(1_000_000, 60)), Reserved::Refused(_)));
    assert_eq!(kept(), (0, 0));
}
