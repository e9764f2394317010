//! A node in a host: the product's engine with its table, and its store client, whose calls Python makes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hashbrown::HashMap;
use pyo3::prelude::*;
use tollgate_core::client::Network;
use tollgate_core::headers::{self, X_QUOTA, X_RATELIMIT};
use tollgate_core::policy::Policy;
use tollgate_core::price::Price;
use tollgate_core::tier::ANONYMOUS;
use tollgate_core::units::{Cost, Millis, UnixNanos};
use tollgate_core::wire::Batch;
use tollgate_node::clock::NodeNanos;
use tollgate_node::engine::borrowing::Question;
use tollgate_node::engine::settling::Said;
use tollgate_node::engine::store_client::{
    Admission, Caller as Calling, Event, NodeHost, StoreClient, Waiting,
};
use tollgate_node::engine::{Answer, AppliedTier, Engine, Outcome, Ruling};
use tollgate_node::identity::{Caller, network};
use tollgate_node::request::{Gateway, Headers, Introduced, Request};
use tollgate_node::table::{FingerprintKey, Table};

use crate::decision::{Client, Decision};
use crate::memory::Memory;
use crate::outbox::Outbox;

/// A consumer and its tier, as Python tells them.
pub type Introduction = (Option<Vec<u8>>, Option<Vec<u8>>);

/// One request or charge, as Python asks about it.
#[derive(Debug, Default)]
pub struct Asked {
    /// The method.
    pub method: Vec<u8>,
    /// The path, as the client sent it.
    pub path: Vec<u8>,
    /// The headers that are to be believed.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The address that the request comes from.
    pub peer: Option<Vec<u8>>,
    /// The client, where Python knows it.
    pub introduced: Option<Introduction>,
    /// What is charged instead of the policy's price.
    pub price: Option<Cost>,
}

impl Asked {
    fn request(&self) -> Request<'_, Self> {
        // All headers are to be asked for by name: few policies read more than two.
        Request { method: &self.method, path: &self.path, headers: Headers::part(&[]), gateway: self }
    }

    fn network(&self) -> Network {
        self.peer.as_ref().map_or(Network::Unknown, |peer| network(peer))
    }

    fn lines(&self, name: &str) -> impl DoubleEndedIterator<Item = &Vec<u8>> {
        let is_named = move |key: &[u8]| key.eq_ignore_ascii_case(name.as_bytes());
        self.headers.iter().filter(move |(key, _)| is_named(key)).map(|(_, value)| value)
    }
}

impl Gateway for Asked {
    fn property(&self, path: &str) -> Option<Vec<u8>> {
        if path == "source\0address" { self.peer.clone() } else { None }
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.lines(name).next_back().cloned()
    }

    fn header_lines(&self, name: &str) -> Option<Vec<u8>> {
        let lines: Vec<&[u8]> = self.lines(name).map(Vec::as_slice).collect();
        (!lines.is_empty()).then(|| lines.join(b",".as_slice()))
    }

    fn introduced(&self) -> Option<Introduced<'_>> {
        let (consumer, tier) = self.introduced.as_ref()?;
        Some(Introduced { consumer: consumer.as_deref(), tier: tier.as_deref() })
    }

    fn price(&self) -> Option<Price> {
        self.price.map(|cost| Price { cost, settles: false })
    }
}

/// A request that waits for the store.
struct Guest {
    asked: Asked,
    waiting: Option<Rc<Waiting>>,
}

/// What became of a question.
#[derive(IntoPyObject)]
#[allow(clippy::large_enum_variant, reason = "it becomes a Python object at once")]
pub enum Decided {
    /// It is decided.
    Now(Decision),
    /// It waits for the store under this number, and [`Host::take_decisions`] will have its decision.
    Waits(u32),
}

/// A node, in the thread that made it.
pub struct Host {
    engine: Engine,
    store_client: Option<StoreClient>,
    memory: Memory,
    /// The time that was set, by both clocks; none: the system's.
    clock: Cell<Option<(UnixNanos, NodeNanos)>>,
    started: Instant,
    guests: RefCell<HashMap<u32, Guest>>,
    last_request: Cell<u32>,
    at_hand: Cell<Option<u32>>,
    /// The body of the store's response that is at hand.
    reply: RefCell<Option<Vec<u8>>>,
    outbox: RefCell<Outbox>,
}

