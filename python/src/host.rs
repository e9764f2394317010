//! A node in a host: the product's engine with its table, and its store client, whose calls Python makes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Instant;

use hashbrown::HashMap;
use pyo3::prelude::*;
use tollgate_core::account::Account;
use tollgate_core::client::{Client as Whose, Namespace, Network};
use tollgate_core::headers;
use tollgate_core::policy::Policy;
use tollgate_core::tier::ANONYMOUS;
use tollgate_core::units::{Cost, Millis, UnixNanos};
use tollgate_node::clock::{NodeNanos, Now};
use tollgate_node::engine::borrowing::Question;
use tollgate_node::engine::settling::Said;
use tollgate_node::engine::store_client::{Admission, NodeHost, StoreClient, Waiting};
use tollgate_node::engine::{Answer, AppliedTier, Engine, Outcome, Ruling};
use tollgate_node::identity::{Caller, network};
use tollgate_node::table::{Change, FingerprintKey, Table, Updated};

use crate::announced::{Announced, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use crate::asked::Asked;
use crate::decision::{Client, Decision};
use crate::memory::{Draft, Memory};
use crate::outbox::Outbox;

/// A request that waits for the store.
pub(crate) struct Guest {
    peer: Option<Vec<u8>>,
    cost: Cost,
    /// Whether the host says what it costs.
    is_priced: bool,
    pub(crate) waiting: Rc<Waiting>,
}

impl Guest {
    pub(crate) fn network(&self) -> Network {
        self.peer.as_deref().map_or(Network::Unknown, network)
    }
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
    pub(crate) memory: Memory,
    /// The time that was set, by both clocks; none: the system's.
    pub(crate) clock: Cell<Option<(UnixNanos, NodeNanos)>>,
    pub(crate) started: Instant,
    pub(crate) guests: RefCell<HashMap<u32, Guest>>,
    pub(crate) last_request: Cell<u32>,
    /// The address of the last request.
    pub(crate) last_peer: RefCell<Vec<u8>>,
    pub(crate) at_hand: Cell<Option<u32>>,
    /// The body of the store's response that is at hand.
    pub(crate) reply: RefCell<Option<Vec<u8>>>,
    pub(crate) outbox: RefCell<Outbox>,
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
            last_peer: RefCell::default(),
            at_hand: Cell::new(None),
            reply: RefCell::default(),
            outbox: RefCell::default(),
        })
    }

    /// What the policy charges for a request.
    pub fn price(&self, asked: &Asked<'_>) -> Cost {
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
        Some(self.settled(decision, &ruling, cost))
    }

    /// Where the client would stand if each of `settled` were settled at its cost. Nothing is written.
    pub fn preview<'a>(&self, settled: impl Iterator<Item = (&'a Decision, Cost)>) -> Option<Decision> {
        let draft = Draft::of(&self.memory);
        let mut last = None;
        for (decision, cost) in settled {
            let Some(mut ruling) = decision.open().clone() else { continue };
            let now = self.now_of(decision, &ruling);
            if self.engine.settle(&mut ruling, cost, &draft, now).is_some() {
                last = Some(self.settled(decision, &ruling, cost));
            }
        }
        last
    }

    /// This moment. With a store the time of day is the store's, and what has passed since it decided is the node's to say.
    fn now_of(&self, decision: &Decision, ruling: &Ruling) -> Now {
        if self.store_client.is_none() {
            return self.wall().into();
        }
        let node = self.monotonic();
        let passed = node.0.saturating_sub(decision.at.0);
        Now { unix: UnixNanos(ruling.now.0.saturating_add(passed)), node }
    }

    fn settled(&self, decision: &Decision, ruling: &Ruling, cost: Cost) -> Decision {
        let mut settled = decision.settled(cost);
        self.announce(ruling, &mut settled.headers);
        settled
    }

    /// What the response to `decision`'s request says that it costs: its `status`, or its header `X-Quota-Cost`.
    pub fn said(&self, decision: &Decision, status: u16, cost: Option<Vec<u8>>) -> Option<Cost> {
        let open = decision.open();
        match self.engine.said(open.as_ref()?.charge.as_ref()?, Some(status), || cost) {
            Said::Nothing | Said::Malformed => None,
            Said::Cost(cost) => Some(cost),
            Said::Refunded => Some(Cost(0)),
        }
    }

    fn announce(&self, ruling: &Ruling, headers: &mut Announced) {
        self.engine.announce(Some(ruling), |name, value| {
            if let Some(value) = value {
                headers.push(name, value);
            }
        });
    }

    /// A request that waits is no more.
    pub fn forget(&self, request: u32) {
        let guest = self.guests.borrow_mut().remove(&request);
        if let (Some(store_client), Some(guest)) = (&self.store_client, guest) {
            store_client.forget(&guest.waiting);
        }
    }

    /// The time between two ticks; none without a store.
    pub fn interval(&self) -> Option<Millis> {
        self.store_client.as_ref().map(StoreClient::interval)
    }

    /// The names of the response headers that only Tollgate may set.
    pub fn announced(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        self.engine.announce(None, |name, _| names.push(name));
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
                    let waiting = self.guests.borrow().get(&request).map(|guest| guest.waiting.clone());
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
    pub fn decide(&self, asked: &Asked<'_>) -> Decided {
        let Some(store_client) = &self.store_client else {
            let answer = self.engine.decide(&asked.request(), &self.memory, self.wall());
            return Decided::Now(self.answered(asked, answer));
        };
        let context = self.last_request.get().wrapping_add(1);
        self.last_request.set(context);
        self.at_hand.set(Some(context));
        let mut peer = self.last_peer.borrow_mut();
        peer.clear();
        peer.extend_from_slice(asked.peer.unwrap_or_default());
        drop(peer);
        let waiting = match store_client.decide_or_wait(&self.engine, self, context, &asked.request()) {
            Admission::Off => return Decided::Now(self.answered(asked, None)),
            Admission::Decided(answer) => return Decided::Now(self.answered(asked, Some(answer))),
            Admission::Waits(waiting) => waiting,
        };
        let peer = asked.peer.map(Into::into);
        let guest = Guest { peer, cost: self.price(asked), is_priced: asked.price.is_some(), waiting };
        self.guests.borrow_mut().insert(context, guest);
        Decided::Waits(context)
    }

    fn answered(&self, asked: &Asked<'_>, answer: Option<Answer<'_>>) -> Decision {
        let is_off = answer.is_none();
        let (caller, ruling) = answer.map_or((None, None), |answer| (Some(answer.caller), answer.ruling));
        let (consumer, tier) = match &caller {
            Some(Caller::Consumer { name, tier }) => (Some(name.to_vec()), AppliedTier::Tier(*tier)),
            Some(Caller::Anonymous) | None => (None, AppliedTier::Anonymous),
        };
        let cost = match &ruling {
            None => Cost::FREE,
            // To find it anew would mean to read the path again.
            Some(ruling) if ruling.charged != Cost::FREE => ruling.charged,
            Some(_) => self.price(asked),
        };
        let peer = asked.peer.map(Into::into);
        let mut decision = self.decision(peer, cost, asked.price.is_some(), consumer, &tier, ruling);
        if is_off {
            decision.outcome = "off";
        }
        decision
    }

    pub(crate) fn guest_decision(&self, guest: Guest, question: &Question, ruling: &Ruling) -> Decision {
        let Guest { peer, cost, is_priced, .. } = guest;
        let consumer = question.name.as_ref().map(|name| name.to_vec());
        self.decision(peer, cost, is_priced, consumer, question.under(), Some(ruling.clone()))
    }

    /// What `ruling` says about a request of `consumer`, whose own tier is `tier`.
    fn decision(
        &self,
        peer: Option<Vec<u8>>,
        cost: Cost,
        is_priced: bool,
        consumer: Option<Vec<u8>>,
        tier: &AppliedTier,
        ruling: Option<Ruling>,
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
        let decided = ruling.as_ref().map(|it| &it.under).filter(|under| **under != AppliedTier::Anonymous);
        let tier = match &consumer {
            Some(_) => engine.tier(decided.unwrap_or(tier)).name.clone(),
            None => ANONYMOUS.to_owned(),
        };
        let mut decision = Decision {
            client: Client { tier: own_tier.map(String::into_bytes), consumer, peer },
            allowed: true,
            status: 200,
            outcome: ruling.as_ref().map_or("free", |ruling| ruling.outcome.name()),
            tier,
            cost,
            at: if self.store_client.is_some() { self.monotonic() } else { NodeNanos::default() },
            open: Mutex::default(),
            headers: Announced::default(),
            body: None,
            retry_after: None,
        };
        let Some(mut ruling) = ruling else { return decision };
        let document = engine.document(&ruling);
        let is_never = document.is_some() && is_priced && !engine.can_hold(&ruling.under, cost);
        if is_never && ruling.account.is_none() {
            // Nothing has read it to refuse what no account can hold.
            ruling.account = self.account_of(&decision.client, &ruling);
        }
        self.announce(&ruling, &mut decision.headers);
        if let Some(document) = document {
            decision.allowed = false;
            decision.status = document.status;
            if is_never {
                decision.status = 429;
                decision.outcome = Outcome::RefusedRate.name();
                decision.body = Some(headers::never(&decision.tier, cost));
            } else {
                decision.retry_after = Some(document.retry_after);
                decision.headers.push(RETRY_AFTER, document.retry_after.to_string().as_bytes());
                decision.body = Some(document.body);
            }
            decision.headers.push(CACHE_CONTROL, b"no-store");
            decision.headers.push(CONTENT_TYPE, b"application/problem+json");
        }
        if ruling.charge.is_some() {
            decision.open = Mutex::new(Some(ruling));
        }
        decision
    }

    /// The account by which `ruling` has decided about `client`.
    fn account_of(&self, client: &Client, ruling: &Ruling) -> Option<Account> {
        let (engine, table) = (&self.engine, self.engine.table());
        let name = client.consumer.as_deref().filter(|_| ruling.under != AppliedTier::Anonymous);
        let network = || client.peer.as_deref().map_or(Network::Unknown, network);
        let whose = name.map_or_else(|| Whose::Anonymous(network()), Whose::Consumer);
        let policy = engine.policy();
        let record = match &policy.store {
            Some(_) => table.fingerprint_of(Namespace::new(&policy.namespace).id(&whose), name.is_none()),
            None => table.fingerprint(&policy.namespace, &whose),
        };
        let now = match self.store_client {
            Some(_) => Now { unix: ruling.now, node: self.monotonic() },
            None => ruling.now.into(),
        };
        match table.update(&self.memory, record, now, |state| (Change::Keep, state.account)) {
            Updated::Done { answer } => Some(answer.at(ruling.now, engine.tier(&ruling.under))),
            Updated::Unknown => None,
        }
    }
}
