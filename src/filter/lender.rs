//! The store as this worker sees it: its calls, and the requests that wait for them.
//!
//! A request that its client's lease does not pay for makes a call and waits for it. On Envoy other requests of the client
//! that come meanwhile wait for the same call, whose end lets all of them go on; Kong's host lets only the request go on
//! that made the call, so there each makes its own, and the store knows it for the same. What no request is left to wait
//! for, the next tick does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashMap;
use log::{error, warn};

use super::abi::{self, Map};
use super::host::{Host, HostGateway};
use super::root::Ready;
use crate::engine::Ruling;
use crate::engine::borrowing::{Question, Word};
use crate::identity;
use crate::lease::borrower::{Borrower, Call, Rhythm, Times};
use crate::lease::breaker::Breaker;
use crate::lease::client::ClientId;
use crate::lease::wire::{self, Answer, Reply, Standing};
use crate::policy::{Policy, Store, StoreMode, Token};
use crate::units::UnixNanos;

/// How often a request asks before it is given up: each time others were faster to spend what came.
const MAX_ROUNDS: u32 = 16;

/// The store as this worker sees it.
pub struct Lender {
    store: Store,
    authorization: Option<String>,
    pub borrower: RefCell<Borrower>,
    waiting: RefCell<HashMap<ClientId, Vec<Rc<Waiting>>>>,
    /// The tick's call under way, and when it is given up, milliseconds.
    batch: RefCell<Option<(Call, u64)>>,
    random: Cell<u64>,
}

/// A request that waits for the store.
pub struct Waiting {
    /// Its context.
    pub context: u32,
    pub question: Question,
    /// The call that it has made itself.
    call: RefCell<Option<Call>>,
    rounds: Cell<u32>,
    /// Whether the store has answered for its client while it waited: then it is not away.
    is_heard: Cell<bool>,
    /// When it waits no more, milliseconds: a timeout after it came, or after the store has last answered for its client.
    until: Cell<u64>,
    /// What came of it.
    pub ruling: RefCell<Option<Ruling>>,
}

impl Lender {
    /// The lender of `policy`, if it has one. `seed` differs from worker to worker.
    pub fn new(policy: &Policy, seed: u64) -> Result<Option<Self>, Vec<String>> {
        let Some(store) = &policy.store else { return Ok(None) };
        let token = match &store.token {
            None => None,
            Some(Token::Literal(token)) => Some(token.clone()),
            Some(Token::Env(name)) => Some(std::env::var(name).ok().filter(|token| !token.is_empty()).ok_or_else(|| {
                vec![format!(
                    "store.token.env: the gateway's environment has no {name}; set it, and let the gateway hand it on \
                     (Envoy: vm_config.environment_variables; Kong: env {name} in nginx)"
                )]
            })?),
        };
        let milliseconds = |milli: u64| u32::try_from(milli).unwrap_or(u32::MAX);
        let rhythm = Rhythm {
            interval: milliseconds(store.sync_interval_ms),
            timeout: milliseconds(store.timeout_ms),
        };
        Ok(Some(Self {
            authorization: token.map(|token| format!("Bearer {token}")),
            borrower: RefCell::new(Borrower::new(policy, rhythm)),
            waiting: RefCell::default(),
            batch: RefCell::default(),
            random: Cell::new(seed | 1),
            store: store.clone(),
        }))
    }

    /// Milliseconds between two ticks.
    pub fn interval(&self) -> u32 {
        u32::try_from(self.store.sync_interval_ms).unwrap_or(u32::MAX)
    }

    /// Finds out which node this is, the first time; only a request can ask the gateway.
    pub fn settle_node(&self, ready: &Ready) {
        self.borrower.borrow_mut().settle_node(|| ready.engine.table().node(&ready.host.node()));
    }

    /// The moments of now.
    pub fn times(&self) -> Times {
        self.borrower.borrow().times(abi::monotonic(), || UnixNanos(abi::now()))
    }

