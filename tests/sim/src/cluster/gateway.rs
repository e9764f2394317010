//! Gateways: nodes, their workers, and the filter's roots in them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tollgate_core::policy::Policy;
use tollgate_node::clock::NodeNanos;
use tollgate_node::engine::Engine;
use tollgate_node::engine::store_client::{StoreClient, Waiting};
use tollgate_node::table::{FingerprintKey, Table};

use super::shared_data::Zone;
use super::{Cluster, Event};
use crate::plan::{self, MILLISECOND, Personality, Tier};
use crate::time::TrueTime;

/// The place of a gateway, in which one gateway after the other may live.
#[derive(Debug)]
pub struct Site {
    /// The gateway; `None` while the place is empty.
    pub node: RefCell<Option<Rc<Node>>>,
    /// The difference of its wall clock and the true time.
    pub wall: Cell<i64>,
    /// The tiers of its policy.
    pub tiers: RefCell<Rc<Vec<Tier>>>,
    /// Its policy's number.
    pub policy: Cell<u32>,
    lives: Cell<u32>,
}

/// A gateway, from its start to its end.
#[derive(Debug)]
pub struct Node {
    /// Its place.
    pub number: usize,
    /// Which of the gateways that have lived there.
    pub life: u32,
    /// Kong or Envoy.
    pub personality: Personality,
    /// The shared data of its workers.
    pub shared: Zone,
    /// The workers that serve. In Envoy the main thread comes last, which only ticks.
    pub workers: Vec<Worker>,
    uptime: u64,
    drift: i64,
}

/// A worker.
#[derive(Debug)]
pub struct Worker {
    /// Its place among the workers.
    pub number: usize,
    /// Counts up when its memory is lost.
    pub life: Cell<u32>,
    /// The filter's roots: the newest serves, all tick.
    pub roots: RefCell<Vec<Rc<Root>>>,
    /// Requests that wait for the store.
    pub waiting: RefCell<BTreeMap<u32, Rc<Guest>>>,
    /// Whether it is doing something.
    pub is_busy: Cell<bool>,
    last_context: Cell<u32>,
}

/// One root context of the filter.
#[derive(Debug)]
pub struct Root {
    /// A number that no other root has.
    pub id: u64,
    /// The product's engine, with the root's policy.
    pub engine: Engine,
    /// The product's store client.
    pub store_client: StoreClient,
    /// Failed calls since the last one that worked; `None` if that cannot be told.
    pub failures: Cell<Option<u32>>,
    /// Whether a call of the root's own is under way.
    pub is_calling: Cell<bool>,
    /// Whether one of its calls has worked yet.
    pub was_answered: Cell<bool>,
    /// The present second, and how many calls it has made in it.
    pub calls: Cell<(u64, u32)>,
}

/// A request that waits.
#[derive(Debug)]
pub struct Guest {
    /// Its client.
    pub client: u32,
    /// What it costs, in thousandths.
    pub cost: u64,
    /// Its tier's place in the log.
    pub tier: usize,
    /// When it came.
    pub came: TrueTime,
    /// Its client's address.
    pub address: [u8; 4],
    /// The root that serves it.
    pub root: Rc<Root>,
    /// The product's waiting request.
    pub waiting: Rc<Waiting>,
}

impl Site {
    /// A place that is still empty.
    #[must_use]
    pub fn new(plan: &plan::Node, tiers: Rc<Vec<Tier>>) -> Self {
        Self {
            node: RefCell::default(),
            wall: Cell::new(plan.wall),
            tiers: RefCell::new(tiers),
            policy: Cell::new(0),
            lives: Cell::new(0),
        }
    }
}

impl Node {
    /// What its monotonic clock shows at `now`, in a run that began at `start`.
    #[must_use]
    pub fn monotonic(&self, now: TrueTime, start: TrueTime) -> NodeNanos {
        let elapsed = now - start;
        let drifted = i128::from(elapsed) * (1_000_000 + i128::from(self.drift)) / 1_000_000;
        let nanos = self.uptime + drifted as u64;
        NodeNanos(match self.personality {
            Personality::Kong => nanos / MILLISECOND * MILLISECOND,
            Personality::Envoy => nanos,
        })
    }
}

impl Worker {
    fn new(number: usize) -> Self {
        Self {
            number,
            life: Cell::new(0),
            roots: RefCell::default(),
            waiting: RefCell::default(),
            is_busy: Cell::new(false),
            last_context: Cell::new(0),
        }
    }

