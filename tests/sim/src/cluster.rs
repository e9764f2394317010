//! A whole cluster in one thread: gateways, the network, replicas of the store, what they share, clients, and what breaks.
//!
//! | | whose code |
//! | --- | --- |
//! | [`host_call`] | the product's engine, table, borrower, breaker and store client, on a gateway made of [`gateway`] and [`shared_data`] |
//! | [`replica`] | the product's store: handlers, namespaces, boards, its router for what admins do |
//! | [`redis`] | the product's accounts in its memory backend |
//! | [`calls`], [`traffic`], [`fault`], [`admin`] | the simulator's |

pub mod admin;
pub mod calls;
pub mod clock;
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
use std::sync::Arc;
use std::task::Waker;

use tollgate_core::limit::Month;
use tollgate_core::policy::Policy;
use tollgate_core::units::UnixNanos;

use self::admin::Errand;
use self::calls::Calls;
use self::clock::Clock;
use self::gateway::{Node, Site};
use self::redis::Redis;
use self::replica::{Ready, Replica};
use self::traffic::{Client, Coming};
use crate::log::Log;
use crate::plan::{Fault, Personality, Plan, SECOND, Tier};
use crate::queue::Queue;
use crate::random::Random;

/// After the last request: leases end, what is owed is reported, sweeps find what nobody speaks for. A calm lease is reported half
/// a minute after it and lasts for almost a minute from then on, where the worker that knew of it has lost its memory.
const QUIET: u64 = 150 * SECOND;

/// Something that happens.
pub enum Event {
    /// It is a client's turn.
    Ask(usize),
    /// A root's tick.
    Tick {
        /// The gateway.
        node: usize,
        /// Which one.
        life: u32,
        /// The worker.
        worker: usize,
        /// Which one.
        worker_life: u32,
        /// The root.
        root: u64,
    },
    /// A call reaches a replica.
    CallArrives {
        /// Which.
        call: u64,
        /// Which.
        replica: usize,
        /// What was sent.
        message: Rc<[u8]>,
    },
    /// A reply reaches its gateway.
    CallEnds {
        /// To which call.
        call: u64,
        /// What it is.
        reply: Vec<u8>,
    },
    /// A client that waits goes away.
    Leaves {
        /// From which gateway.
        node: usize,
        /// Which one.
        life: u32,
        /// The worker.
        worker: usize,
        /// The request.
        context: u32,
    },
    /// A call's time is over, or its connection is.
    CallFails {
        /// Which.
        call: u64,
    },
    /// A replica looks for what others have changed.
    Refresh {
        /// Which.
        replica: usize,
        /// Which one.
        life: u32,
    },
    /// What a replica waits for is there.
    Alarm(Waker),
    /// A fault of the plan's.
    Fault(usize),
    /// A gateway is back.
    NodeStarts {
        /// Which.
        node: usize,
    },
    /// A replica is back.
    ReplicaStarts {
        /// Which.
        replica: usize,
    },
    /// A gateway gets another policy.
    Reload {
        /// Which.
        node: usize,
        /// The tiers.
        tiers: Rc<Vec<Tier>>,
        /// The number of the policy: a rollout that was overtaken by a later one changes nothing any more.
        policy: u32,
    },
    /// An old root ticks no more.
    RootEnds {
        /// The gateway.
        node: usize,
        /// Which one.
        life: u32,
        /// The worker.
        worker: usize,
        /// The root.
        root: u64,
    },
    /// An admin's call.
    Errand(Rc<Errand>),
    /// A client's limits are these, everywhere.
    LimitsHold(u32, Box<Tier>),
    /// A client's limits are what they were.
    LimitsStay(u32),
    /// All gateways have a policy of this number, by which a client's limits are these, unless it has its own.
    PolicyHolds(u32, u32),
    /// Clients ask no more, and nothing is broken.
    Heal,
    /// A client asks once more, when nobody else has for long: number so and so of as many as its bucket holds.
    Probe(usize, u64),
    /// What the store says is compared.
    Audit,
}

/// Where chance comes from.
pub struct Chance {
    /// In gateways' memory.
    pub memory: Random,
    /// In the network.
    pub network: Random,
    /// In replicas.
    pub store: Random,
}

