//! Calls from gateways to the store, over a network that loses, delays, repeats and garbles.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tollgate_core::units::Millis;

use super::gateway::{Node, Root, Worker};
use super::{Cluster, Event};
use crate::plan::{MILLISECOND, Network, SECOND};
use crate::time::TrueTime;

/// Who makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The filter's root, from a tick.
    Root,
    /// The request of this context.
    Request(u32),
}

/// A call that has not ended.
#[derive(Debug)]
pub struct Open {
    node: usize,
    life: u32,
    worker: usize,
    worker_life: u32,
    root: Rc<Root>,
    caller: Caller,
    until: TrueTime,
    /// Whether it may take less time than a call usually may.
    is_short: bool,
    /// The message.
    pub message: Rc<[u8]>,
}

/// All calls that are under way, and the network's state.
#[derive(Debug, Default)]
pub struct Calls {
    open: RefCell<BTreeMap<u64, Open>>,
    bad: Cell<Option<(TrueTime, Network)>>,
    cuts: RefCell<Vec<Cut>>,
}

/// A cut between a gateway and a replica.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The gateway.
    pub node: usize,
    /// The replica; `None` for all of them.
    pub replica: Option<usize>,
    /// When it ends.
    pub until: TrueTime,
    /// Whether calls are refused at once, instead of hanging.
    pub is_refused: bool,
}

impl Calls {
    /// Makes the network bad until then.
    pub fn worsen(&self, until: TrueTime, network: Network) {
        self.bad.set(Some((until, network)));
    }

    /// Adds a cut.
    pub fn cut(&self, cut: Cut) {
        self.cuts.borrow_mut().push(cut);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.bad.set(None);
        self.cuts.borrow_mut().clear();
    }

    fn cut_between(&self, node: usize, replica: usize, now: TrueTime) -> Option<Cut> {
        let mut cuts = self.cuts.borrow_mut();
        cuts.retain(|cut| now < cut.until);
        let is_between = |cut: &&Cut| cut.node == node && cut.replica.is_none_or(|only| only == replica);
        cuts.iter().find(is_between).copied()
    }
}

/// A root that makes this many calls in a second has broken loose. Usual are a batch per tick, and the calls of requests without
/// a lease, of which each may ask several times on Kong.
const STORM: u32 = 400;

impl Cluster {
    /// The network at the moment.
    fn network(&self) -> Network {
        match self.calls.bad.get() {
            Some((until, network)) if self.now() < until => network,
            _ if self.is_healed.get() => {
                Network { loss: 0, twice: 0, straggles: 0, garbled: 0, ..self.plan.network }
            }
            _ => self.plan.network,
        }
    }

    fn delay(&self, network: &Network) -> u64 {
        let delay = self.chance.network.between(network.least, network.most);
        let times = if self.chance.network.happens(network.straggles) { 20 } else { 1 };
        delay * times
    }

    /// A gateway sends a message to the store.
    pub fn dispatch(
        &self,
        node: &Node,
        worker: &Worker,
        root: &Rc<Root>,
        caller: Caller,
        message: &[u8],
        timeout: Millis,
    ) {
        let (now, id) = (self.now(), self.next_id());
        let message: Rc<[u8]> = Rc::from(message);
        self.count_call(root);
        let open = Open {
            node: node.number,
            life: node.life,
            worker: worker.number,
            worker_life: worker.life.get(),
            root: Rc::clone(root),
            caller,
            until: now + timeout.nanos().0,
            is_short: timeout.0 < self.plan.store.timeout,
            message: Rc::clone(&message),
        };
        let until = open.until;
        self.calls.open.borrow_mut().insert(id, open);
        let network = self.network();
        let replica = self.chance.network.index(self.replicas.len());
        let cut = self.calls.cut_between(node.number, replica, now);
        self.trace(None, || {
            format!(
                "call {id} of node {} worker {} {caller:?} to replica {replica}, cut {cut:?}",
                node.number, worker.number
            )
        });
        self.trace_message(id, &message);
        if let Some(cut) = cut {
            let end = if cut.is_refused { (now + network.least).min(until) } else { until };
            self.queue.push(end, Event::CallFails { call: id });
            return;
        }
        let arrives = now + self.delay(&network);
        let is_lost = self.chance.network.happens(network.loss);
        if !is_lost {
            self.queue.push(arrives, Event::CallArrives { call: id, replica, message: Rc::clone(&message) });
        }
        if self.chance.network.happens(network.twice) {
            let again = now + 3 * self.delay(&network);
            self.queue.push(again, Event::CallArrives { call: id, replica, message: Rc::clone(&message) });
        }
        if is_lost || arrives >= until {
            self.queue.push(until, Event::CallFails { call: id });
        }
    }

