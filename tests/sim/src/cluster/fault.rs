//! How the plan's faults happen.

use std::rc::Rc;

use super::calls::Cut;
use super::{Cluster, Event};
use crate::plan::{Fault, MILLISECOND, SECOND};

/// How long old roots go on ticking.
const OLD_ROOTS: u64 = 20 * SECOND;

impl Cluster {
    /// Lets a fault happen.
    pub fn happen(&self, fault: &Fault) {
        let now = self.now();
        self.trace(None, || format!("fault: {fault:?}"));
        match fault {
            Fault::Partition { node, replica, length, is_refused } => {
                let until = now + *length;
                self.calls.cut(Cut { node: *node, replica: *replica, until, is_refused: *is_refused });
                self.trouble(*length);
            }
            Fault::ReplicaCrash { replica, length } => {
                self.trouble(*length + 2 * SECOND);
                self.kill_replica(*replica, *length);
            }
            Fault::RedisAway { length, hangs } => {
                self.redis.go_away(now + *length, *hangs);
                // Calls that hang end a little later.
                self.trouble(*length + SECOND);
            }
            Fault::RedisSlow { length, delay } => {
                self.redis.slow_down(now + *length, *delay);
                self.trouble(*length + 10 * *delay);
            }
            Fault::RedisFailsOver { skew } => {
                self.redis.set_now(now);
                if self.redis.fail_over(self.plan.redis.lag, *skew) {
                    self.goes_back(*skew);
                    self.log.failed_over(self.stamp(), now.nanos().saturating_sub(self.plan.redis.lag));
                }
            }
            Fault::NodeCrash { node, length } => {
                self.kill_node(*node);
                self.queue.push(now + *length, Event::NodeStarts { node: *node });
            }
            Fault::Rebuild { node, worker, doubles } => self.rebuild(*node, *worker, *doubles),
            Fault::WallJumps { node, by } => {
                let wall = &self.sites[*node].wall;
                wall.set(wall.get() + by);
            }
            Fault::StoreClockJumps { by } => {
                self.log.store_clock_set(self.stamp(), *by);
                self.redis.set_clock(*by);
                self.goes_back(*by);
            }
            Fault::BadNetwork { network, length } => {
                self.calls.worsen(now + *length, *network);
                self.trouble(*length + SECOND);
            }
            Fault::SpoiledSlot { node } => self.spoil(*node),
            Fault::Policy { tiers, pace } => {
                let tiers = Rc::new(tiers.clone());
                let policy = self.newest_policy.get() + 1;
                self.newest_policy.set(policy);
                for (number, client) in self.clients.iter().enumerate() {
                    self.log.limits_change(number as u32, self.stamp(), tiers[client.tier.get()].clone());
                }
                for node in 0..self.sites.len() {
                    let event = Event::Reload { node, tiers: Rc::clone(&tiers), policy };
                    self.queue.push(now + node as u64 * pace, event);
                }
                // Old roots go on ticking, and leases under the old terms may be spent.
                let everywhere = now + self.sites.len() as u64 * pace + OLD_ROOTS + 12 * SECOND;
                for number in 0..self.clients.len() {
                    self.queue.push(everywhere, Event::PolicyHolds(number as u32, policy));
                }
            }
            Fault::Move { client, tier } => {
                self.move_to(*client, *tier);
                self.log.limits_change(*client as u32, self.stamp(), self.tier_of(*client, 0));
                // By then leases under the old tier have ended.
                let policy = self.newest_policy.get();
                self.queue.push(now + 12 * SECOND, Event::PolicyHolds(*client as u32, policy));
            }
            Fault::Override { client, limits } => self.set_limits(*client, limits.as_ref()),
            Fault::Reset { client, bucket, month } => self.reset(*client, *bucket, *month),
        }
    }

    /// Gives a gateway another policy: every worker gets one more root, and the old ones go on ticking for a while.
    pub fn reload(&self, number: usize, tiers: Rc<Vec<crate::plan::Tier>>, policy: u32) {
        // A rollout that was overtaken by a newer one stops.
        if self.sites[number].policy.get() > policy {
            return;
        }
        self.sites[number].policy.set(policy);
        *self.sites[number].tiers.borrow_mut() = tiers;
        let Some(node) = self.node(number) else { return };
        for worker in &node.workers {
            self.load(&node, worker);
            let roots = worker.roots.borrow();
            if let Some(old) = roots.len().checked_sub(2).and_then(|at| roots.get(at)) {
                let event =
                    Event::RootEnds { node: number, life: node.life, worker: worker.number, root: old.id };
                self.queue.push(self.now() + OLD_ROOTS, event);
            }
        }
        if self.is_healed.get() {
            self.ping_all(&node);
        }
    }

    fn spoil(&self, number: usize) {
        let Some(node) = self.node(number) else { return };
        let Some(root) = node.workers[0].root() else { return };
        let table = root.engine.table().geometry();
        let slot = table.slot(self.chance.memory.below(table.count().into()) as u32);
        if let Some(slot) = slot {
            node.shared.spoil(&slot, || self.chance.memory.number() as u8);
            self.log.slot_spoiled(number, self.now().nanos());
        }
    }

    /// Records that the store's clock was set. If it was set back, the log's time goes on all the same.
    fn goes_back(&self, by: i64) {
        self.set_back.set(self.set_back.get() + by.min(0).unsigned_abs());
    }

    /// Records that something is broken for `length`: claims about quiet times do not hold then.
    pub fn trouble(&self, length: u64) {
        let until = self.now() + length + 50 * MILLISECOND;
        self.log.in_trouble(self.now().nanos(), until.nanos());
        self.trouble.set(self.trouble.get().max(until));
    }
}
