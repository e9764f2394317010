//! What can happen in a cluster, and who deals with it.

use std::rc::Rc;
use std::task::Waker;

use super::Cluster;
use super::admin::Errand;
use super::host_call::Response;
use crate::plan::{SECOND, Tier};

/// Something that happens at a moment.
pub enum Event {
    /// It is a client's turn.
    Ask(usize),
    /// A root's tick.
    Tick {
        /// The gateway's place.
        node: usize,
        /// Which of the gateways that have lived there.
        life: u32,
        /// The worker's place.
        worker: usize,
        /// How often the worker had lost its memory.
        worker_life: u32,
        /// The root.
        root: u64,
    },
    /// A call reaches a replica.
    CallArrives {
        /// The call.
        call: u64,
        /// The replica.
        replica: usize,
        /// What was sent.
        message: Rc<[u8]>,
    },
    /// A reply reaches its gateway.
    CallEnds {
        /// The call that it answers.
        call: u64,
        /// The reply.
        reply: Vec<u8>,
    },
    /// A client that waits goes away.
    Leaves {
        /// The gateway's place.
        node: usize,
        /// Which of the gateways that have lived there.
        life: u32,
        /// The worker.
        worker: usize,
        /// The request.
        context: u32,
    },
    /// A call fails, because its time is over or its connection breaks.
    CallFails {
        /// The call.
        call: u64,
    },
    /// A replica reads what others have changed.
    Refresh {
        /// The replica's place.
        replica: usize,
        /// Which of the replicas that have lived there.
        life: u32,
    },
    /// What a replica waits for has come.
    Alarm(Waker),
    /// The plan's fault of this number.
    Fault(usize),
    /// A gateway is back.
    NodeStarts {
        /// The gateway's place.
        node: usize,
    },
    /// A replica is back.
    ReplicaStarts {
        /// The replica's place.
        replica: usize,
    },
    /// A gateway gets another policy.
    Reload {
        /// The gateway's place.
        node: usize,
        /// The policy's tiers.
        tiers: Rc<Vec<Tier>>,
        /// The policy's number: an older policy than the gateway's changes nothing.
        policy: u32,
    },
    /// An old root ticks no more.
    RootEnds {
        /// The gateway's place.
        node: usize,
        /// Which of the gateways that have lived there.
        life: u32,
        /// The worker.
        worker: usize,
        /// The root.
        root: u64,
    },
    /// A request's response says what it costs.
    Responds(Box<Response>),
    /// An admin's call.
    Errand(Rc<Errand>),
    /// From now on a client has these limits, everywhere.
    LimitsHold(u32, Box<Tier>),
    /// A client's limits have not changed.
    LimitsStay(u32),
    /// All gateways have the policy of this number, which gives a client's limits unless it has an override.
    PolicyHolds(u32, u32),
    /// Clients stop asking, and everything is mended.
    Heal,
    /// A client asks long after all others have stopped, and this many requests are left to ask, of as many as its bucket holds.
    Probe(usize, u64),
    /// The store is asked what was used, and memories are checked.
    Audit,
}

impl Cluster {
    /// Lets `event` happen.
    pub(super) fn happens(&self, event: Event) {
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
            Event::Responds(response) => self.respond(*response),
            Event::Errand(errand) => self.send_errand(&errand),
            Event::LimitsHold(client, tier) => self.log.limits_hold(client, self.stamp(), *tier),
            // Who is reloaded learns of overrides from the store.
            Event::PolicyHolds(client, policy) if self.now() < self.trouble.get() + 3 * SECOND => {
                self.queue.push(self.trouble.get() + 3 * SECOND, Event::PolicyHolds(client, policy));
            }
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
}
