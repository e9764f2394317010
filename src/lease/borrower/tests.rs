use super::*;
use crate::lease::hold::{Refused, tick};
use crate::lease::terms::Rate;
use crate::lease::wire::{Change as Said, News, Reply};
use crate::table::tests::{Fake, Rules};
use crate::table::{FingerprintKey, State};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// 2026-11-24T00:00:00Z.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);
const ID: ClientId = ClientId([7; 16]);

/// A worker that has just begun, and a record that another has left: by `change`, at `mono` milliseconds.
struct Node {
    policy: Policy,
    table: Table,
    shared: Fake,
    borrower: Borrower,
    is_stranger: bool,
}

impl Node {
    fn new() -> Self {
        let policy = Policy::from_value(&serde_json::json!({
            "tiers": { "free": { "rate": "400/minute" }, "pro": { "rate": "4000/minute" } }, "default_tier": "free",
            "anonymous": { "rate": "200/minute" }, "store": { "upstream": "127.0.0.1:7600" },
        }))
        .unwrap();
        let shared = Fake::new(Rules::Envoy);
        let table = Table::open(&shared, 64, FingerprintKey([1; 16])).unwrap().table;
        let mut borrower = Borrower::new(&policy, Rhythm { interval: 100, timeout: 50 }, 1);
        borrower.settle_node(|| 5);
        Self { policy, table, shared, borrower, is_stranger: false }
    }

    fn change(&self, mut change: impl FnMut(&mut State)) -> State {
        let client = self.table.fingerprint_of(ID, self.is_stranger);
        let updated = self.table.update(&self.shared, client, &self.policy.anonymous, NOW, |mut state| {
            change(&mut state);
            (Change::Write(state), state)
        });
        match updated {
            Updated::Done { answer, .. } => answer,
            Updated::Unknown => panic!("the table answers"),
        }
    }

    /// What ticks tell of the client until all slots have been looked at.
    fn tick(&mut self, mono: u64) -> Vec<Entry> {
        let ticks = self.table.geometry().count();
        let composed = (0..ticks).map(|tick| {
            let mono = mono + u64::from(tick);
            let times = Times { now: NOW, mono, node: mono * 1_000_000 };
            self.borrower.compose(&self.policy, &self.table, &self.shared, times, 0)
        });
        composed.flatten().flat_map(|call| call.batch.entries).filter(|entry| entry.client == ID).collect()
    }
}

