//! One worker's calls to the store, and the requests that wait for them.
//!
//! A request that its client's lease does not pay for makes a call and waits for it. On Envoy, other requests of the client
//! that come meanwhile wait for the same call, and its end resumes all of them. Kong's host resumes only the request that made
//! the call, so there each request makes its own, and the store recognizes them as the same. If the request that made a call
//! is gone, the next [tick](StoreClient::tick) asks for those that still wait.
//!
//! The gateway is a [`NodeHost`]: the filter's is Proxy-Wasm, and the simulator's is a whole cluster in one thread.

mod host;
mod tick;
mod waiting;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tollgate_core::client::ClientId;
use tollgate_core::policy::{Policy, Store, StoreMode};
use tollgate_core::units::{Cost, Millis};
use tollgate_core::wire::{Answer, Ask, Entry, Reply};

pub use self::host::{Caller, Event, NodeHost};
use self::waiting::WaitQueue;
pub use self::waiting::Waiting;
use super::borrowing::{Considered, StoreReply, Worker};
use super::{Answer as Decision, Engine, Ruling};
use crate::borrower::{Borrower, Call, Received, Timing};
use crate::breaker::Breaker;
use crate::clock::{NodeMillis, Now};
use crate::lease::Demand;
use crate::request::{Gateway, Request};

/// How often a request asks before it is given up. Each time, others were faster to spend what came.
const MAX_ROUNDS: u32 = 16;

/// What [`StoreClient::decide_or_wait`] does with a request.
#[derive(Debug)]
pub enum Admission<'a> {
    /// The policy is off.
    Off,
    /// It is decided.
    Decided(Decision<'a>),
    /// It waits for the store, and [`NodeHost::conclude`] gets its ruling.
    Waits(Rc<Waiting>),
}

/// The store as this worker sees it.
#[derive(Debug)]
pub struct StoreClient {
    store: Store,
    borrower: RefCell<Borrower>,
    queue: WaitQueue,
    /// The tick's call that is under way, and when it is given up.
    batch: RefCell<Option<(Call, NodeMillis)>>,
    /// A reply to such a call, whose answers are still to be applied.
    received: RefCell<Option<Received>>,
    random: Cell<u64>,
}

impl StoreClient {
    /// The store client of `policy`, if it has one. `seed` is a secret that differs from worker to worker.
    #[must_use]
    pub fn new(policy: &Policy, seed: u64) -> Option<Self> {
        let store = policy.store.as_ref()?;
        let timing = Timing::of(store);
        Some(Self {
            borrower: RefCell::new(Borrower::new(policy, timing, seed)),
            queue: WaitQueue::new(seed),
            batch: RefCell::default(),
            received: RefCell::default(),
            random: Cell::new(seed | 1),
            store: store.clone(),
        })
    }

    /// The time between two ticks.
    #[must_use]
    pub fn interval(&self) -> Millis {
        self.borrower.borrow().timing().tick()
    }

    /// What this worker remembers, for those who test it.
    #[must_use]
    pub const fn borrower(&self) -> &RefCell<Borrower> {
        &self.borrower
    }

    /// This moment, by both clocks.
    fn now(&self, host: &impl NodeHost) -> Now {
        self.borrower.borrow().now(host.monotonic(), || host.wall())
    }

    /// A random number (xorshift), which differs from worker to worker.
    fn random(&self) -> u64 {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        state
    }

