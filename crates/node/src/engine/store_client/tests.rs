use super::*;
use crate::clock::NodeNanos;
use crate::engine::Outcome;
use crate::engine::borrowing::Question;
use crate::lease::LeaseState;
use crate::request::Headers;
use crate::request::tests::{Answers, pairs};
use crate::table::tests::{Fake, Rules};
use crate::table::{FingerprintKey, Table};
use tollgate_core::client::Network;
use tollgate_core::units::{Millis, UnixMicros, UnixNanos};
use tollgate_core::wire::{Batch, Grant};

/// An Envoy whose store replies what a test says, and at first nothing.
struct Puppet {
    shared: Fake,
    milli: Cell<u64>,
    at_hand: Cell<u32>,
    /// How many milliseconds each call may take.
    calls: RefCell<Vec<u64>>,
    /// What the last of them says.
    said: RefCell<Vec<u8>>,
    says: RefCell<Option<Vec<u8>>>,
    may_call_again: Cell<bool>,
    concluded: RefCell<Vec<(u32, Outcome)>>,
}

impl NodeHost for Puppet {
    type Shared = Fake;

    fn shared(&self) -> &Fake {
        &self.shared
    }

    fn monotonic(&self) -> NodeNanos {
        NodeNanos(self.milli.get() * 1_000_000)
    }

    fn wall(&self) -> UnixNanos {
        UnixNanos::from_seconds(1_795_478_400)
    }

    fn node(&self) -> Vec<u8> {
        Vec::new()
    }

    fn peer(&self) -> Network {
        Network::Unknown
    }

    fn resumes_others(&self) -> bool {
        true
    }

    fn speak_for(&self, context: u32) {
        self.at_hand.set(context);
    }

    fn dispatch(&self, _: Caller, batch: &Batch, timeout: Millis) -> bool {
        *self.said.borrow_mut() = batch.to_bytes();
        self.calls.borrow_mut().push(timeout.0);
        true
    }

    fn reply(&self) -> Option<Vec<u8>> {
        self.says.borrow().clone()
    }

    fn may_call_again(&self) -> bool {
        self.may_call_again.get()
    }

    fn conclude(&self, _: &Question, ruling: &Ruling) {
        self.concluded.borrow_mut().push((self.at_hand.get(), ruling.outcome));
    }

    fn report(&self, _: Event) {}
}

fn start() -> (Puppet, Engine, StoreClient) {
    let policy = Policy::from_value(&serde_json::json!({
        "tiers": { "free": { "rate": "400/minute" } }, "default_tier": "free", "anonymous": { "rate": "200/minute" },
        "identity": { "consumer": [{ "header": "x-consumer-username" }] },
        "store": { "upstream": "127.0.0.1:7600", "timeout": "50ms" },
    }))
    .unwrap();
    let host = Puppet {
        shared: Fake::new(Rules::Envoy),
        milli: Cell::new(1_000),
        at_hand: Cell::new(0),
        calls: RefCell::default(),
        said: RefCell::default(),
        says: RefCell::default(),
        may_call_again: Cell::new(true),
        concluded: RefCell::default(),
    };
    let table = Table::open(&host.shared, 65_536, FingerprintKey([1; 16])).unwrap().table;
    let store_client = StoreClient::new(&policy, 1).unwrap();
    (host, Engine::new(policy, table), store_client)
}