    /// The root that serves.
    #[must_use]
    pub fn root(&self) -> Option<Rc<Root>> {
        self.roots.borrow().last().cloned()
    }

    /// A number for a new context.
    pub fn next_context(&self) -> u32 {
        self.last_context.set(self.last_context.get() + 1);
        self.last_context.get()
    }
}

impl Cluster {
    /// Starts a gateway.
    pub fn start_node(&self, number: usize) {
        let (site, plan) = (&self.sites[number], &self.plan.nodes[number]);
        site.lives.set(site.lives.get() + 1);
        let main_thread = usize::from(plan.personality == Personality::Envoy);
        let node = Rc::new(Node {
            number,
            life: site.lives.get(),
            personality: plan.personality,
            shared: Zone::new(plan.personality),
            workers: (0..plan.workers + main_thread).map(Worker::new).collect(),
            uptime: plan.uptime,
            drift: plan.drift,
        });
        self.trace(None, || format!("node {number} starts, {:?}, life {}", plan.personality, node.life));
        for worker in &node.workers {
            self.load(&node, worker);
        }
        *site.node.borrow_mut() = Some(node);
    }

    /// Loads the place's policy into a worker, which gives it one more root.
    pub fn load(&self, node: &Rc<Node>, worker: &Worker) {
        let tiers = Rc::clone(&self.sites[node.number].tiers.borrow());
        let root = Rc::new(self.root(node, &tiers));
        worker.roots.borrow_mut().push(Rc::clone(&root));
        self.begin_ticks(node, worker, &root);
    }

    fn begin_ticks(&self, node: &Node, worker: &Worker, root: &Root) {
        let interval = root.store_client.interval().nanos().0;
        let event = Event::Tick {
            node: node.number,
            life: node.life,
            worker: worker.number,
            worker_life: worker.life.get(),
            root: root.id,
        };
        self.queue.push(self.now() + self.chance.memory.below(interval), event);
    }

    fn root(&self, node: &Node, tiers: &[Tier]) -> Root {
        let policy = self.policy(tiers);
        let key = [self.chance.memory.number(), self.chance.memory.number()].map(u64::to_le_bytes);
        let key = FingerprintKey(*key.as_flattened().first_chunk().unwrap_or(&[0; 16]));
        let opened = Table::open(&node.shared, policy.clients, key).expect("a table");
        let store_client = StoreClient::new(&policy, self.chance.memory.number()).expect("a store");
        Root {
            id: self.next_id(),
            engine: Engine::new(policy, opened.table),
            store_client,
            failures: Cell::new(Some(0)),
            is_calling: Cell::new(false),
            was_answered: Cell::new(false),
            calls: Cell::new((0, 0)),
        }
    }

    fn policy(&self, tiers: &[Tier]) -> Policy {
        let mut known = self.policies.borrow_mut();
        if let Some((_, policy)) = known.iter().find(|(of, _)| of == tiers) {
            return policy.clone();
        }
        let policy = Policy::from_value(&self.plan.policy(tiers)).unwrap_or_else(|problems| {
            panic!("{}: {problems:?}", self.plan.policy(tiers));
        });
        known.push((tiers.to_vec(), policy.clone()));
        policy
    }

    /// Kills a gateway. Its memory is gone, and its connections break.
    pub fn kill_node(&self, number: usize) {
        let Some(node) = self.sites[number].node.borrow_mut().take() else { return };
        self.trace(None, || format!("node {number} dies"));
        self.log.node_died(number, self.now().nanos());
        for worker in &node.workers {
            self.abandon(worker);
        }
    }

    /// A worker loses its memory and its requests. If it `doubles`, it loses nothing: its old roots go on ticking, and the new
    /// one ticks twice.
    pub fn rebuild(&self, number: usize, worker: usize, doubles: bool) {
        let Some(node) = self.node(number) else { return };
        let Some(worker) = node.workers.get(worker) else { return };
        self.trace(None, || format!("node {number} worker {} is rebuilt, doubled: {doubles}", worker.number));
        if !doubles {
            self.abandon(worker);
            worker.life.set(worker.life.get() + 1);
            worker.roots.borrow_mut().clear();
        }
        self.load(&node, worker);
        if let (true, Some(root)) = (doubles, worker.root()) {
            self.begin_ticks(&node, worker, &root);
        }
    }

    fn abandon(&self, worker: &Worker) {
        let guests = std::mem::take(&mut *worker.waiting.borrow_mut());
        for guest in guests.values() {
            self.log.abandoned(guest.client, guest.cost);
        }
    }
}