    /// Decides about `request`, the one at hand, or lets it wait. `context` is its context.
    pub fn decide_or_wait<'a, H: NodeHost, G: Gateway>(
        &self,
        engine: &Engine,
        host: &H,
        context: u32,
        request: &Request<'a, G>,
    ) -> Admission<'a> {
        // Only a request can ask the gateway which node this is.
        self.borrower.borrow_mut().identify_node(|| engine.table().node(&host.node()));
        let now = self.now(host);
        let mut borrower = self.borrower.borrow_mut();
        let mut worker = Worker { data: host.shared(), borrower: &mut borrower, now };
        let considered = engine.consider(request, &mut worker);
        drop(borrower);
        let (caller, question) = match considered {
            None => return Admission::Off,
            Some(Considered::Decided(answer)) => {
                if answer.ruling.is_some() {
                    host.report(Event::Hit);
                }
                return Admission::Decided(answer);
            }
            Some(Considered::Ask(caller, question)) => (caller, question),
        };
        host.report(Event::Miss);
        let until = now.millis().after(self.store.timeout);
        let waiting = Rc::new(Waiting::new(context, question, until));
        let is_first = self.queue.add(&waiting);
        let joins = !is_first && host.resumes_others() && !waiting.question.is_charged;
        // A gateway that has no route to the store will not have one the next time, so the tries trip the breaker.
        if joins || (0..Breaker::TRIPS_AT).any(|_| self.ask(engine, host, &waiting, now)) {
            return Admission::Waits(waiting);
        }
        // No call went out.
        self.queue.remove(&waiting);
        let ruling = self.decide(engine, host, &waiting, now, StoreReply::Silent);
        Admission::Decided(Decision { caller, ruling })
    }

    /// Settles the charge in `ruling`: its request costs `cost` in the end. Returns whether that changed anything; see
    /// [`Engine::settle`].
    pub fn settle(&self, engine: &Engine, host: &impl NodeHost, ruling: &mut Ruling, cost: Cost) -> bool {
        let now = self.now(host);
        let Some((charge, more)) = engine.settle(ruling, cost, host.shared(), now) else { return false };
        self.borrower.borrow_mut().record_settled(&charge.subject(), more, now.millis());
        true
    }

    /// Forgets a request that is gone.
    pub fn forget(&self, waiting: &Rc<Waiting>) {
        self.queue.remove(waiting);
    }

    /// Makes the call of `waiting`'s request, the one at hand; returns whether it went out.
    fn ask(&self, engine: &Engine, host: &impl NodeHost, waiting: &Waiting, now: Now) -> bool {
        let question = &waiting.question;
        let mut borrower = self.borrower.borrow_mut();
        let mut worker = Worker { data: host.shared(), borrower: &mut borrower, now };
        let is_first = waiting.rounds.get() == 0;
        let call = if question.is_charged && (is_first || self.store.mode == StoreMode::Strict) {
            Some(engine.ask_charge(question, &mut worker))
        } else if question.is_charged {
            // A charge that was not answered may have counted. A lease that is asked for again does not count twice.
            let demand = Demand { need: question.cost, queued: Cost(0) };
            engine.ask(question, demand, &mut worker)
        } else {
            engine.ask(question, self.queue.demand(&question.id), &mut worker)
        };
        drop(borrower);
        waiting.rounds.set(waiting.rounds.get().saturating_add(1));
        // All calls of a request together take no longer than one call may.
        let left = waiting.until.get().since(now.millis());
        let allowed = left.min(self.store.timeout);
        match call {
            Some(call)
                if allowed > Millis(0)
                    && self.dispatch(host, Caller::Request, &call, allowed, now.millis()) =>
            {
                *waiting.call.borrow_mut() = Some((call, allowed));
                true
            }
            _ => false,
        }
    }

    /// Sends `call` from what is at hand; returns whether it went out.
    fn dispatch(
        &self,
        host: &impl NodeHost,
        caller: Caller,
        call: &Call,
        timeout: Millis,
        mono: NodeMillis,
    ) -> bool {
        let is_out = host.dispatch(caller, &call.batch, timeout);
        if !is_out {
            let mut borrower = self.borrower.borrow_mut();
            if borrower.failed(mono, self.random()) {
                host.report(Event::NoRoute);
            }
            host.report(Event::Called { has_worked: false, is_up: !borrower.is_store_away() });
        }
        is_out
    }

    /// Whether a request that got no answer can ask again, and has the time for it. If the store is gone for good, its calls
    /// fail at once, so the breaker opens before the first request is decided.
    fn may_repeat(&self, host: &impl NodeHost, waiting: &Waiting) -> bool {
        let left = waiting.until.get().since(host.monotonic().millis());
        !self.borrower.borrow().is_store_away() && left.0 >= self.store.timeout.0 / 2 && host.may_call_again()
    }

    /// Receives the response at hand, to the call that `waiting`'s request has made.
    pub fn receive_answer(&self, engine: &Engine, host: &impl NodeHost, waiting: &Rc<Waiting>) {
        if let Some(ruling) = self.answered(engine, host, waiting) {
            waiting.finish(host, ruling);
        }
    }

    /// The request's ruling, or `None` if it asks again.
    fn answered(&self, engine: &Engine, host: &impl NodeHost, waiting: &Rc<Waiting>) -> Option<Ruling> {
        let id = waiting.question.id;
        let (call, allowed) = waiting.call.borrow_mut().take()?;
        let is_charge = matches!(call.batch.entries.last(), Some(Entry { ask: Ask::Charge { .. }, .. }));
        let received = self.receive_all(engine, host, call, allowed);
        let reply = match &received {
            None => StoreReply::Silent,
            // A charge is the last entry, behind the report of its client.
            Some(received) => match received.answers().last() {
                Some(Answer::Failed | Answer::Unusable) => StoreReply::Away,
                _ => StoreReply::Answered,
            },
        };
        if reply != StoreReply::Answered {
            waiting.is_answered.set(false);
        }
        // The requests that have waited with it go first. If there is not enough for all, this one can ask again, and they
        // cannot.
        self.queue.remove(waiting);
        self.release(engine, host, &id);
        host.speak_for(waiting.context);
        let question = &waiting.question;
        let charged = received.as_ref().and_then(|received| Some((received.charge()?, received.call())));
        let ruling = match (is_charge, charged) {
            (true, Some((grant, call))) => {
                let now = self.now(host);
                let mut borrower = self.borrower.borrow_mut();
                let worker = Worker { data: host.shared(), borrower: &mut borrower, now };
                if self.store.mode == StoreMode::Leased {
                    engine.record_charge(question, grant, &worker, call.age(now.millis()));
                }
                Some(engine.charged(question, grant, &worker))
            }
            // In strict mode a second question would be a second charge.
            _ if reply == StoreReply::Silent
                && self.store.mode == StoreMode::Leased
                && self.may_repeat(host, waiting) =>
            {
                None
            }
            (true, None) if reply == StoreReply::Answered => {
                self.decide(engine, host, waiting, self.now(host), StoreReply::Silent)
            }
            (true, None) | (false, _) => self.decide(engine, host, waiting, self.now(host), reply),
        };
        if ruling.is_some() {
            return ruling;
        }
        self.queue.add(waiting);
        if waiting.rounds.get() < MAX_ROUNDS && self.ask(engine, host, waiting, self.now(host)) {
            return None;
        }
        // The next tick asks for those that still wait.
        self.queue.remove(waiting);
        self.decide(engine, host, waiting, self.now(host), StoreReply::Silent)
    }

    /// Receives the response at hand, to a request's `call`, and applies all its answers; `None` if it is no reply.
    fn receive_all(
        &self,
        engine: &Engine,
        host: &impl NodeHost,
        call: Call,
        allowed: Millis,
    ) -> Option<Received> {
        let mut received = self.receive(engine, host, call, allowed)?;
        while self.apply_slice(engine, host, &mut received) {}
        Some(received)
    }

    /// Applies a slice of what was received; returns whether there is more.
    fn apply_slice(&self, engine: &Engine, host: &impl NodeHost, received: &mut Received) -> bool {
        let node = host.monotonic();
        self.borrower.borrow_mut().apply_slice(engine.policy(), engine.table(), host.shared(), received, node)
    }

    /// Receives the response at hand, to `call`, which had `allowed` to take; `None` if it is no reply.
    fn receive(
        &self,
        engine: &Engine,
        host: &impl NodeHost,
        call: Call,
        allowed: Millis,
    ) -> Option<Received> {
        let node = host.monotonic();
        let mono = node.millis();
        let reply = host.reply().and_then(|bytes| Reply::from_bytes(&bytes).ok());
        let reply = reply.filter(|reply| reply.answers.len() == call.batch.entries.len());
        let mut borrower = self.borrower.borrow_mut();
        let Some(reply) = reply else {
            // A call that had only the rest of a request's time, and took all of it, says nothing about the store.
            let is_cut_short = allowed < self.store.timeout && call.age(mono).plus(Millis(1)) >= allowed;
            if !is_cut_short && borrower.failed(mono, self.random()) {
                host.report(Event::Away);
            }
            host.report(Event::Called { has_worked: false, is_up: !borrower.is_store_away() });
            return None;
        };
        // Clients whose part of the backend is away get no grant, and so count as not answered.
        if self.store.mode == StoreMode::Leased {
            self.queue.mark_answered(&call, &reply, mono.after(self.store.timeout));
        }
        let (received, is_back) = borrower.receive(engine.policy(), call, reply, node);
        if is_back {
            host.report(Event::Back);
        }
        host.report(Event::Called { has_worked: true, is_up: true });
        Some(received)
    }

    /// Decides about a request that waits; `None` means that it has to ask again. Silence is the last word: if the store has
    /// answered while the request waited, other requests were faster.
    #[inline(never)]
    fn decide(
        &self,
        engine: &Engine,
        host: &impl NodeHost,
        waiting: &Waiting,
        now: Now,
        reply: StoreReply,
    ) -> Option<Ruling> {
        let is_late = reply == StoreReply::Silent && waiting.is_answered.get();
        let reply = if is_late { StoreReply::Answered } else { reply };
        let network = || host.peer();
        let mut borrower = self.borrower.borrow_mut();
        let mut worker = Worker { data: host.shared(), borrower: &mut borrower, now };
        let ruling = engine.decide_waiting(&waiting.question, &mut worker, reply, &network);
        if ruling.is_some() || !is_late {
            return ruling;
        }
        Some(engine.decide_overtaken(&waiting.question, &mut worker, &network))
    }

    /// Decides those of `id`'s requests that have made no call, as far as the record can; on hosts that resume them.
    fn release(&self, engine: &Engine, host: &impl NodeHost, id: &ClientId) {
        if !host.resumes_others() || self.store.mode == StoreMode::Strict {
            return;
        }
        for waiting in self.queue.without_call(id) {
            host.speak_for(waiting.context);
            let Some(ruling) = self.decide(engine, host, &waiting, self.now(host), StoreReply::Answered)
            else {
                continue;
            };
            self.queue.remove(&waiting);
            waiting.finish(host, ruling);
        }
    }
}

#[cfg(test)]
mod tests;