impl Host {
    /// A node for `policy`; none where no table of its size can be made. The key and the seed are secret, and no other node's:
    /// the store takes nodes that share them for one.
    pub fn new(policy: Policy, key: [u8; 16], seed: u64) -> Option<Self> {
        let memory = Memory::default();
        let opened = Table::open(&memory, policy.clients, FingerprintKey(key)).ok()?;
        Some(Self {
            store_client: StoreClient::new(&policy, seed),
            engine: Engine::new(policy, opened.table).holding_charges(),
            memory,
            clock: Cell::new(None),
            started: Instant::now(),
            guests: RefCell::default(),
            last_request: Cell::new(0),
            at_hand: Cell::new(None),
            reply: RefCell::default(),
            outbox: RefCell::default(),
        })
    }

    /// What the policy charges for a request.
    pub fn price(&self, asked: &Asked) -> Cost {
        self.engine.price(&asked.request()).cost
    }

    /// Settles what `decision` has charged: it is `cost` in the end. The result is the decision as it is then; `None` if there
    /// is nothing to settle, or no more. A refused decision has charged nothing, and is settled if its request goes on.
    pub fn settle(&self, decision: &Decision, cost: Cost) -> Option<Decision> {
        let mut ruling = decision.take_open()?;
        let charged = ruling.charge.as_ref().map_or(Cost::FREE, |charge| charge.cost());
        let is_settled = cost == charged
            || match &self.store_client {
                Some(store_client) => store_client.settle(&self.engine, self, &mut ruling, cost),
                None => self.engine.settle(&mut ruling, cost, &self.memory, self.wall().into()).is_some(),
            };
        if !is_settled {
            // The node knows nothing of the charge any more, so it stays.
            return None;
        }
        let mut settled = Decision { cost, headers: Vec::new(), ..decision.clone() };
        if !decision.allowed {
            let outcome = Outcome::Allowed.name();
            settled =
                Decision { allowed: true, status: 200, outcome, body: None, retry_after: None, ..settled };
        }
        self.announce(&ruling, &mut settled);
        Some(settled)
    }

    /// What the response to `decision`'s request says that it costs: its `status`, or its header `X-Quota-Cost`.
    pub fn said(&self, decision: &Decision, status: u16, cost: Option<Vec<u8>>) -> Option<Cost> {
        let said = decision.with_open(|ruling| {
            let charge = ruling.charge.as_ref()?;
            Some(self.engine.said(charge, Some(status), || cost))
        });
        match said.flatten()? {
            Said::Nothing | Said::Malformed => None,
            Said::Cost(cost) => Some(cost),
            Said::Refunded => Some(Cost(0)),
        }
    }

    fn announce(&self, ruling: &Ruling, decision: &mut Decision) {
        self.engine.announce(Some(ruling), |name, value| {
            if let Some(value) = value {
                decision.announce(name, value);
            }
        });
    }

    /// A request that waits is no more.
    pub fn forget(&self, request: u32) {
        let guest = self.guests.borrow_mut().remove(&request);
        if let (Some(store_client), Some(waiting)) =
            (&self.store_client, guest.and_then(|guest| guest.waiting))
        {
            store_client.forget(&waiting);
        }
    }

    /// The time between two ticks; none without a store.
    pub fn interval(&self) -> Option<Millis> {
        self.store_client.as_ref().map(StoreClient::interval)
    }

    /// The names of the response headers that only Tollgate may set, in lower case.
    pub fn announced(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.engine.announce(None, |name, _| names.push(name.to_ascii_lowercase()));
        names
    }

    /// Sets the time by both clocks. From then on it stands still.
    pub fn set_clock(&self, unix: UnixNanos, node: NodeNanos) {
        self.clock.set(Some((unix, node)));
    }

    /// What has to be done when [`Host::interval`] has passed.
    pub fn tick(&self) {
        if let Some(store_client) = &self.store_client {
            self.at_hand.set(None);
            store_client.tick(&self.engine, self);
        }
    }

    /// Makes the next of a node's last calls; false if nothing is left to report.
    pub fn drain(&self) -> bool {
        self.at_hand.set(None);
        self.store_client.as_ref().is_some_and(|client| client.drain(&self.engine, self))
    }

