//! The gateway's calls into the filter, and the host that the filter finds there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tollgate_core::client::Network;
use tollgate_core::units::{Cost, Millis, UnixNanos};
use tollgate_core::wire::{Batch, header};
use tollgate_node::clock::NodeNanos;
use tollgate_node::engine::borrowing::Question;
use tollgate_node::engine::store_client::{self, Admission, Event as StoreEvent, NodeHost};
use tollgate_node::engine::{Outcome, Ruling};
use tollgate_node::request::{Gateway, Headers, Request};

use super::calls::Caller;
use super::gateway::{Guest, Node, Root, Worker};
use super::shared_data::Shared;
use super::{Cluster, Event};
use crate::log::{Shot, Verdict};
use crate::plan::{MILLISECOND, Personality};

/// One call of the gateway into the filter.
pub struct HostCall<'a> {
    shared: Shared<'a>,
    root: &'a Rc<Root>,
    /// The context of the request at hand; `None` if it is the root.
    at_hand: Cell<Option<u32>>,
    /// The context of the request that was at hand first, and its address.
    first: Option<(u32, [u8; 4])>,
    reply: RefCell<Option<Vec<u8>>>,
    /// Whether this is the reply to the root's own call. Kong crashes if another call is made now.
    is_roots_reply: bool,
    /// Whether the call that has ended had less time than usual and took all of it, so that its failure says nothing about the
    /// store; `None` if that cannot be told.
    was_cut_short: Option<bool>,
}

/// The product takes a clock that is behind by up to a second for another worker's earlier reading. This is a little less,
/// because clocks also drift.
const WALLS_DIFFER: u64 = 800 * MILLISECOND;

/// A request's origin.
struct Origin([u8; 4]);

impl Gateway for Origin {
    fn property(&self, path: &str) -> Option<Vec<u8>> {
        let [a, b, c, d] = self.0;
        (path == "source\0address").then(|| format!("{a}.{b}.{c}.{d}").into_bytes())
    }

    fn header(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
}

/// What is to come of a request that was let through.
#[derive(Debug)]
pub struct Response {
    node: usize,
    life: u32,
    worker: usize,
    worker_life: u32,
    root: Rc<Root>,
    ruling: Ruling,
    /// The request's number in the log.
    shot: usize,
    client: u32,
    /// What it costs in the end, in thousandths.
    cost: u64,
}

/// A request, as a client sends it.
pub struct Sent<'a> {
    /// Its client.
    pub client: u32,
    /// What it costs, in thousandths.
    pub cost: u64,
    /// Its tier's place in the log.
    pub tier: usize,
    /// Its client's address.
    pub address: [u8; 4],
    /// Its headers, as a gateway hands them over.
    pub headers: &'a [u8],
}