/// See the [module](self).
pub struct Cluster {
    /// What was decided before.
    pub plan: Plan,
    /// What has happened.
    pub log: Log,
    /// See [`Chance`].
    pub chance: Chance,
    queue: Queue<Event>,
    now: Cell<u64>,
    newest_stamp: Cell<u64>,
    /// By how much the store's clock was set back in all.
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
    trouble: Cell<u64>,
    is_healed: Cell<bool>,
    /// Clients with limits of their own.
    overridden: RefCell<BTreeSet<u32>>,
    /// The number of the policy that is being rolled out, or was last.
    newest_policy: Cell<u32>,
}

impl Cluster {
    /// A cluster as `plan` has it. Tokio's runtime has to be entered, and its clock to stand.
    #[must_use]
    pub fn new(plan: Plan, is_traced: bool) -> Self {
        let stream = |number| Random::new(plan.seed, number);
        let tiers = Rc::new(plan.tiers.clone());
        let failovers = plan.faults.iter().filter(|(_, fault)| matches!(fault, Fault::RedisFailsOver { .. }));
        Self {
            log: Log::new(&plan, is_traced),
            chance: Chance { memory: stream(1), network: stream(2), store: stream(3) },
            queue: Queue::new(stream(4)),
            now: Cell::new(plan.start),
            newest_stamp: Cell::new(0),
            set_back: Cell::new(0),
            last_id: Cell::new(0),
            sites: plan.nodes.iter().map(|node| Site::new(node, Rc::clone(&tiers))).collect(),
            calls: Calls::default(),
            replicas: (0..plan.replicas).map(|_| Replica::default()).collect(),
            ready: Arc::default(),
            redis: Redis::new(plan.redis.delay, failovers.count()),
            clock: Clock::at(plan.start),
            clients: (0..plan.clients.len()).map(|number| Client::new(&plan, number)).collect(),
            coming: RefCell::default(),
            depth: Cell::new(0),
            policies: RefCell::default(),
            trouble: Cell::new(0),
            is_healed: Cell::new(false),
            overridden: RefCell::default(),
            newest_policy: Cell::default(),
            plan,
        }
    }

    /// The true time.
    pub fn now(&self) -> u64 {
        self.now.get()
    }

    /// The store's time, in its steps of a microsecond. It never goes back: where somebody sets the clock back, it goes on.
    pub fn stamp(&self) -> u64 {
        let clock = self.redis.clock(self.now()) + self.set_back.get();
        let stamp = (clock / 1_000 * 1_000).max(self.newest_stamp.get());
        self.newest_stamp.set(stamp);
        stamp
    }

    /// A gateway's wall clock.
    pub fn wall(&self, node: usize) -> UnixNanos {
        UnixNanos(self.now().saturating_add_signed(self.sites[node].wall.get()))
    }

    /// A number that no other thing has.
    pub fn next_id(&self) -> u64 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    /// The gateway of a place, while it is up.
    pub fn node(&self, number: usize) -> Option<Rc<Node>> {
        self.sites[number].node.borrow().clone()
    }

    /// Notes what happens, where somebody wants to read it.
    pub fn trace(&self, client: Option<u32>, line: impl FnOnce() -> String) {
        self.log.trace(self.now() - self.plan.start, client, line);
    }

