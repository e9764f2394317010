//! Requests that wait for the store.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tollgate_core::client::{ClientId, ClientMap, ClientSecret};
use tollgate_core::units::{Cost, Millis};
use tollgate_core::wire::{Answer, Reply};

use super::NodeHost;
use crate::borrower::Call;
use crate::clock::NodeMillis;
use crate::engine::Ruling;
use crate::engine::borrowing::Question;
use crate::lease::Demand;

/// A request that waits for the store.
#[derive(Debug)]
pub struct Waiting {
    /// Its context.
    pub context: u32,
    /// Its question to the store.
    pub question: Question,
    /// The call that it has made itself, and how long the call may take.
    pub(super) call: RefCell<Option<(Call, Millis)>>,
    pub(super) rounds: Cell<u32>,
    /// Whether the store has answered for its client while it waited, and so is not away.
    pub(super) is_answered: Cell<bool>,
    /// When it stops waiting: a timeout after it came, or after the store has last answered for its client.
    pub(super) until: Cell<NodeMillis>,
    /// How it was decided.
    ruling: RefCell<Option<Ruling>>,
}

impl Waiting {
    pub(super) fn new(context: u32, question: Question, until: NodeMillis) -> Self {
        Self {
            context,
            question,
            call: RefCell::default(),
            rounds: Cell::new(0),
            is_answered: Cell::new(false),
            until: Cell::new(until),
            ruling: RefCell::default(),
        }
    }

    /// How it was decided; `None` while it waits.
    #[must_use]
    pub fn ruling(&self) -> Option<Ruling> {
        self.ruling.borrow().clone()
    }

    /// Ends the wait of the request at hand with `ruling`.
    pub(super) fn finish(&self, host: &impl NodeHost, ruling: Ruling) {
        host.conclude(&self.question, &ruling);
        *self.ruling.borrow_mut() = Some(ruling);
    }

    fn has_call(&self) -> bool {
        self.call.borrow().is_some()
    }
}

/// All waiting requests of a worker, by client.
#[derive(Debug)]
pub struct WaitQueue(RefCell<ClientMap<Vec<Rc<Waiting>>>>);

impl WaitQueue {
    pub(super) fn new(seed: u64) -> Self {
        Self(RefCell::new(ClientMap::with_hasher(ClientSecret::with_seed(seed))))
    }

    /// Adds a request; returns whether it is the only one of its client under its limits. An answer to a request under other
    /// limits would not decide it.
    pub(super) fn add(&self, waiting: &Rc<Waiting>) -> bool {
        let mut all = self.0.borrow_mut();
        let of_client = all.entry(waiting.question.id).or_default();
        let is_same = |other: &Rc<Waiting>| other.question.under() == waiting.question.under();
        let is_first = !of_client.iter().any(is_same);
        of_client.push(Rc::clone(waiting));
        is_first
    }

    /// Removes a request.
    pub(super) fn remove(&self, waiting: &Rc<Waiting>) {
        let mut all = self.0.borrow_mut();
        if let Some(of_client) = all.get_mut(&waiting.question.id) {
            of_client.retain(|other| !Rc::ptr_eq(other, waiting));
            if of_client.is_empty() {
                all.remove(&waiting.question.id);
            }
        }
    }

    /// What the waiting requests of a client cost.
    pub(super) fn demand(&self, id: &ClientId) -> Demand {
        self.0.borrow().get(id).map_or_else(Default::default, |waiting| demand_of(waiting))
    }

    /// Marks the requests of every client for which the store has an answer. They may wait until `until`.
    pub(super) fn mark_answered(&self, call: &Call, reply: &Reply, until: NodeMillis) {
        let waiting = self.0.borrow();
        for (entry, answer) in call.batch.entries.iter().zip(&reply.answers) {
            if let (Answer::Grant(_), Some(of_client)) = (answer, waiting.get(&entry.client)) {
                for one in of_client.iter().filter(|one| !one.question.is_charged) {
                    one.is_answered.set(true);
                    one.until.set(until);
                }
            }
        }
    }

    /// The requests of a client that have made no call.
    pub(super) fn without_call(&self, id: &ClientId) -> Vec<Rc<Waiting>> {
        let all = self.0.borrow();
        all.get(id).into_iter().flatten().filter(|one| !one.has_call()).cloned().collect()
    }

    /// The requests that have made no call and have waited too long.
    pub(super) fn late(&self, now: NodeMillis) -> Vec<Rc<Waiting>> {
        let all = self.0.borrow();
        let is_late = |one: &&Rc<Waiting>| !one.has_call() && now >= one.until.get();
        all.values().flatten().filter(is_late).cloned().collect()
    }

    /// For each client none of whose requests has a call: one of them, and what all of them cost.
    pub(super) fn leaderless(&self) -> Vec<(Question, Demand)> {
        let all = self.0.borrow();
        let leads = |one: &&Rc<Waiting>| !one.question.is_charged;
        let leaderless =
            |of_client: &&Vec<Rc<Waiting>>| !of_client.iter().filter(leads).any(|one| one.has_call());
        let of_client = |of_client: &Vec<Rc<Waiting>>| {
            Some((of_client.iter().find(leads)?.question.clone(), demand_of(of_client)))
        };
        all.values().filter(leaderless).filter_map(of_client).collect()
    }

    /// The clients whose requests wait.
    pub(super) fn clients(&self) -> Vec<ClientId> {
        self.0.borrow().keys().copied().collect()
    }
}

/// What `waiting` requests cost, without those that the store charges itself.
fn demand_of(waiting: &[Rc<Waiting>]) -> Demand {
    let costs = || waiting.iter().filter(|one| !one.question.is_charged).map(|one| one.question.cost);
    let need = costs().min().unwrap_or_default();
    Demand { need, queued: costs().fold(Cost(0), Cost::plus).less(need) }
}
