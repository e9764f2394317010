//! Clients and their requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::host_call::Sent;
use super::{Cluster, Event};
use crate::log::{Shot, Verdict};
use crate::plan::{self, Fault, Habit, MILLISECOND, Place, SECOND, path_of};
use crate::random::Random;

/// A client of the plan.
#[derive(Debug)]
pub struct Client {
    random: Random,
    /// Its tier's place in the policy.
    pub tier: Cell<usize>,
    /// Costs, and the headers of such a request.
    requests: RefCell<Vec<(u64, Rc<[u8]>)>>,
    /// The cost of the request that was refused last, if the client waits as it was told.
    promised: Cell<Option<u64>>,
}

/// A request that is about to reach its worker.
#[derive(Clone, Copy, Debug)]
pub struct Coming {
    client: usize,
    who: u32,
    request: usize,
    node: usize,
}

/// The numbers in the log: the plan's clients come first, and then a range of this size for each group of anonymous clients.
pub const GROUP: u32 = 1 << 22;

impl Client {
    /// The plan's client number `number`.
    #[must_use]
    pub fn new(plan: &plan::Plan, number: usize) -> Self {
        let client = &plan.clients[number];
        Self {
            random: Random::new(plan.seed, 100 + number as u64),
            tier: Cell::new(client.tier),
            requests: RefCell::new(Self::requests(plan, number, client.tier)),
            promised: Cell::new(None),
        }
    }

    fn requests(plan: &plan::Plan, number: usize, tier: usize) -> Vec<(u64, Rc<[u8]>)> {
        let (client, tier) = (&plan.clients[number], &plan.tiers[tier].name);
        let requests = client.costs.iter().map(|cost| {
            let path = path_of(*cost);
            let mut pairs: Vec<(&str, &str)> =
                vec![(":method", "GET"), (":path", &path), (":authority", "api"), ("user-agent", "sim")];
            if let Some(name) = &client.name {
                pairs.extend([("x-consumer-username", name.as_str()), ("x-consumer-groups", tier.as_str())]);
            }
            (*cost, bytes_of(&pairs).into())
        });
        requests.collect()
    }
}