    /// Sends a message from the context at hand; whether it went out.
    fn dispatch(&self, ready: &Ready, call: &Call, timeout_ms: u64, mono: u64) -> bool {
        let mut headers = vec![
            (":method", "POST"),
            (":path", "/v1/leases"),
            (":authority", self.store.upstream.as_str()),
            ("content-type", wire::CONTENT_TYPE),
        ];
        if let Some(authorization) = &self.authorization {
            headers.push(("authorization", authorization));
        }
        let timeout = Duration::from_millis(timeout_ms);
        let is_out = abi::call(&self.store.upstream, headers, &call.batch.to_bytes(), timeout).is_some();
        if !is_out {
            let mut borrower = self.borrower.borrow_mut();
            if borrower.failed(mono, self.random()) {
                error!("tollgate: the gateway knows no way to the store at {}", self.store.upstream);
            }
            ready.metrics.store_call(false, !borrower.is_store_away());
        }
        is_out
    }

    /// A number that differs from node to node and call to call (xorshift).
    fn random(&self) -> u64 {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        state
    }

    /// Lets a request wait for the store; none where it could not be asked.
    pub fn wait(&self, ready: &Ready, context: u32, question: Question, times: Times) -> Option<Rc<Waiting>> {
        let waiting = Rc::new(Waiting {
            context,
            question,
            call: RefCell::default(),
            rounds: Cell::new(0),
            is_heard: Cell::new(false),
            until: Cell::new(times.mono.saturating_add(self.store.timeout_ms)),
            ruling: RefCell::default(),
        });
        let is_first = self.stay(&waiting);
        let joins = !is_first && ready.host == Host::Envoy && self.store.mode == StoreMode::Leased;
        // A gateway that knows no way to the store will not know one the next time: then it is away.
        if joins || (0..Breaker::TRIPS_AT).any(|_| self.ask(ready, &waiting, times)) {
            return Some(waiting);
        }
        self.leave(&waiting);
        None
    }

    /// Makes the call of `waiting`'s request, which is the one at hand.
    fn ask(&self, ready: &Ready, waiting: &Waiting, times: Times) -> bool {
        let question = &waiting.question;
        let call = match self.store.mode {
            StoreMode::Strict => {
                Some(self.borrower.borrow_mut().charge(&question.subject(), question.cost, times.mono))
            }
            StoreMode::Leased => {
                let need = self.need(&question.id);
                ready.engine.ask(question, need, &ready.host, &mut self.borrower.borrow_mut(), times)
            }
        };
        waiting.rounds.set(waiting.rounds.get().saturating_add(1));
        // All of a request's calls together take no longer than one may.
        let left = waiting.until.get().saturating_sub(times.mono);
        match call {
            Some(call)
                if left > 0 && self.dispatch(ready, &call, left.min(self.store.timeout_ms), times.mono) =>
            {
                *waiting.call.borrow_mut() = Some(call);
                true
            }
            _ => false,
        }
    }

    /// Whether a request that got no answer has the time to ask again. A store that is gone for good fails at once, three
    /// times, and is known to be away before its first request is decided.
    fn may_repeat(&self, waiting: &Waiting) -> bool {
        let left = waiting.until.get().saturating_sub(abi::monotonic() / 1_000_000);
        !self.borrower.borrow().is_store_away() && left >= self.store.timeout_ms / 2
    }

    /// What the requests of a client that wait here cost: the cheapest, and all others.
    fn need(&self, id: &ClientId) -> (u64, u64) {
        self.waiting.borrow().get(id).map_or((0, 0), |waiting| need_of(waiting))
    }

    /// A request waits; whether it is its client's only one.
    fn stay(&self, waiting: &Rc<Waiting>) -> bool {
        let mut all = self.waiting.borrow_mut();
        let of_client = all.entry(waiting.question.id).or_default();
        of_client.push(Rc::clone(waiting));
        of_client.len() == 1
    }

    /// A request waits no more.
    pub fn leave(&self, waiting: &Rc<Waiting>) {
        let mut all = self.waiting.borrow_mut();
        if let Some(of_client) = all.get_mut(&waiting.question.id) {
            of_client.retain(|other| !Rc::ptr_eq(other, waiting));
            if of_client.is_empty() {
                all.remove(&waiting.question.id);
            }
        }
    }

