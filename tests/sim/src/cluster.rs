//! A whole cluster in one thread: gateways, the network, replicas of the store, what the replicas share, clients, and faults.
//!
//! | | whose code |
//! | --- | --- |
//! | [`host_call`] | the product's engine, table, borrower, breaker and store client, on a gateway made of [`gateway`] and [`shared_data`] |
//! | [`replica`] | the product's store: handlers, namespaces, the index of overrides, and its router for what admins do |
//! | [`redis`] | the product's accounts in its memory backend |
//! | [`event`], [`calls`], [`traffic`], [`fault`], [`admin`] | the simulator's |
//!
//! [`Cluster::run`] takes one [`Event`] after the other from a queue.

pub mod admin;
pub mod calls;
pub mod clock;
mod end;
pub mod event;
pub mod fault;
pub mod gateway;
pub mod host_call;
pub mod redis;
pub mod replica;
pub mod shared_data;
pub mod trace;
pub mod traffic;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollgate_core::policy::Policy;
use tollgate_core::units::UnixNanos;

use self::calls::Calls;
use self::clock::Clock;
pub use self::event::Event;
use self::gateway::{Node, Site};
use self::redis::Redis;
use self::replica::{Ready, Replica};
use self::traffic::{Client, Coming};
use crate::log::Log;
use crate::plan::{Fault, Plan, SECOND, Tier};
use crate::queue::Queue;
use crate::random::Random;
use crate::time::TrueTime;

/// How long a run goes on after the last request. Meanwhile leases end, what is owed is reported, and sweeps find what no worker
/// remembers. A calm lease takes longest: it is reported after half a minute, and if the worker that knew of it has lost its
/// memory, it lasts for almost a minute after that.
const QUIET: u64 = 150 * SECOND;

/// The streams of random numbers.
pub struct Chance {
    /// For gateways' memory.
    pub memory: Random,
    /// For the network.
    pub network: Random,
    /// For replicas.
    pub store: Random,
}

/// See the [module](self).
pub struct Cluster {
    /// What was decided before the run.
    pub plan: Plan,
    /// What has happened.
    pub log: Log,
    /// See [`Chance`].
    pub chance: Chance,
    queue: Queue<Event>,
    now: Cell<TrueTime>,
    newest_stamp: Cell<u64>,
    /// By how much the store's clock was set back, in all.
    set_back: Cell<u64>,
    last_id: Cell<u64>,
    sites: Vec<Site>,
    calls: Calls,
    replicas: Vec<Replica>,
    ready: Ready,
    redis: Redis,
    clock: Clock,
    clients: Vec<Client>,
    coming: RefCell<VecDeque<Coming>>,
    depth: Cell<u32>,
    policies: RefCell<Vec<(Vec<Tier>, Policy)>>,
    trouble: Cell<TrueTime>,
    is_healed: Cell<bool>,
    /// The clients that have an override.
    overridden: RefCell<BTreeSet<u32>>,
    /// The number of the newest policy that was rolled out.
    newest_policy: Cell<u32>,
}

impl Cluster {
    /// The cluster that `plan` describes. Tokio's runtime has to be entered, and its clock paused.
    #[must_use]
    pub fn new(plan: Plan, is_traced: bool) -> Self {
        let start = TrueTime::from_nanos(plan.start);
        let stream = |number| Random::new(plan.seed, number);
        let tiers = Rc::new(plan.tiers.clone());
        let failovers = plan.faults.iter().filter(|(_, fault)| matches!(fault, Fault::RedisFailsOver { .. }));
        Self {
            log: Log::new(&plan, is_traced),
            chance: Chance { memory: stream(1), network: stream(2), store: stream(3) },
            queue: Queue::new(stream(4)),
            now: Cell::new(start),
            newest_stamp: Cell::new(0),
            set_back: Cell::new(0),
            last_id: Cell::new(0),
            sites: plan.nodes.iter().map(|node| Site::new(node, Rc::clone(&tiers))).collect(),
            calls: Calls::default(),
            replicas: (0..plan.replicas).map(|_| Replica::default()).collect(),
            ready: Arc::default(),
            redis: Redis::new(plan.redis.delay, failovers.count()),
            clock: Clock::at(start),
            clients: (0..plan.clients.len()).map(|number| Client::new(&plan, number)).collect(),
            coming: RefCell::default(),
            depth: Cell::new(0),
            policies: RefCell::default(),
            trouble: Cell::default(),
            is_healed: Cell::new(false),
            overridden: RefCell::default(),
            newest_policy: Cell::default(),
            plan,
        }
    }

    /// When the run began.
    pub fn start(&self) -> TrueTime {
        TrueTime::from_nanos(self.plan.start)
    }

    /// The true time.
    pub fn now(&self) -> TrueTime {
        self.now.get()
    }

    /// The store's time, in steps of a microsecond. It never goes back, even if the store's clock is set back.
    pub fn stamp(&self) -> u64 {
        let clock = self.redis.clock(self.now()).0 + self.set_back.get();
        let stamp = (clock / 1_000 * 1_000).max(self.newest_stamp.get());
        self.newest_stamp.set(stamp);
        stamp
    }

    /// A gateway's wall clock.
    pub fn wall(&self, node: usize) -> UnixNanos {
        self.now().shown_by(self.sites[node].wall.get())
    }

    /// A number that nothing else has.
    pub fn next_id(&self) -> u64 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    /// The gateway of a place, while it is up.
    pub fn node(&self, number: usize) -> Option<Rc<Node>> {
        self.sites[number].node.borrow().clone()
    }

    /// Adds a line to the trace, if there is one.
    pub fn trace(&self, client: Option<u32>, line: impl FnOnce() -> String) {
        self.log.trace(self.now() - self.start(), client, line);
    }

    /// Runs the cluster to its end.
    pub fn run(&self) {
        (0..self.replicas.len()).for_each(|replica| self.start_replica(replica));
        (0..self.sites.len()).for_each(|node| self.start_node(node));
        self.begin_traffic();
        let start = self.start();
        for (number, (at, _)) in self.plan.faults.iter().enumerate() {
            self.queue.push(start + *at, Event::Fault(number));
        }
        self.queue.push(start + self.plan.length, Event::Heal);
        let end = start + self.plan.length + QUIET;
        for client in 0..self.clients.len() {
            if let Some(most) = self.holds(client) {
                self.queue.push(start + self.plan.length + (QUIET - 60 * SECOND), Event::Probe(client, most));
            }
        }
        self.queue.push(end, Event::Audit);
        while let Some((at, event)) = self.queue.pop() {
            if at > end + SECOND || self.log.is_broken() {
                break;
            }
            assert!(at >= self.now(), "time goes back");
            self.now.set(at);
            self.happens(event);
        }
    }
}

/// Locks `mutex`. The data behind a poisoned lock is still valid: no update under it can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