impl Cluster {
    fn host_call<'a>(
        &'a self,
        node: &'a Node,
        worker: &'a Worker,
        root: &'a Rc<Root>,
        first: Option<(u32, [u8; 4])>,
    ) -> HostCall<'a> {
        HostCall {
            shared: Shared { cluster: self, node, worker },
            root,
            at_hand: Cell::new(first.map(|(context, _)| context)),
            first,
            reply: RefCell::default(),
            is_roots_reply: false,
            was_cut_short: Some(false),
        }
    }

    /// A worker serves a request.
    pub fn serve(&self, node: &Node, worker: &Worker, sent: &Sent<'_>) {
        let Some(root) = worker.root() else { return };
        worker.is_busy.set(true);
        let context = worker.next_context();
        let call = self.host_call(node, worker, &root, Some((context, sent.address)));
        let origin = Origin(sent.address);
        let request = Request::new(Headers::new(sent.headers), &origin);
        if self.plan.store.is_local {
            let answer = root.engine.decide(&request, call.shared(), self.wall(node.number));
            if let Some(ruling) = answer.and_then(|answer| answer.ruling) {
                self.decided(node, worker, &root, sent, 0, &ruling);
            }
            worker.is_busy.set(false);
            return;
        }
        let was_tripped = root.failures.get().is_some_and(|failures| failures >= 3);
        let admission = root.store_client.decide_or_wait(&root.engine, &call, context, &request);
        match admission {
            Admission::Off => {}
            Admission::Decided(answer) => match answer.ruling {
                None => self.log.free(sent.client),
                Some(ruling) => self.decided(node, worker, &root, sent, 0, &ruling),
            },
            Admission::Waits(waiting) => {
                if was_tripped {
                    self.log.broken(
                        "breaker",
                        self.now().nanos(),
                        "a request waits after three failed calls",
                    );
                }
                let guest = Guest {
                    client: sent.client,
                    cost: sent.cost,
                    tier: sent.tier,
                    came: self.now(),
                    address: sent.address,
                    root: Rc::clone(&root),
                    waiting,
                };
                worker.waiting.borrow_mut().insert(context, Rc::new(guest));
                if self.chance.network.happens(self.plan.impatience) {
                    let leaves = self.now() + self.chance.network.below(60 * MILLISECOND);
                    let (node, life, worker) = (node.number, node.life, worker.number);
                    self.queue.push(leaves, Event::Leaves { node, life, worker, context });
                }
            }
        }
        worker.is_busy.set(false);
    }

    /// A client goes away, if it still waits.
    pub fn leave(&self, node: usize, life: u32, worker: usize, context: u32) {
        let Some(node) = self.node(node).filter(|node| node.life == life) else { return };
        let guest = node.workers[worker].waiting.borrow_mut().remove(&context);
        if let Some(guest) = guest {
            guest.root.store_client.forget(&guest.waiting);
            self.log.abandoned(guest.client, guest.cost);
            self.gone(guest.client);
        }
    }

    /// A root's tick.
    pub fn tick(&self, node: &Node, worker: &Worker, root: &Rc<Root>) {
        worker.is_busy.set(true);
        let call = self.host_call(node, worker, root, None);
        root.store_client.tick(&root.engine, &call);
        worker.is_busy.set(false);
    }

    /// A call has ended, and its `caller` hears of it. `reply` is the body of a 200. For `was_cut_short` see [`HostCall`].
    pub fn call_ended(
        &self,
        node: &Node,
        worker: &Worker,
        root: &Rc<Root>,
        caller: Caller,
        reply: Option<Vec<u8>>,
        was_cut_short: Option<bool>,
    ) {
        worker.is_busy.set(true);
        match caller {
            Caller::Root => {
                root.is_calling.set(false);
                let call = HostCall { is_roots_reply: true, ..self.host_call(node, worker, root, None) };
                *call.reply.borrow_mut() = reply;
                root.store_client.receive_batch(&root.engine, &call);
            }
            Caller::Request(context) => {
                let guest = worker.waiting.borrow().get(&context).cloned();
                // A request that is gone hears nothing.
                if let Some(guest) = guest {
                    let first = Some((context, guest.address));
                    let call = HostCall { was_cut_short, ..self.host_call(node, worker, root, first) };
                    *call.reply.borrow_mut() = reply;
                    root.store_client.receive_answer(&root.engine, &call, &guest.waiting);
                }
            }
        }
        worker.is_busy.set(false);
    }

    /// A request is decided.
    fn decided(
        &self,
        node: &Node,
        worker: &Worker,
        root: &Rc<Root>,
        sent: &Sent<'_>,
        waited: u64,
        ruling: &Ruling,
    ) {
        let Sent { client, cost, tier, .. } = *sent;
        let document = root.engine.document(ruling);
        let verdict = match (ruling.outcome, &document) {
            (Outcome::Allowed, None) => Verdict::Paid,
            (Outcome::Fallback, None) => Verdict::Fallback,
            (Outcome::Error, None) => Verdict::Passed,
            (Outcome::RefusedRate, Some(document)) => Verdict::Refused(document.retry_after),
            (Outcome::RefusedMonth, Some(document)) => Verdict::RefusedMonth(document.retry_after),
            (Outcome::Error, Some(document)) => Verdict::Undecided(document.status),
            other => panic!("{other:?} under enforcement"),
        };
        let wall = self.wall(node.number).0;
        let differs = wall.abs_diff(self.redis.clock(self.now()).0) > WALLS_DIFFER;
        let shot = Shot {
            at: self.stamp(),
            moment: self.now().nanos(),
            client,
            cost,
            node: node.number,
            root: root.id,
            by_wall: (!root.was_answered.get() && differs).then_some(wall),
            was_away: root.store_client.borrower().borrow().is_store_away(),
            waited,
            tier,
            verdict,
            settled: None,
        };
        self.trace(Some(client), || {
            format!(
                "node {} worker {} client {client} cost {cost}: {verdict:?} after {waited} ns",
                node.number, worker.number
            )
        });
        let number = self.log.decided(shot);
        self.heard(client, &shot);
        let is_asking = self.now() - self.start() < self.plan.length;
        if let (Some(slowest), Some(_), true) = (self.plan.settling, &ruling.charge, is_asking) {
            // Of every five, one costs nothing, one what it was charged, and one more.
            let share = match self.chance.network.below(5) {
                0 => return,
                1 => 0,
                2 => self.chance.network.between(1_000, 4_000),
                _ => self.chance.network.below(1_000),
            };
            let response = Response {
                node: node.number,
                life: node.life,
                worker: worker.number,
                worker_life: worker.life.get(),
                root: Rc::clone(root),
                ruling: ruling.clone(),
                shot: number,
                client,
                cost: cost * share / 1_000,
            };
            let comes = self.now() + self.chance.network.below(slowest);
            self.queue.push(comes, Event::Responds(Box::new(response)));
        }
    }

    /// A response comes, if its gateway and its worker still live.
    pub fn respond(&self, response: Response) {
        let Response { node, life, worker, worker_life, root, mut ruling, shot, client, cost } = response;
        let Some(node) = self.node(node).filter(|node| node.life == life) else { return };
        let Some(worker) = node.workers.get(worker).filter(|worker| worker.life.get() == worker_life) else {
            return;
        };
        worker.is_busy.set(true);
        let call = self.host_call(&node, worker, &root, None);
        let is_settled = if self.plan.store.is_local {
            let now = self.wall(node.number).into();
            root.engine.settle(&mut ruling, Cost(cost), call.shared(), now).is_some()
        } else {
            root.store_client.settle(&root.engine, &call, &mut ruling, Cost(cost))
        };
        worker.is_busy.set(false);
        self.trace(Some(client), || format!("client {client} settles {cost}: {is_settled}"));
        if is_settled {
            self.log.settled(shot, cost, self.now().nanos());
        }
    }
}