    /// Takes in the response at hand, to `call`: what it says to the first entry, and of a charge.
    fn take(&self, ready: &Ready, call: &Call) -> (Word, Option<Standing>) {
        let mono = abi::monotonic();
        let is_ok = abi::header(Map::CallResponse, ":status").is_some_and(|status| status == b"200");
        let reply = if is_ok { Reply::from_bytes(&abi::call_response_body()).ok() } else { None };
        let reply = reply.filter(|reply| reply.answers.len() == call.batch.entries.len());
        let mut borrower = self.borrower.borrow_mut();
        let Some(reply) = reply else {
            if borrower.failed(mono / 1_000_000, self.random()) {
                warn!(
                    "tollgate: the store at {} is away; requests are decided by on_failure until it is back",
                    self.store.upstream
                );
            }
            ready.metrics.store_call(false, !borrower.is_store_away());
            return (Word::Silent, None);
        };
        let (taken, charges) =
            borrower.take(ready.engine.policy(), ready.engine.table(), &ready.host, call, &reply, mono);
        if taken.is_back {
            warn!("tollgate: the store at {} is back", self.store.upstream);
        }
        ready.metrics.store_call(true, true);
        // A part of the backend that is away is no store to those whose accounts it has.
        self.hear(call, &reply, mono / 1_000_000);
        let word = match reply.answers.first() {
            Some(Answer::Failed | Answer::Unusable) => Word::Away,
            _ => Word::Heard,
        };
        (word, charges.into_iter().next().flatten())
    }

    /// Notes for whom the store has an answer at `mono`, milliseconds.
    fn hear(&self, call: &Call, reply: &Reply, mono: u64) {
        if self.store.mode == StoreMode::Strict {
            return;
        }
        let waiting = self.waiting.borrow();
        for (entry, answer) in call.batch.entries.iter().zip(&reply.answers) {
            if let (Answer::Standing(_), Some(of_client)) = (answer, waiting.get(&entry.client)) {
                for one in of_client {
                    one.is_heard.set(true);
                    one.until.set(mono.saturating_add(self.store.timeout_ms));
                }
            }
        }
    }

    /// Decides about a request that waits; none: it has to ask again. Silence is the last word: where the store had
    /// answered while the request waited, others were faster.
    #[inline(never)]
    fn decide(&self, ready: &Ready, waiting: &Waiting, word: Word) -> Option<Ruling> {
        let times = self.times();
        let mut borrower = self.borrower.borrow_mut();
        let network = || identity::peer(&HostGateway);
        let is_late = word == Word::Silent && waiting.is_heard.get();
        let word = if is_late { Word::Heard } else { word };
        let question = &waiting.question;
        let ruling = ready.engine.settle(question, &ready.host, &mut borrower, times, word, &network);
        ruling.or_else(|| is_late.then(|| ready.engine.crowded_out(question, times)))
    }

    /// Lets those of `id`'s requests go on that have made no call and can be decided now; on hosts that allow it.
    fn release(&self, ready: &Ready, id: &ClientId) {
        if ready.host != Host::Envoy || self.store.mode == StoreMode::Strict {
            return;
        }
        let all: Vec<Rc<Waiting>> = self.waiting.borrow().get(id).cloned().unwrap_or_default();
        for waiting in all.iter().filter(|waiting| waiting.call.borrow().is_none()) {
            abi::speak_for(waiting.context);
            let Some(ruling) = self.decide(ready, waiting, Word::Heard) else { continue };
            self.leave(waiting);
            if super::http::conclude(ready, &waiting.question, &ruling) {
                abi::resume();
            }
            *waiting.ruling.borrow_mut() = Some(ruling);
        }
    }
}

/// What requests cost: the cheapest, and all others.
fn need_of(waiting: &[Rc<Waiting>]) -> (u64, u64) {
    let costs = || waiting.iter().map(|one| one.question.cost.0);
    let cheapest = costs().min().unwrap_or(0);
    (cheapest, costs().fold(0, u64::saturating_add).saturating_sub(cheapest))
}