/// Headers as a gateway hands them over.
fn bytes_of(pairs: &[(&str, &str)]) -> Vec<u8> {
    let word = |length: usize| (length as u32).to_le_bytes();
    let mut bytes = word(pairs.len()).to_vec();
    for (name, value) in pairs {
        bytes.extend([word(name.len()), word(value.len())].concat());
    }
    for (name, value) in pairs {
        bytes.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    bytes
}

/// A random time around `every`.
fn about(random: &Random, every: u64) -> u64 {
    random.between(every / 2, every + every / 2).max(1)
}

impl Cluster {
    /// Lets every client begin, at moments of their own.
    pub fn begin_traffic(&self) {
        for (number, client) in self.clients.iter().enumerate() {
            let (Habit::Steady { every }
            | Habit::Paced { every }
            | Habit::Burst { every, .. }
            | Habit::Patient { every }) = self.plan.clients[number].habit;
            self.queue.push(self.now() + client.random.below(every.max(1)), Event::Ask(number));
        }
    }

    /// It is a client's turn.
    pub fn ask(&self, number: usize) {
        if self.is_healed.get() {
            return;
        }
        let client = &self.clients[number];
        match self.plan.clients[number].habit {
            Habit::Steady { every } => {
                self.come(number);
                self.queue.push(self.now() + about(&client.random, every), Event::Ask(number));
            }
            Habit::Paced { every } => {
                self.come(number);
                self.queue.push(self.now() + every, Event::Ask(number));
            }
            Habit::Burst { size, every } => {
                (0..size).for_each(|_| self.come(number));
                self.queue.push(self.now() + about(&client.random, every), Event::Ask(number));
            }
            // It asks again when the answer says so.
            Habit::Patient { .. } => self.come(number),
        }
        self.serve_all();
    }

    /// One request of a client sets out.
    fn come(&self, number: usize) {
        let (client, plan) = (&self.clients[number], &self.plan.clients[number]);
        let sites = self.sites.len();
        let node = match plan.place {
            Place::Anywhere => client.random.index(sites),
            Place::Moving => (self.now().nanos() / SECOND) as usize % sites,
            Place::At(node) => node,
            Place::Skewed if client.random.below(10) > 0 => 0,
            Place::Skewed => client.random.index(sites),
            Place::Steep => match client.random.below(100) {
                0..90 => 0,
                90..99 => 1 % sites,
                _ => 2 % sites,
            },
        };
        // A load balancer avoids gateways that are away.
        let up = (0..sites).map(|step| (node + step) % sites).find(|site| self.node(*site).is_some());
        let Some(node) = up else {
            self.not_served(number);
            return;
        };
        let who = match plan.name {
            Some(_) => number as u32,
            None => GROUP * (1 + number as u32) + client.random.below(plan.addresses.into()) as u32,
        };
        let request = client.random.index(client.requests.borrow().len());
        self.coming.borrow_mut().push_back(Coming { client: number, who, request, node });
    }

    fn serve_all(&self) {
        loop {
            let next = self.coming.borrow_mut().pop_front();
            let Some(coming) = next else { return };
            self.arrive(&coming);
        }
    }

    /// A request reaches a worker that is free.
    fn arrive(&self, coming: &Coming) {
        let Some(node) = self.node(coming.node) else {
            self.not_served(coming.client);
            return;
        };
        let client = &self.clients[coming.client];
        let serving = self.plan.nodes[coming.node].workers;
        let first = client.random.index(serving);
        let free =
            (0..serving).map(|step| (first + step) % serving).find(|at| !node.workers[*at].is_busy.get());
        let Some(worker) = free else {
            self.coming.borrow_mut().push_back(*coming);
            return;
        };
        let (cost, headers) = client.requests.borrow()[coming.request].clone();
        let tier = self.log.number_of(&self.tier_of(coming.client, coming.node));
        let sent = Sent { client: coming.who, cost, tier, address: address(coming.who), headers: &headers };
        self.log.asked();
        self.serve(&node, &node.workers[worker], &sent);
        if cost == 0 {
            self.not_served(coming.client);
        }
    }

    /// Lets other workers of the node act between a read and a write of `worker`.
    pub fn meddle(&self, node: &super::gateway::Node, worker: &super::gateway::Worker) {
        let depth = self.depth.get();
        if depth >= 2 {
            return;
        }
        self.depth.set(depth + 1);
        let next = {
            let mut coming = self.coming.borrow_mut();
            let here = coming.iter().position(|one| one.node == node.number);
            here.and_then(|at| coming.remove(at))
        };
        match (next, self.node(node.number)) {
            (Some(coming), _) => self.arrive(&coming),
            (None, Some(node)) => {
                let other = &node.workers[self.chance.memory.index(node.workers.len())];
                if other.number != worker.number && !other.is_busy.get() {
                    for root in other.roots.borrow().iter() {
                        self.tick(&node, other, root);
                    }
                }
            }
            (None, None) => {}
        }
        self.depth.set(depth);
    }

    /// Sends a worker a request that costs nothing.
    pub fn ping(&self, node: &super::gateway::Node, worker: &super::gateway::Worker) {
        let headers = bytes_of(&[(":method", "GET"), (":path", &path_of(0)), (":authority", "api")]);
        let sent = Sent { client: u32::MAX, cost: 0, tier: 0, address: [127, 0, 0, 1], headers: &headers };
        self.serve(node, worker, &sent);
    }

    /// How many requests a client's bucket holds; `None` if it may not be full again within seconds, or may change.
    pub fn holds(&self, number: usize) -> Option<u64> {
        let client = &self.plan.clients[number];
        let tier = &self.plan.tiers[client.tier];
        let changes = |(_, fault): &(u64, Fault)| {
            matches!(
                fault,
                Fault::Override { .. }
                    | Fault::Policy { .. }
                    | Fault::Move { .. }
                    | Fault::StoreClockJumps { .. }
            )
        };
        let is_quick = !tier.rates.is_empty() && tier.rates.iter().all(|rate| rate.seconds == 1);
        let is_plain = client.name.is_some() && client.costs[0] > 0 && tier.monthly.is_none();
        if !is_quick || !is_plain || self.plan.faults.iter().any(changes) {
            return None;
        }
        tier.rates.iter().map(|rate| rate.holds() / client.costs[0]).min()
    }

    /// Asks `left` times at one gateway, one after the other. The client has not asked for so long that no gateway may hold
    /// anything of its bucket, so it must not be refused.
    pub fn probe(&self, number: usize, left: u64) {
        let (client, node) = (&self.clients[number], number % self.sites.len());
        let (cost, headers) = client.requests.borrow()[0].clone();
        let before = self.log.shots.borrow().len();
        if let Some(node) = self.node(node) {
            let who = number as u32;
            let tier = self.log.number_of(&self.tier_of(number, node.number));
            let sent = Sent { client: who, cost, tier, address: address(who), headers: &headers };
            self.serve(&node, &node.workers[0], &sent);
            let is_refused = |shot: &Shot| shot.client == who && !shot.verdict.is_admitted();
            if self.log.shots.borrow()[before..].iter().any(is_refused) {
                self.log.broken_for(
                    "stranded",
                    who,
                    self.stamp(),
                    "refused, though its bucket has to be full",
                );
            }
        }
        if left > 1 {
            // So fast that little is refilled meanwhile.
            self.queue.push(self.now() + 8 * MILLISECOND, Event::Probe(number, left - 1));
        }
    }

    /// The tier of a client's next request at a gateway, unless the client has an override.
    pub fn tier_of(&self, client: usize, node: usize) -> plan::Tier {
        self.sites[node].tiers.borrow()[self.clients[client].tier.get()].clone()
    }

    /// Gives a client another tier.
    pub fn move_to(&self, number: usize, tier: usize) {
        let client = &self.clients[number];
        client.tier.set(tier);
        *client.requests.borrow_mut() = Client::requests(&self.plan, number, tier);
    }

    /// Records that a client has gone away while it waited.
    pub fn gone(&self, who: u32) {
        if (who as usize) < self.clients.len() {
            self.clients[who as usize].promised.set(None);
            self.not_served(who as usize);
        }
    }

    /// Lets a patient client, whose request got no answer, ask again in a while.
    fn not_served(&self, number: usize) {
        if let Habit::Patient { every } = self.plan.clients[number].habit {
            self.queue.push(self.now() + every.max(SECOND), Event::Ask(number));
        }
    }

    /// Tells a client the outcome of its request.
    pub fn heard(&self, who: u32, shot: &Shot) {
        let Some(client) = self.clients.get(who as usize) else { return };
        let Habit::Patient { every } = self.plan.clients[who as usize].habit else { return };
        let was_promised = client.promised.take();
        let next = match shot.verdict {
            Verdict::Paid | Verdict::Fallback | Verdict::Passed => about(&client.random, every),
            Verdict::Refused(seconds) | Verdict::RefusedMonth(seconds) => {
                if was_promised.is_some_and(|cost| cost >= shot.cost) && self.plan.claims.waits_are_true {
                    self.log.broken_for("retry_after", who, shot.at, "refused again, though it has waited");
                }
                client.promised.set(Some(shot.cost));
                // The answer takes time to arrive, and the gateway's clock may be a little slow.
                seconds * SECOND + 5 * MILLISECOND + seconds * SECOND / 2_000
            }
            Verdict::Undecided(_) => SECOND,
        };
        self.queue.push(self.now() + next, Event::Ask(who as usize));
    }
}

/// The address of a client.
fn address(who: u32) -> [u8; 4] {
    let [a, b, c, d] = who.to_be_bytes();
    [10 + a, b, c, d]
}