    /// A call has ended: `body` is the store's reply, none if there was none.
    pub fn replied(&self, call: u32, body: Option<Vec<u8>>) {
        let Some(store_client) = &self.store_client else { return };
        let is_there = |request| self.guests.borrow().contains_key(&request);
        let replies = self.outbox.borrow_mut().replies(call, body, is_there);
        for (request, body) in replies {
            self.at_hand.set(request);
            *self.reply.borrow_mut() = body;
            match request {
                None => store_client.receive_batch(&self.engine, self),
                Some(request) => {
                    let waiting = self.guests.borrow().get(&request).and_then(|guest| guest.waiting.clone());
                    if let Some(waiting) = waiting {
                        store_client.receive_answer(&self.engine, self, &waiting);
                    }
                }
            }
            *self.reply.borrow_mut() = None;
        }
    }

    /// The messages to send: each with its number and the longest that its call may take.
    pub fn take_messages(&self) -> Vec<(u32, Vec<u8>, Millis)> {
        let is_there = |request| self.guests.borrow().contains_key(&request);
        self.outbox.borrow_mut().messages(is_there)
    }

    /// Decisions about requests that have waited.
    pub fn take_decisions(&self) -> Vec<(u32, Decision)> {
        std::mem::take(&mut self.outbox.borrow_mut().decisions)
    }

    /// `away` when the store was given up, `back` when it answered again.
    pub fn take_events(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.outbox.borrow_mut().events)
    }

    /// Decides about a request, or lets it wait.
    pub fn decide(&self, asked: Asked) -> Decided {
        let Some(store_client) = &self.store_client else {
            let answer = self.engine.decide(&asked.request(), &self.memory, self.wall());
            return Decided::Now(self.answered(&asked, answer));
        };
        let context = self.last_request.get().wrapping_add(1);
        self.last_request.set(context);
        self.at_hand.set(Some(context));
        // The host is asked for the peer of what is at hand while the request is borrowed: it is registered with its address.
        let guest = Guest { asked: Asked { peer: asked.peer.clone(), ..Asked::default() }, waiting: None };
        self.guests.borrow_mut().insert(context, guest);
        let waiting = match store_client.decide_or_wait(&self.engine, self, context, &asked.request()) {
            Admission::Off => Err(None),
            Admission::Decided(answer) => Err(Some(answer)),
            Admission::Waits(waiting) => Ok(waiting),
        };
        match waiting {
            Ok(waiting) => {
                self.guests.borrow_mut().insert(context, Guest { asked, waiting: Some(waiting) });
                Decided::Waits(context)
            }
            Err(answer) => {
                self.guests.borrow_mut().remove(&context);
                Decided::Now(self.answered(&asked, answer))
            }
        }
    }

    fn answered(&self, asked: &Asked, answer: Option<Answer<'_>>) -> Decision {
        let is_off = answer.is_none();
        let (caller, ruling) = answer.map_or((None, None), |answer| (Some(answer.caller), answer.ruling));
        let (consumer, tier) = match &caller {
            Some(Caller::Consumer { name, tier }) => (Some(name.to_vec()), AppliedTier::Tier(*tier)),
            Some(Caller::Anonymous) | None => (None, AppliedTier::Anonymous),
        };
        let mut decision = self.decision(asked, consumer, &tier, ruling.as_ref());
        if is_off {
            decision.outcome = "off";
        }
        decision
    }

    /// What `ruling` says about a request of `consumer`, whose own tier is `tier`.
    fn decision(
        &self,
        asked: &Asked,
        consumer: Option<Vec<u8>>,
        tier: &AppliedTier,
        ruling: Option<&Ruling>,
    ) -> Decision {
        let engine = &self.engine;
        // A later charge begins from the consumer's own tier: an override may have ended by then.
        let own_tier = match tier {
            AppliedTier::Tier(id) | AppliedTier::Override(id, _) => {
                Some(engine.policy().tier(*id).name.clone())
            }
            AppliedTier::Anonymous => None,
        };
        // Where the address has decided in the store's absence, the tier is the consumer's all the same.
        let decided = ruling.map(|ruling| &ruling.under).filter(|under| **under != AppliedTier::Anonymous);
        let tier = match &consumer {
            Some(_) => engine.tier(decided.unwrap_or(tier)).name.clone(),
            None => ANONYMOUS.to_owned(),
        };
        let cost = if ruling.is_some() { engine.price(&asked.request()).cost } else { Cost::FREE };
        let mut decision = Decision {
            client: Client { tier: own_tier.map(String::into_bytes), consumer, peer: asked.peer.clone() },
            allowed: true,
            status: 200,
            outcome: ruling.map_or("free", |ruling| ruling.outcome.name()),
            tier,
            cost,
            open: Arc::new(Mutex::new(ruling.filter(|ruling| ruling.charge.is_some()).cloned())),
            headers: Vec::new(),
            body: None,
            limit: None,
            remaining: None,
            reset: None,
            monthly_remaining: None,
            retry_after: None,
        };
        let Some(ruling) = ruling else { return decision };
        self.announce(ruling, &mut decision);
        if let Some(document) = engine.document(ruling) {
            decision.allowed = false;
            decision.status = document.status;
            if asked.price.is_some() && !engine.can_hold(&ruling.under, cost) {
                decision.status = 429;
                decision.outcome = Outcome::RefusedRate.name();
                decision.body = Some(headers::never(&decision.tier, cost));
            } else {
                decision.retry_after = Some(document.retry_after);
                decision.announce("Retry-After", document.retry_after.to_string().as_bytes());
                decision.body = Some(document.body);
            }
            decision.announce("Cache-Control", b"no-store");
            decision.announce("Content-Type", b"application/problem+json");
        }
        decision
    }
}