/// The response to the call that `waiting`'s request has made is there: its ruling, or none while it asks again.
pub fn answer(ready: &Ready, lender: &Lender, waiting: &Rc<Waiting>) -> Option<Ruling> {
    let id = waiting.question.id;
    let call = waiting.call.borrow_mut().take()?;
    let (word, charged) = lender.take(ready, &call);
    if word != Word::Heard {
        waiting.is_heard.set(false);
    }
    // Those that have waited with it go first: should it not be enough for all, this one can ask once more, and they
    // cannot.
    lender.leave(waiting);
    lender.release(ready, &id);
    abi::speak_for(waiting.context);
    let ruling = match (lender.store.mode, charged) {
        (StoreMode::Strict, Some(standing)) => {
            Some(ready.engine.charged(&waiting.question, &standing, lender.times()))
        }
        // A second charge might count twice; a second question does not.
        (StoreMode::Leased, _) if word == Word::Silent && lender.may_repeat(waiting) => None,
        (StoreMode::Strict, None) if word == Word::Heard => lender.decide(ready, waiting, Word::Silent),
        (StoreMode::Strict, None) | (StoreMode::Leased, _) => lender.decide(ready, waiting, word),
    };
    if ruling.is_some() {
        return ruling;
    }
    lender.stay(waiting);
    if waiting.rounds.get() < MAX_ROUNDS && lender.ask(ready, waiting, lender.times()) {
        return None;
    }
    // Those that are left are the next tick's.
    lender.leave(waiting);
    lender.decide(ready, waiting, Word::Silent)
}

/// The tick: what is due goes to the store, and nobody waits for ever.
pub fn tick(ready: &Ready) {
    let Some(lender) = &ready.lender else { return };
    let times = lender.times();
    expire(ready, lender, times);
    let is_under_way = lender.batch.borrow().as_ref().is_some_and(|(_, until)| times.mono < *until);
    if is_under_way {
        return;
    }
    let waiting: Vec<(Question, (u64, u64))> = {
        let all = lender.waiting.borrow();
        let leaderless =
            |of_client: &&Vec<Rc<Waiting>>| of_client.iter().all(|one| one.call.borrow().is_none());
        let of_client =
            |of_client: &Vec<Rc<Waiting>>| Some((of_client.first()?.question.clone(), need_of(of_client)));
        all.values().filter(leaderless).filter_map(of_client).collect()
    };
    let call = {
        let mut borrower = lender.borrower.borrow_mut();
        let mut call = borrower.compose(ready.engine.policy(), ready.engine.table(), &ready.host, times);
        for (question, need) in waiting {
            let Some(asked) = ready.engine.ask(&question, need, &ready.host, &mut borrower, times) else {
                continue;
            };
            match &mut call {
                None => call = Some(asked),
                Some(call) => {
                    call.batch.entries.retain(|entry| entry.client != question.id);
                    call.batch.entries.extend(asked.batch.entries);
                }
            }
        }
        call
    };
    if let Some(call) = call {
        if lender.dispatch(ready, &call, lender.store.timeout_ms, times.mono) {
            // The host ends it at its timeout; should it not, another is sent all the same.
            let until =
                times.mono.saturating_add(lender.store.timeout_ms.saturating_mul(4)).saturating_add(1_000);
            *lender.batch.borrow_mut() = Some((call, until));
        }
    }
}

/// Decides about requests that wait for a call that is not theirs and does not come.
fn expire(ready: &Ready, lender: &Lender, times: Times) {
    let late: Vec<Rc<Waiting>> = {
        let all = lender.waiting.borrow();
        let is_late = |one: &&Rc<Waiting>| one.call.borrow().is_none() && times.mono >= one.until.get();
        all.values().flatten().filter(is_late).cloned().collect()
    };
    for waiting in late {
        abi::speak_for(waiting.context);
        lender.leave(&waiting);
        let Some(ruling) = lender.decide(ready, &waiting, Word::Silent) else { continue };
        if super::http::conclude(ready, &waiting.question, &ruling) {
            abi::resume();
        }
        *waiting.ruling.borrow_mut() = Some(ruling);
    }
}

/// The response to the tick's call is there.
pub fn take_batch(ready: &Ready) {
    let Some(lender) = &ready.lender else { return };
    let Some((call, _)) = lender.batch.borrow_mut().take() else { return };
    lender.take(ready, &call);
    let ids: Vec<ClientId> = lender.waiting.borrow().keys().copied().collect();
    for id in ids {
        lender.release(ready, &id);
    }
}
