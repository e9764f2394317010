//! One decision in this process, without a gateway: with few endpoint rules and with many.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use hashbrown::HashMap;
use serde_json::{Value, json};
use tollgate_core::policy::Policy;
use tollgate_core::units::UnixNanos;
use tollgate_node::endpoint::Endpoints;
use tollgate_node::engine::{Engine, Outcome};
use tollgate_node::request::{Gateway, Headers, Request};
use tollgate_node::table::{Expected, FingerprintKey, Read, SharedData, SlotKey, Table, Write};

use crate::result::{self, Promise, median};
use crate::variant;

/// The most time of a decision with many rules, divided by that of one with few.
const PROMISED: f64 = 1.3;

/// 2026-11-24T00:00:00Z.
const START: u64 = 1_795_478_400_000_000_000;

/// The time from one request to the next, in which no client reaches its limit.
const GAP: u64 = 10_000;

#[derive(Args)]
pub struct Settings {
    /// How often each side gets its turn.
    #[arg(long, default_value_t = 21)]
    turns: usize,
    /// Decisions of one turn.
    #[arg(long, default_value_t = 100_000)]
    decisions: usize,
    /// Distinct clients.
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Endpoint rules on one side.
    #[arg(long, default_value_t = 4)]
    few: usize,
    /// Endpoint rules on the other.
    #[arg(long, default_value_t = 1_000)]
    many: usize,
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    let mut sides = [Side::new(settings.few, settings.clients)?, Side::new(settings.many, settings.clients)?];
    for side in &mut sides {
        // Every client's first request creates its record.
        side.decide(settings.clients)?;
        side.take_turn(settings.decisions)?;
        side.decision_ns.clear();
        side.price_ns.clear();
    }
    eprintln!("decision: {} turns of {} decisions", settings.turns, settings.decisions);
    for _ in 0..settings.turns {
        for side in &mut sides {
            side.take_turn(settings.decisions)?;
        }
    }
    let [few, many] = &sides;
    let ratio =
        |of: fn(&Side) -> &Vec<f64>| median(of(many).iter().zip(of(few)).map(|(many, few)| many / few));
    let (decision, price) = (ratio(|side| &side.decision_ns), ratio(|side| &side.price_ns));
    let mut rows = vec![["rules", "a decision", "its price alone"].map(str::to_owned).to_vec()];
    for side in &sides {
        let ns = |values: &[f64]| format!("{:.0} ns", median(values.iter().copied()));
        rows.push(vec![side.rules.to_string(), ns(&side.decision_ns), ns(&side.price_ns)]);
    }
    rows.push(vec!["ratio".to_owned(), format!("{decision:.3}"), format!("{price:.3}")]);
    result::print_table(&rows);
    let promises =
        vec![Promise::at_most("decision: with 1,000 endpoint rules, by with 4", PROMISED, decision)];
    result::save(
        "decision",
        json!({
            "settings": {
                "turns": settings.turns, "decisions": settings.decisions, "clients": settings.clients,
            },
            "sides": sides.iter().map(Side::to_json).collect::<Vec<_>>(),
            "decision_ratio": decision,
            "price_ratio": price,
            "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
        }),
    )?;
    Ok(promises)
}

/// One policy, its clients' requests, and the times of its turns.
struct Side {
    rules: usize,
    engine: Engine,
    endpoints: Endpoints,
    store: Shared,
    /// Encoded headers, with one request per client.
    requests: Vec<Vec<u8>>,
    now: u64,
    /// Nanoseconds, with one value per turn.
    decision_ns: Vec<f64>,
    price_ns: Vec<f64>,
}