#[test]
fn what_a_lost_worker_has_left_is_told_under_its_own_tier() {
    let mut node = Node::new();
    node.change(|state| {
        state.hold.owe(Cost(3_000), 1_000);
        state.hold.offer = 1;
    });
    assert_eq!(node.tick(900 + u64::from(Rhythm::ORPHANED)), [], "its worker may be about to");
    let told = node.tick(1_100 + u64::from(Rhythm::ORPHANED));
    let [Entry { offer: 1, ask: Ask::Lease(lease), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((lease.spent, lease.need, lease.want), (3_000, 0, 0));
}

#[test]
fn a_client_that_was_silent_for_an_hour_begins_a_new_epoch() {
    let mut node = Node::new();
    let before = node.change(|state| {
        state.hold.owe(Cost(3_000), 1_000);
        state.hold.acked = 3_000;
    });
    assert_eq!(node.tick(900 + u64::from(Rhythm::QUIET)), []);
    assert_eq!(node.change(|_| ()).hold.epoch, before.hold.epoch);
    assert_eq!(node.tick(1_100 + u64::from(Rhythm::QUIET)), [], "the store knows all of it");
    let after = node.change(|_| ());
    assert_eq!(
        (after.hold.spent, after.hold.seq),
        (0, 0),
        "a store that has forgotten it would count it again"
    );
    assert!(after.hold.epoch > before.hold.epoch);
}

#[test]
fn whom_this_worker_knows_is_not_swept() {
    let mut node = Node::new();
    node.change(|state| state.hold.owe(Cost(3_000), 1_000));
    let mono = 1_100 + u64::from(Rhythm::ORPHANED);
    let acme = Subject { id: ID, name: Some(b"acme"), offer: 0 };
    node.borrower.served(&acme, Cost(1_000), false, u32::MAX, mono);
    assert_eq!(node.tick(mono), [], "its report comes in its own time");
}

#[test]
fn of_a_consumer_all_is_told_and_of_a_stranger_what_is_not_known() {
    for (is_stranger, acked) in [(false, 0), (true, 2_000)] {
        let mut node = Node { is_stranger, ..Node::new() };
        node.change(|state| {
            state.hold.owe(Cost(3_000), 1_000);
            state.hold.acked = 2_000;
        });
        let told = node.tick(1_100 + u64::from(Rhythm::ORPHANED));
        let [Entry { ask: Ask::Lease(lease), .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(
            (lease.spent, lease.acked),
            (3_000, acked),
            "a store that has lost writes has lost consumers' too"
        );
    }
}

#[test]
fn who_is_refused_often_is_asked_for_by_the_tick() {
    let mut node = Node::new();
    node.change(|state| {
        state.hold.refused = Refused { cost: 1_000, until: tick(1_500), limits: 1 };
        state.hold.idle = 100;
    });
    let acme = Subject { id: ID, name: Some(b"acme"), offer: 0 };
    for mono in 2_000..2_004 {
        node.borrower.served(&acme, Cost(1_000), true, 0, mono);
    }
    let told = node.tick(2_004);
    let [Entry { ask: Ask::Lease(lease), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((lease.need, lease.hold), (1_000, 0), "requests do not ask for themselves then");
}

#[test]
fn who_comes_again_when_told_to_asks_for_itself() {
    let mut node = Node::new();
    let acme = Subject { id: ID, name: Some(b"acme"), offer: 0 };
    for (at, is_pressed) in [(2_000, false), (2_600, false), (2_700, true)] {
        node.borrower.served(&acme, Cost(1_000), true, 0, at);
        assert_eq!(node.borrower.is_pressed(&ID, at + 50), is_pressed, "refused at {at} ms");
    }
}

#[test]
fn what_was_lent_under_other_limits_is_given_up_when_they_change() {
    let offer =
        Offer { tier: "own".into(), rates: vec![Rate { units: 1, seconds: 60, burst: 100 }], monthly: None };
    for what in [News::Override(offer), News::NoOverride, News::Reset] {
        let mut node = Node::new();
        node.change(|state| {
            state.hold.owe(Cost(3_000), 1_000);
            state.hold.left = 9_000;
            state.hold.refused = Refused { cost: 10_000, until: tick(60_000), limits: 1 };
        });
        let call = node.borrower.call(Vec::new(), 2_000);
        let changes = vec![Said { client: ID, what }];
        let reply = Reply { now: NOW.0 / 1_000, revision: 1, is_whole: false, changes, answers: Vec::new() };
        node.borrower.take(&node.policy, &node.table, &node.shared, &call, &reply, 2_001_000_000);
        let hold = node.change(|_| ()).hold;
        assert_eq!((hold.left, hold.refused, hold.owed()), (0, Refused::default(), 3_000));
    }
}

#[test]
fn a_name_too_long_for_a_message_is_told_in_its_short_form() {
    let mut node = Node::new();
    let long = [b'n'; 2_000];
    let short = name::told(&long, ID).into_owned();
    assert!(short.len() < 300);
    let subject = Subject { id: ID, name: Some(&long), offer: 0 };
    let times = Times { now: NOW, ..Times::default() };
    let free = node.policy.tiers[0].clone();
    let call = node.borrower.ask_charge(&node.table, &node.shared, &subject, &free, Cost(1_000), times);
    assert_eq!(call.batch.entries[0].name.as_ref(), Some(&short));
    assert!(Batch::from_bytes(&call.batch.to_bytes()).is_ok(), "the store takes it");
    // By a tick, too.
    node.change(|state| state.hold.owe(Cost(3_000), 1_000));
    node.borrower.served(&subject, Cost(3_000), false, 0, 1_000);
    let told = node.tick(1_000 + u64::from(Rhythm::ORPHANED));
    assert_eq!(told[0].name.as_ref(), Some(&short));
}