impl<'a> NodeHost for HostCall<'a> {
    type Shared = Shared<'a>;

    fn shared(&self) -> &Shared<'a> {
        &self.shared
    }

    fn monotonic(&self) -> NodeNanos {
        let cluster = self.shared.cluster;
        self.shared.node.monotonic(cluster.now(), cluster.start())
    }

    fn wall(&self) -> UnixNanos {
        self.shared.cluster.wall(self.shared.node.number)
    }

    fn node(&self) -> Vec<u8> {
        match self.shared.node.personality {
            Personality::Kong => {
                format!("{}-{}", self.shared.node.number, self.shared.node.life).into_bytes()
            }
            Personality::Envoy => Vec::new(),
        }
    }

    fn peer(&self) -> Network {
        let at_hand = self.at_hand.get();
        match self.first {
            Some((context, address)) if Some(context) == at_hand => Network::V4(address),
            _ => {
                let guests = self.shared.worker.waiting.borrow();
                let guest = at_hand.and_then(|context| guests.get(&context));
                guest.map_or(Network::Unknown, |guest| Network::V4(guest.address))
            }
        }
    }

    fn resumes_others(&self) -> bool {
        self.shared.node.personality == Personality::Envoy
    }

    fn speak_for(&self, context: u32) {
        self.at_hand.set(Some(context));
    }

    fn dispatch(&self, by: store_client::Caller, batch: &Batch, timeout: Millis) -> bool {
        let cluster = self.shared.cluster;
        let message = match by {
            store_client::Caller::Request => header::decode(batch.to_header().as_bytes()).expect("base64url"),
            store_client::Caller::Root => batch.to_bytes(),
        };
        let caller = match self.at_hand.get() {
            Some(context) => Caller::Request(context),
            None => Caller::Root,
        };
        cluster.log.dispatched(caller != Caller::Root, batch.entries.len());
        if self.shared.node.personality == Personality::Kong {
            if self.is_roots_reply {
                cluster.log.broken("host_rule", cluster.now().nanos(), "a call from a root's reply");
            }
            if caller == Caller::Root && self.root.is_calling.get() {
                cluster.log.broken("host_rule", cluster.now().nanos(), "two calls of one root are under way");
            }
        }
        if caller == Caller::Root {
            self.root.is_calling.set(true);
        }
        cluster.dispatch(self.shared.node, self.shared.worker, self.root, caller, &message, timeout);
        true
    }

    fn reply(&self) -> Option<Vec<u8>> {
        self.reply.borrow_mut().take()
    }

    fn may_call_again(&self) -> bool {
        self.shared.node.personality == Personality::Envoy
    }

    fn conclude(&self, _: &Question, ruling: &Ruling) {
        let Some(context) = self.at_hand.get() else { return };
        let cluster = self.shared.cluster;
        let may = self.resumes_others() || self.first.is_some_and(|(first, _)| first == context);
        if !may {
            cluster.log.broken(
                "host_rule",
                cluster.now().nanos(),
                "a request was let go on that Kong's host keeps",
            );
        }
        let guest = self.shared.worker.waiting.borrow_mut().remove(&context);
        let Some(guest) = guest else {
            cluster.log.broken("host_rule", cluster.now().nanos(), "a request was decided twice");
            return;
        };
        let waited = cluster.now() - guest.came;
        let Guest { client, cost, tier, address, .. } = *guest;
        let sent = Sent { client, cost, tier, address, headers: &[] };
        cluster.decided(self.shared.node, self.shared.worker, &guest.root, &sent, waited, ruling);
    }

    fn report(&self, event: StoreEvent) {
        let cluster = self.shared.cluster;
        let node = self.shared.node.number;
        match event {
            StoreEvent::Called { has_worked: true, .. } => {
                self.root.failures.set(Some(0));
                self.root.was_answered.set(true);
            }
            StoreEvent::Called { has_worked: false, is_up } => {
                let failures = self.root.failures.get().zip(self.was_cut_short);
                let failures = failures.map(|(before, was_cut_short)| before + u32::from(!was_cut_short));
                self.root.failures.set(failures);
                if failures.is_some_and(|failures| is_up == (failures >= 3)) {
                    cluster.log.broken(
                        "breaker",
                        cluster.now().nanos(),
                        "it does not trip at the third failed call",
                    );
                }
            }
            StoreEvent::Away | StoreEvent::Back => {
                cluster.trace(None, || format!("node {node} root {}: {event:?}", self.root.id));
            }
            StoreEvent::Hit | StoreEvent::Miss | StoreEvent::NoRoute => {}
        }
    }
}
