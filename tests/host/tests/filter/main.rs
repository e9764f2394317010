//! The built filter on both hosts, tested against its contract.

mod anonymous;
mod calls;
mod changes;
mod client_headers;
mod fake_store;
mod grpc;
mod hostile;
mod hosts;
mod identity;
mod lending;
mod limits;
mod many_headers;
mod policies;
mod reloads;
mod schedule;
mod settling;
mod upstream_headers;

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_core::capability;
use tollgate_host::{Exchange, Module, Node, Personality, Request, Setup, StartError};

/// The contract's example, with room for few clients, so that a node starts fast.
fn policy() -> Value {
    json!({
        "namespace": "fingerprint",
        "tiers": {
            "free": { "rate": "100/minute", "burst": 1.5, "monthly": 50000 },
            "pro": { "rate": "1000/minute", "burst": 1.5, "monthly": 1000000 },
            "enterprise": { "rate": "unlimited", "monthly": "unlimited" },
            "partner": { "rate": "unlimited", "monthly": "unlimited" },
        },
        "default_tier": "free",
        "anonymous": { "rate": "30/minute", "burst": 1 },
        "identity": {
            "consumer": [{ "property": "kong.ctx.shared.tollgate_consumer" }, { "header": "x-consumer-username" }],
            "tier": [{ "property": "kong.ctx.shared.tollgate_tier" }, { "header": "x-consumer-groups" }],
        },
        "endpoints": [
            { "path": "/identify", "cost": 1 },
            { "path": "/compare", "cost": 2 },
            { "path": "/batch", "cost": 1 },
            { "path": "/health", "cost": 0 },
        ],
        "default_cost": 1,
        "overrides": [{ "consumer": "billing-worker", "tier": "partner" }],
        "headers": { "x_ratelimit": true, "ietf": true },
        "memory": { "clients": 256 },
    })
}

/// [`policy`] with other values at the top.
fn policy_with(changes: Value) -> Value {
    let mut policy = policy();
    for (name, value) in changes.as_object().expect("an object") {
        policy[name] = value.clone();
    }
    policy
}

/// A policy with one tier, `t`, which every consumer gets.
fn one_tier(tier: Value) -> Value {
    policy_with(json!({ "tiers": { "t": tier }, "default_tier": "t", "overrides": [] }))
}

/// A node with the filter, whose workers take requests in turn.
struct Gate {
    node: Node,
    workers: usize,
    turn: usize,
}

impl Gate {
    fn new(personality: Personality, workers: usize, policy: &Value) -> Self {
        let setup = Setup::new(personality).workers(workers).filter(&policy.to_string());
        let gate = Self::start(setup, workers).unwrap_or_else(|error| panic!("{personality}: {error}"));
        assert!(gate.node.is_filtered(), "the filter did not start: {:#?}", gate.node.log());
        gate
    }

    fn start(setup: Setup, workers: usize) -> Result<Self, StartError> {
        let module = Module::tollgate().unwrap_or_else(|error| panic!("{error:#}"));
        Ok(Self { node: setup.granting(capability::all()).start(&module)?, workers, turn: 0 })
    }

    fn is_kong(&self) -> bool {
        self.node.personality().is_kong()
    }

    /// Sends one request to the worker whose turn it is.
    fn ask(&mut self, request: Request) -> Exchange {
        self.turn = (self.turn + 1) % self.workers;
        self.node.request(request.on_worker(self.turn)).unwrap_or_else(|broken| panic!("{broken}"))
    }

    /// The status that a client gets.
    fn status(&mut self, request: Request) -> u16 {
        self.ask(request).client.status
    }

    /// How many of `count` such requests pass; the others are refused with 429.
    fn passed(&mut self, request: &Request, count: usize) -> usize {
        let passes = |gate: &mut Self| match gate.status(request.clone()) {
            200 => true,
            429 => false,
            other => panic!("a client got {other}"),
        };
        (0..count).filter(|_| passes(self)).count()
    }

    fn wait(&mut self, time: Duration) {
        self.node.advance(time).unwrap_or_else(|broken| panic!("{broken}"));
    }

    /// Log lines that contain `what`.
    fn logged(&self, what: &str) -> usize {
        self.node.log().iter().filter(|line| line.contains(what)).count()
    }
}

/// Runs `check` on both hosts, with one and with four workers.
fn on_every_gate(policy: &Value, check: impl Fn(&mut Gate)) {
    for personality in Personality::ALL {
        for workers in [1, 4] {
            println!("on {personality} with {workers} worker(s)");
            check(&mut Gate::new(personality, workers, policy));
        }
    }
}

/// A request by a consumer with the policy's default tier.
fn by(consumer: &str) -> Request {
    Request::get("/identify").header("x-consumer-username", consumer)
}

/// A request by a consumer with a tier.
fn by_one_of(tier: &str, consumer: &str) -> Request {
    by(consumer).header("x-consumer-groups", tier)
}

/// The client's header, as a number.
fn number(exchange: &Exchange, name: &str) -> u64 {
    let value = exchange.client.header(name).unwrap_or_else(|| panic!("no {name}: {:?}", exchange.client));
    value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))
}
