//! How a run ends: what is broken is mended, and what is left is checked.

use tollgate_core::limit::Month;
use tollgate_core::units::UnixNanos;

use super::Cluster;
use super::gateway::Node;
use crate::plan::{Personality, SECOND};

impl Cluster {
    /// Mends everything, after the last request.
    pub(super) fn heal(&self) {
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

    /// Sends a health check to every worker, so that one that was rebuilt finds out which node it is.
    pub(super) fn ping_all(&self, node: &Node) {
        for worker in &node.workers[..self.plan.nodes[node.number].workers] {
            self.ping(node, worker);
        }
    }

    /// Asks the store what every consumer has used, and checks what the gateways remember.
    pub(super) fn audit(&self) {
        // The store's clock may have been set.
        let hour = 3_600 * SECOND;
        let first = Month::of(UnixNanos(self.plan.start - hour)).0;
        let last = Month::of(UnixNanos(self.now().nanos() + hour)).0;
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
                    self.now().nanos(),
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