    fn count_call(&self, root: &Root) {
        self.log.count_call();
        let (second, calls) = root.calls.get();
        let this = self.now().nanos() / SECOND;
        let calls = if second == this { calls + 1 } else { 1 };
        root.calls.set((this, calls));
        self.log.calls_in_a_second(calls);
        if calls == STORM {
            self.log.broken("storm", self.now().nanos(), "a root makes too many calls in a second");
        }
    }

    /// Sends a replica's reply back; `None` breaks the connection.
    pub fn answer(&self, call: u64, reply: Option<Vec<u8>>) {
        let Some(until) = self.calls.open.borrow().get(&call).map(|open| open.until) else { return };
        let network = self.network();
        let comes = self.now() + self.delay(&network);
        if comes >= until || self.chance.network.happens(network.loss) {
            self.queue.push(until.max(self.now()), Event::CallFails { call });
            return;
        }
        let event = match reply {
            None => Event::CallFails { call },
            Some(mut bytes) => {
                if self.chance.network.happens(network.garbled) {
                    self.garble(&mut bytes);
                }
                Event::CallEnds { call, reply: bytes }
            }
        };
        self.queue.push(comes, event);
    }

    /// Leaves a call without an end, until its caller gives it up.
    pub fn hang(&self, call: u64) {
        let until = self.calls.open.borrow().get(&call).map(|open| open.until);
        if let Some(until) = until {
            self.queue.push(until.max(self.now()), Event::CallFails { call });
        }
    }

    fn garble(&self, bytes: &mut Vec<u8>) {
        let chance = &self.chance.network;
        match chance.below(3) {
            0 => bytes.truncate(chance.index(bytes.len() + 1)),
            1 => *bytes = b"<html><h1>502 Bad Gateway</h1></html>".to_vec(),
            // With another version it cannot be read.
            _ => bytes.iter_mut().take(1).for_each(|byte| *byte ^= 0x80),
        }
    }

    /// A call ends at its gateway.
    pub fn end_call(&self, call: u64, reply: Option<Vec<u8>>) {
        let Some(open) = self.calls.open.borrow_mut().remove(&call) else { return };
        let Some(node) = self.node(open.node).filter(|node| node.life == open.life) else { return };
        let worker = &node.workers[open.worker];
        if worker.life.get() != open.worker_life {
            return;
        }
        self.trace(None, || {
            let what = if reply.is_some() { "ends" } else { "fails" };
            format!("call {call} of node {} worker {} {what}", node.number, worker.number)
        });
        if let Some(reply) = &reply {
            self.trace_reply(call, &open.message, reply);
        }
        let was_cut_short = match (open.is_short, open.until.nanos().saturating_sub(self.now().nanos())) {
            (false, _) => Some(false),
            (true, 0) => Some(true),
            // A gateway's clock has steps of a millisecond, and drifts.
            (true, left) => (left > 2 * MILLISECOND).then_some(false),
        };
        self.call_ended(&node, worker, &open.root, open.caller, reply, was_cut_short);
    }
}
