//! Several nodes on a simulated host, and a store behind their calls: the product's own accounts, in memory.

use std::collections::HashMap;
use std::time::Duration;
use tollgate_core::units::UnixMicros;

use serde_json::{Value, json};
use tollgate_core::client::Client;
use tollgate_core::client::{ClientId, Namespace};
use tollgate_core::wire::{Answer, Ask, Batch, Change, ChangeKind, Reply, header};
use tollgate_host::calls::Call;
use tollgate_host::{Exchange, Headers, Personality, Reply as CallReply, Request, Response, Setup};
use tollgate_store::accounts::{Account, Applied, month_of};

use crate::{Gate, policy_with};

/// The store's side: accounts in memory, with a clock of its own.
#[derive(Default)]
pub struct FakeStore {
    pub accounts: HashMap<ClientId, Account>,
    pub changes: Vec<Change>,
    pub revision: u64,
    /// The calls that it has answered.
    pub calls: usize,
    pub fails: bool,
}

impl FakeStore {
    pub fn reply(&mut self, call: &Call, now: u64) -> CallReply {
        self.calls += 1;
        if self.fails {
            return CallReply::Failure("timeout");
        }
        let batch = batch_of(call);
        let answers = batch.entries.iter().map(|entry| {
            let stored = self.changes.iter().rev().find(|change| change.client == entry.client);
            let offer = match stored.map(|change| &change.what) {
                Some(ChangeKind::Override(offer)) => offer,
                _ => &batch.offers[usize::from(entry.offer)],
            };
            let terms = offer.terms().expect("an offer");
            let account = self.accounts.entry(entry.client).or_default();
            match &entry.ask {
                Ask::Lease(lease) => match account.apply(&terms, batch.node, lease, UnixMicros(now)) {
                    Applied::Grant(grant) => Answer::Grant(grant),
                    Applied::Stale => Answer::Stale,
                },
                Ask::Charge { cost } => Answer::Grant(account.charge(&terms, *cost, UnixMicros(now))),
            }
        });
        let answers = answers.collect();
        let changes = if batch.revision < self.revision { self.changes.clone() } else { Vec::new() };
        let reply =
            Reply { now: UnixMicros(now), revision: self.revision, is_whole: false, changes, answers };
        CallReply::Answer(Response { status: 200, headers: Headers::default(), body: reply.to_bytes() })
    }

    pub fn used(&self, consumer: &str, now: u64) -> u64 {
        let id = Namespace::new("fingerprint").id(&Client::Consumer(consumer.as_bytes()));
        self.accounts.get(&id).map_or(0, |account| account.used(month_of(UnixMicros(now))).whole_units())
    }
}

/// The message of a call: a request sends it in a header, a tick in the body.
pub fn batch_of(call: &Call) -> Batch {
    let header = call.headers.get(header::NAME.as_bytes());
    assert!(header.is_none() || call.body.is_empty(), "a batch comes in one way");
    let bytes = header.map_or_else(|| call.body.clone(), |text| header::decode(text).expect("base64url"));
    Batch::from_bytes(&bytes).expect("a batch")
}

/// Nodes that share one store.
pub struct Nodes {
    pub gates: Vec<Gate>,
    pub bank: FakeStore,
}

impl Nodes {
    pub fn new(personality: Personality, nodes: usize, policy: &Value) -> Self {
        let start = |number: usize| {
            let setup = Setup::new(personality)
                .number(number as u64 + 1)
                .workers(2)
                .cluster("127.0.0.1:7600")
                .filter(&policy.to_string());
            Gate::start(setup, 2).unwrap_or_else(|error| panic!("{personality}: {error}"))
        };
        Self { gates: (0..nodes).map(start).collect(), bank: FakeStore::default() }
    }

    /// The store's clock, in microseconds.
    pub fn now(&self) -> u64 {
        self.gates[0].node.clock().monotonic_nanos() / 1_000 + 1_794_744_000_000_000
    }

    /// Sends one request; while it waits, the store answers.
    pub fn ask(&mut self, node: usize, request: Request) -> Exchange {
        let exchange = self.gates[node].ask(request);
        let Some(paused) = exchange.paused else { return exchange };
        for _ in 0..8 {
            for done in self.serve(node) {
                if done.paused.is_none() {
                    return done;
                }
            }
        }
        panic!("request {paused} waits for ever");
    }

    pub fn status(&mut self, node: usize, request: Request) -> u16 {
        self.ask(node, request).client.status
    }

    /// Answers the calls of one node that wait for a reply.
    pub fn serve(&mut self, node: usize) -> Vec<Exchange> {
        let now = self.now();
        let mut done = Vec::new();
        for call in self.gates[node].node.calls() {
            assert_eq!(call.upstream, "127.0.0.1:7600");
            assert!((1..=50).contains(&call.timeout_ms), "{}", call.timeout_ms);
            let reply = self.bank.reply(&call, now);
            done.extend(
                self.gates[node].node.answer(call.id, reply).unwrap_or_else(|broken| panic!("{broken}")),
            );
        }
        done
    }

    /// Lets time pass on all nodes, tick by tick; the store answers the ticks' calls.
    pub fn wait(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds.div_ceil(50) {
            for node in 0..self.gates.len() {
                self.gates[node].wait(Duration::from_millis(50));
                self.serve(node);
            }
        }
    }
}

pub fn policy(store: Value) -> Value {
    let mut policy = policy_with(json!({ "store": { "upstream": "127.0.0.1:7600" } }));
    for (name, value) in store.as_object().expect("an object") {
        policy["store"][name] = value.clone();
    }
    policy
}

pub fn on_both(nodes: usize, policy: &Value, check: impl Fn(&mut Nodes)) {
    for personality in Personality::ALL {
        println!("on {personality}");
        check(&mut Nodes::new(personality, nodes, policy));
    }
}