    /// Runs it to its end.
    pub fn run(&self) {
        (0..self.replicas.len()).for_each(|replica| self.start_replica(replica));
        (0..self.sites.len()).for_each(|node| self.start_node(node));
        self.begin_traffic();
        let start = self.plan.start;
        for (number, (at, _)) in self.plan.faults.iter().enumerate() {
            self.queue.push(start + at, Event::Fault(number));
        }
        self.queue.push(start + self.plan.length, Event::Heal);
        let end = start + self.plan.length + QUIET;
        for client in 0..self.clients.len() {
            if let Some(most) = self.holds(client) {
                self.queue.push(end - 60 * SECOND, Event::Probe(client, most));
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

    fn happens(&self, event: Event) {
        match event {
            Event::Ask(client) => self.ask(client),
            Event::Tick { node, life, worker, worker_life, root } => {
                self.ticks(node, life, worker, worker_life, root);
            }
            Event::CallArrives { call, replica, message } => self.call_arrives(call, replica, &message),
            Event::CallEnds { call, reply } => self.end_call(call, Some(reply)),
            Event::CallFails { call } => self.end_call(call, None),
            Event::Leaves { node, life, worker, context } => self.leave(node, life, worker, context),
            Event::Refresh { replica, life } => self.refresh(replica, life),
            Event::Alarm(waker) => {
                waker.wake();
                self.go_on();
            }
            Event::Fault(number) => self.happen(&self.plan.faults[number].1),
            Event::NodeStarts { node } => {
                if self.node(node).is_none() {
                    self.start_node(node);
                }
            }
            Event::ReplicaStarts { replica } => self.start_replica(replica),
            Event::Reload { node, tiers, policy } => self.reload(node, tiers, policy),
            Event::RootEnds { node, life, worker, root } => {
                if let Some(node) = self.node(node).filter(|node| node.life == life) {
                    node.workers[worker].roots.borrow_mut().retain(|one| one.id != root);
                }
            }
            Event::Errand(errand) => self.send_errand(&errand),
            Event::LimitsHold(client, tier) => self.log.limits_hold(client, self.stamp(), *tier),
            Event::PolicyHolds(client, policy)
                if policy < self.newest_policy.get() || self.overridden.borrow().contains(&client) =>
            {
                self.log.limits_stay(client, self.stamp());
            }
            Event::PolicyHolds(client, _) => {
                self.log.limits_hold(client, self.stamp(), self.tier_of(client as usize, 0));
            }
            Event::LimitsStay(client) => self.log.limits_stay(client, self.stamp()),
            Event::Heal => self.heal(),
            Event::Probe(client, left) => self.probe(client, left),
            Event::Audit => self.audit(),
        }
    }

    fn ticks(&self, number: usize, life: u32, worker: usize, worker_life: u32, root: u64) {
        let Some(node) = self.node(number).filter(|node| node.life == life) else { return };
        let worker = &node.workers[worker];
        let found = worker.roots.borrow().iter().find(|one| one.id == root).cloned();
        let Some(found) = found.filter(|_| worker.life.get() == worker_life) else { return };
        let interval = found.store_client.interval().nanos().0;
        let event = Event::Tick { node: number, life, worker: worker.number, worker_life, root };
        self.queue.push(self.now() + interval, event);
        self.tick(&node, worker, &found);
    }

    /// Clients ask no more; whatever is broken is mended.
    fn heal(&self) {
        self.trace(None, || "all is well, and nobody asks".to_owned());
        self.is_healed.set(true);
        self.calls.heal();
        self.redis.heal();
        (0..self.replicas.len()).for_each(|replica| self.start_replica(replica));
        for number in 0..self.sites.len() {
            if self.node(number).is_none() {
                self.start_node(number);
            }
            let Some(node) = self.node(number) else { continue };
            self.ping_all(&node);
        }
    }

    /// Health checks go on: a worker that was rebuilt finds out which node it is.
    fn ping_all(&self, node: &Node) {
        for worker in &node.workers[..self.plan.nodes[node.number].workers] {
            self.ping(node, worker);
        }
    }

    /// Asks the store what everybody has used, and looks what the gateways remember.
    fn audit(&self) {
        // The store's clock may have been set.
        let hour = 3_600 * SECOND;
        let first = Month::of(UnixNanos(self.plan.start - hour)).0;
        let last = Month::of(UnixNanos(self.now() + hour)).0;
        let consumers = if self.plan.store.is_local { 0 } else { self.clients.len() as u32 };
        for client in 0..consumers {
            for month in first..=last {
                self.ask_usage(client, month);
            }
        }
        for number in 0..self.sites.len() {
            let Some(node) = self.node(number) else { continue };
            self.trace_records(&node);
            for worker in &node.workers {
                let waiting = worker.waiting.borrow().len();
                let roots = worker.roots.borrow();
                let remembered =
                    roots.iter().map(|root| root.store_client.borrower().borrow().remembers()).sum();
                let slots = roots.last().map_or(0, |root| root.engine.table().geometry().count());
                let is_full = node.personality == Personality::Kong;
                self.log.left_behind(
                    self.now(),
                    waiting,
                    remembered,
                    node.shared.len(),
                    slots as usize,
                    is_full,
                );
            }
        }
    }
}