impl Decision {
    fn announce(&mut self, name: &str, value: &[u8]) {
        let number = || std::str::from_utf8(value).ok()?.parse().ok();
        let ([limit, remaining, reset], [_, monthly]) = (X_RATELIMIT, X_QUOTA);
        match name {
            _ if name == limit => self.limit = number(),
            _ if name == remaining => self.remaining = number(),
            _ if name == reset => self.reset = number(),
            _ if name == monthly => self.monthly_remaining = number(),
            _ => {}
        }
        self.headers.push((name.to_ascii_lowercase().into_bytes(), value.to_vec()));
    }
}

impl NodeHost for Host {
    type Shared = Memory;

    fn shared(&self) -> &Memory {
        &self.memory
    }

    fn monotonic(&self) -> NodeNanos {
        /// The clock's first moment: what is measured from zero on lies before it.
        const BEGIN: NodeNanos = NodeNanos(60_000_000_000);
        let elapsed = || u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.clock.get().map_or_else(|| NodeNanos(BEGIN.0.saturating_add(elapsed())), |(_, node)| node)
    }

    #[allow(clippy::disallowed_methods, reason = "this is a host's clock, from which time comes in")]
    fn wall(&self) -> UnixNanos {
        self.clock.get().map_or_else(
            || {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
            },
            |(unix, _)| unix,
        )
    }

    fn node(&self) -> Vec<u8> {
        // The table's key is random in every process.
        Vec::new()
    }

    fn peer(&self) -> Network {
        let guests = self.guests.borrow();
        let guest = self.at_hand.get().and_then(|context| guests.get(&context));
        guest.map_or(Network::Unknown, |guest| guest.asked.network())
    }

    fn resumes_others(&self) -> bool {
        true
    }

    fn speak_for(&self, context: u32) {
        self.at_hand.set(Some(context));
    }

    fn dispatch(&self, caller: Calling, batch: &Batch, timeout: Millis) -> bool {
        let request = match caller {
            Calling::Request => self.at_hand.get(),
            Calling::Root => None,
        };
        self.outbox.borrow_mut().want(request, batch, timeout);
        true
    }

    fn reply(&self) -> Option<Vec<u8>> {
        self.reply.borrow_mut().take()
    }

    fn may_call_again(&self) -> bool {
        true
    }

    fn conclude(&self, question: &Question, ruling: &Ruling) {
        let Some(context) = self.at_hand.get() else { return };
        let Some(guest) = self.guests.borrow_mut().remove(&context) else { return };
        let consumer = question.name.as_ref().map(|name| name.to_vec());
        let decision = self.decision(&guest.asked, consumer, question.under(), Some(ruling));
        self.outbox.borrow_mut().decisions.push((context, decision));
    }

    fn report(&self, event: Event) {
        match event {
            Event::Away => self.outbox.borrow_mut().events.push("away"),
            Event::Back => self.outbox.borrow_mut().events.push("back"),
            Event::Hit | Event::Miss | Event::Called { .. } | Event::NoRoute => {}
        }
    }
}