impl Side {
    fn new(rules: usize, clients: usize) -> anyhow::Result<Self> {
        let mut policy = variant::policy();
        policy["endpoints"] =
            (0..rules).map(|rule| json!({ "path": format!("{}/*", stem(rule)), "cost": 1 })).collect();
        let policy = Policy::from_json(policy.to_string().as_bytes())
            .map_err(|problems| anyhow::anyhow!("the benchmark's own policy: {problems:?}"))?;
        let endpoints = Endpoints::new(&policy.endpoints, policy.default_cost);
        let store = Shared::default();
        let table = Table::open(&store, policy.clients, FingerprintKey([7; 16]))
            .map_err(|why| anyhow::anyhow!("a table in memory: {why:?}"))?;
        // Every rule gets its share of the clients.
        let requests = (0..clients).map(|client| encoded(client, rules)).collect();
        let engine = Engine::new(policy, table.table);
        let empty = Vec::new;
        Ok(Self {
            rules,
            engine,
            endpoints,
            store,
            requests,
            now: START,
            decision_ns: empty(),
            price_ns: empty(),
        })
    }

    fn take_turn(&mut self, decisions: usize) -> anyhow::Result<()> {
        let start = Instant::now();
        self.decide(decisions)?;
        self.decision_ns.push(start.elapsed().as_nanos() as f64 / decisions as f64);
        let start = Instant::now();
        for request in self.requests.iter().cycle().take(decisions) {
            let request = Request::new(Headers::new(request), &Nobody);
            black_box(self.endpoints.price(request.method, request.path));
        }
        self.price_ns.push(start.elapsed().as_nanos() as f64 / decisions as f64);
        Ok(())
    }

    fn decide(&mut self, decisions: usize) -> anyhow::Result<()> {
        let mut allowed = 0;
        for request in self.requests.iter().cycle().take(decisions) {
            self.now += GAP;
            let request = Request::new(Headers::new(black_box(request)), &Nobody);
            let answer = self.engine.decide(&request, &self.store, UnixNanos(self.now));
            let ruling =
                black_box(answer).and_then(|answer| answer.ruling).context("a request that costs nothing")?;
            allowed += usize::from(ruling.outcome == Outcome::Allowed);
        }
        ensure!(allowed == decisions, "{} of {decisions} were refused", decisions - allowed);
        Ok(())
    }

    fn to_json(&self) -> Value {
        json!({
            "rules": self.rules,
            "decision_ns": median(self.decision_ns.iter().copied()),
            "price_ns": median(self.price_ns.iter().copied()),
            "turns": self.decision_ns,
        })
    }
}

/// The path of rule `rule`: as long and as deep on both sides.
fn stem(rule: usize) -> String {
    format!("/v1/area-{:03}/thing-{:03}", rule / 10, rule % 10)
}

/// One client's headers, as a gateway hands them over.
fn encoded(client: usize, rules: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let path = format!("{}/{client:06}?verbose=1", stem(client % rules));
    variant::write(&mut text, &path, client as u64, Some((client as u64, "pro")), 0x0A00_0001);
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().skip(1).filter_map(|line| line.split_once(": "));
    let pairs: Vec<(&str, &str)> =
        [(":method", "GET"), (":path", path.as_str())].into_iter().chain(lines).collect();
    let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = word(pairs.len()).to_vec();
    for (name, value) in &pairs {
        bytes.extend([word(name.len()), word(value.len())].concat());
    }
    for (name, value) in &pairs {
        bytes.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    bytes
}

/// A gateway that no one ever asks.
struct Nobody;

impl Gateway for Nobody {
    fn property(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn header(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
}

/// The shared data of one thread: every write increments a version, as in Envoy.
#[derive(Default)]
struct Shared {
    values: RefCell<HashMap<SlotKey, (Vec<u8>, u32)>>,
}

impl SharedData for Shared {
    fn get(&self, key: &SlotKey) -> Read {
        match self.values.borrow().get(key) {
            Some((value, version)) => Read::Value(value.clone(), *version),
            None => Read::Missing,
        }
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        let mut values = self.values.borrow_mut();
        let held = values.get_mut(key);
        match (held, expected) {
            (Some((held, version)), Expected::Version(named)) if *version == named => {
                held.clear();
                held.extend_from_slice(value);
                *version = version.wrapping_add(1);
            }
            (None, Expected::Missing) => drop(values.insert(*key, (value.to_vec(), 1))),
            _ => return Write::Lost,
        }
        Write::Done
    }

    fn keeps_all(&self) -> bool {
        true
    }
}