/// A request of `consumer` that has to wait.
fn meet(
    (host, engine, store_client): &(Puppet, Engine, StoreClient),
    context: u32,
    consumer: &str,
) -> Rc<Waiting> {
    let bytes = pairs(&[(":method", "GET"), (":path", "/"), ("x-consumer-username", consumer)]);
    host.at_hand.set(context);
    match store_client.decide_or_wait(
        engine,
        host,
        context,
        &Request::new(Headers::new(&bytes), &Answers::default()),
    ) {
        Admission::Waits(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_waits_for_a_call_whose_request_is_gone_does_not_wait_for_ever() {
    let all = start();
    let (first, second) = (meet(&all, 1, "acme"), meet(&all, 2, "acme"));
    let (host, engine, store_client) = &all;
    assert_eq!(*host.calls.borrow(), [50], "the second waits for the first one's call");
    store_client.forget(&first);
    host.milli.set(1_049);
    store_client.tick(engine, host);
    assert!(second.ruling().is_none());
    host.milli.set(1_051);
    store_client.tick(engine, host);
    assert_eq!(*host.concluded.borrow(), [(2, Outcome::Error)], "refused: the store is not known to be away");
    assert!(second.ruling().is_some());
}

#[test]
fn a_call_that_had_only_the_rest_of_a_requests_time_does_not_speak_against_the_store() {
    let all = start();
    let waiting: Vec<_> =
        ["a", "b", "c"].iter().zip(1..).map(|(name, context)| meet(&all, context, name)).collect();
    let (host, engine, store_client) = &all;
    // The store is slow, and its answers decide nothing, so all ask again.
    host.milli.set(1_040);
    let answers = vec![Answer::Stale];
    let stale = Reply {
        now: UnixMicros(1_795_478_400_000_000),
        revision: 0,
        is_whole: false,
        changes: vec![],
        answers,
    };
    *host.says.borrow_mut() = Some(stale.to_bytes());
    waiting.iter().for_each(|one| store_client.receive_answer(engine, host, one));
    assert_eq!(*host.calls.borrow(), [50, 50, 50, 10, 10, 10]);
    host.milli.set(1_050);
    *host.says.borrow_mut() = None;
    waiting.iter().for_each(|one| store_client.receive_answer(engine, host, one));
    assert_eq!(*host.concluded.borrow(), [1, 2, 3].map(|context| (context, Outcome::Error)));
    assert!(!store_client.borrower().borrow().is_store_away());

    let waiting: Vec<_> =
        ["d", "e", "f"].iter().zip(4..).map(|(name, context)| meet(&all, context, name)).collect();
    host.milli.set(1_100);
    waiting.iter().for_each(|one| store_client.receive_answer(engine, host, one));
    assert!(store_client.borrower().borrow().is_store_away(), "these had all of it");
}

#[test]
fn where_a_request_can_make_no_other_call_it_is_decided_after_the_first_that_fails() {
    let all = start();
    let (host, engine, store_client) = &all;
    host.may_call_again.set(false);
    for (context, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let waiting = meet(&all, context, name);
        store_client.receive_answer(engine, host, &waiting);
    }
    assert_eq!(host.calls.borrow().len(), 3, "one a request");
    let outcomes = [(1, Outcome::Error), (2, Outcome::Error), (3, Outcome::Fallback)];
    assert_eq!(*host.concluded.borrow(), outcomes, "the third shows that the store is away");
}

#[test]
fn however_many_wait_a_batch_is_one_that_a_store_takes() {
    let all = start();
    let (host, engine, store_client) = &all;
    for number in 0..2_100 {
        let name = format!("c{number}");
        let first = meet(&all, 2 * number + 1, &name);
        meet(&all, 2 * number + 2, &name);
        store_client.forget(&first);
    }
    store_client.tick(engine, host);
    let batch = Batch::from_bytes(&host.said.borrow()).expect("a store takes it");
    assert!(batch.entries.len() >= 1_000, "{}", batch.entries.len());
}

/// Lets the store lend all that the last message wants.
fn lend(host: &Puppet) {
    let batch = Batch::from_bytes(&host.said.borrow()).unwrap();
    let grant = |entry: &Entry| {
        let Ask::Lease(lease) = &entry.ask else { panic!("a charge") };
        Answer::Grant(Grant {
            epoch: lease.epoch,
            seq: lease.seq,
            spent: lease.spent,
            hold: lease.hold.max(lease.want),
            ttl: Millis(10_000),
            idle: Millis(5_000),
            ..Grant::default()
        })
    };
    let answers = batch.entries.iter().map(grant).collect();
    let now = 1_795_478_400_000_000 + host.milli.get() * 1_000;
    let reply = Reply { now: UnixMicros(now), revision: 0, is_whole: false, changes: vec![], answers };
    *host.says.borrow_mut() = Some(reply.to_bytes());
}

/// Lets `clients` come once each, and then ticks go on for `seconds`. Returns how many clients were reported, and the most reads
/// of shared data in one callback.
fn run_ticks(all: &(Puppet, Engine, StoreClient), clients: u32, seconds: u64) -> (usize, u32) {
    let (host, engine, store_client) = all;
    for number in 0..clients {
        let waiting = meet(all, number, &format!("c{number}"));
        lend(host);
        store_client.receive_answer(engine, host, &waiting);
    }
    let (mut told, mut most, mut is_out) = (0, 0, false);
    for _ in 0..seconds * 1_000 / store_client.interval().0 {
        host.milli.update(|milli| milli + store_client.interval().0);
        let (reads, calls) = (host.shared.reads.get(), host.calls.borrow().len());
        if std::mem::take(&mut is_out) {
            store_client.receive_batch(engine, host);
        } else {
            store_client.tick(engine, host);
            is_out = host.calls.borrow().len() > calls;
        }
        most = most.max(host.shared.reads.get() - reads);
        if is_out {
            told += Batch::from_bytes(&host.said.borrow()).unwrap().entries.len();
            lend(host);
        }
    }
    assert!(host.concluded.borrow().iter().all(|(_, outcome)| *outcome == Outcome::Allowed));
    (told, most)
}

#[test]
fn no_tick_and_no_reply_holds_a_worker_for_long() {
    let all = start();
    // After half a second, each of them is reported within another one.
    let (told, most) = run_ticks(&all, 800, 2);
    assert!(told >= 800 && most <= 64, "{told} were told, {most} looks at shared data in one callback");
}

#[test]
fn no_lease_ends_because_there_are_many() {
    let all = start();
    let (told, most) = run_ticks(&all, 20_000, 6);
    assert!(told >= 20_000 && most <= 400, "{told} were told, {most} looks at shared data in one callback");
}

/// The store's reply to `batch`, by which each client may hold `hold`.
fn granted(batch: &Batch, hold: u64) -> Vec<u8> {
    let grant = |entry: &Entry| match &entry.ask {
        Ask::Lease(lease) => Answer::Grant(Grant {
            epoch: lease.epoch,
            seq: lease.seq,
            spent: lease.spent,
            hold: Cost(hold),
            ttl: Millis(10_000),
            idle: Millis(5_000),
            ..Grant::default()
        }),
        Ask::Charge { .. } => Answer::Failed,
    };
    let answers = batch.entries.iter().map(grant).collect();
    let now = UnixMicros(1_795_478_400_000_000);
    Reply { now, revision: 0, is_whole: false, changes: vec![], answers }.to_bytes()
}

#[test]
fn what_a_drain_is_answered_is_all_that_it_waits_for() {
    let node = start();
    let (host, engine, store_client) = &node;
    assert!(!store_client.drain(engine, host), "it has served nobody");
    let waiting = meet(&node, 1, "acme");
    let batch = Batch::from_bytes(&host.said.borrow()).unwrap();
    *host.says.borrow_mut() = Some(granted(&batch, 5_000));
    store_client.receive_answer(engine, host, &waiting);
    assert_eq!(*host.concluded.borrow(), [(1, Outcome::Allowed)]);
    assert!(store_client.drain(engine, host));
    let batch = Batch::from_bytes(&host.said.borrow()).unwrap();
    let [Entry { ask: Ask::Lease(lease), .. }] = &batch.entries[..] else { panic!("{batch:?}") };
    assert_eq!((lease.spent, lease.hold), (LeaseState::START.plus(Cost(1_000)), Cost(0)));
    *host.says.borrow_mut() = Some(granted(&batch, 0));
    store_client.receive_batch(engine, host);
    assert!(!store_client.drain(engine, host), "nothing is left");
}
