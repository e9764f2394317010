//! What messages say, as lines of the trace.

use tollgate_core::client::{Client, ClientId, Namespace};
use tollgate_core::wire::{Answer, Ask, Batch, Entry, Reply};
use tollgate_node::table::Fingerprint;

use super::Cluster;
use super::gateway::Node;
use crate::plan::NAMESPACE;

impl Cluster {
    /// Traces a line for each client that `message` is about.
    pub fn trace_message(&self, call: u64, message: &[u8]) {
        if !self.log.is_traced() {
            return;
        }
        for entry in Batch::from_bytes(message).map(|batch| batch.entries).unwrap_or_default() {
            let said = match entry.ask {
                Ask::Charge { cost } => format!("charge {cost}"),
                Ask::Lease(lease) => format!(
                    "epoch {} seq {} spent {} acked {} day {} before it {} holds {} needs {} queued {} wants {}",
                    lease.epoch,
                    lease.seq,
                    lease.spent,
                    lease.acked,
                    lease.day,
                    lease.spent_before_day,
                    lease.hold,
                    lease.need,
                    lease.queued,
                    lease.want
                ),
            };
            let client = self.number_of(&entry.client);
            self.trace(client, || format!("  call {call} says of client {client:?}: {said}"));
        }
    }

    /// Traces a line for each client that a reply is about.
    pub fn trace_reply(&self, call: u64, message: &[u8], reply: &[u8]) {
        if !self.log.is_traced() {
            return;
        }
        let entries: Vec<Entry> = Batch::from_bytes(message).map(|batch| batch.entries).unwrap_or_default();
        let Ok(reply) = Reply::from_bytes(reply) else { return };
        for change in &reply.changes {
            let client = self.number_of(&change.client);
            self.trace(client, || format!("  call {call} brings a change of {client:?}: {:?}", change.what));
        }
        for (entry, answer) in entries.iter().zip(&reply.answers) {
            let said = match answer {
                Answer::Grant(grant) => format!(
                    "seq {} spent {} may hold {} for {} ms, idle {}, used {:?}, month {}, {:?}",
                    grant.seq,
                    grant.spent,
                    grant.hold,
                    grant.ttl.0,
                    grant.idle.0,
                    grant.used,
                    grant.month_used,
                    grant.refusal
                ),
                other => format!("{other:?}"),
            };
            let client = self.number_of(&entry.client);
            self.trace(client, || format!("  call {call} is told of client {client:?}: {said}"));
        }
    }

    /// Traces every record of a node's table.
    pub fn trace_records(&self, node: &Node) {
        let root = node.workers.first().and_then(super::gateway::Worker::root);
        let Some(root) = root.filter(|_| self.log.is_traced()) else { return };
        let table = root.engine.table();
        for slot in 0..table.geometry().count() {
            table.each(&node.shared, slot, |record, _| {
                let client = self.number_of(&Fingerprint::id_of(record.client));
                self.trace(client, || {
                    format!("node {} has of client {client:?}: {:?}", node.number, record.state)
                });
            });
        }
    }

    fn number_of(&self, id: &ClientId) -> Option<u32> {
        let namespace = Namespace::new(NAMESPACE);
        let is_it = |name: &Option<String>| {
            name.as_ref().is_some_and(|name| namespace.id(&Client::Consumer(name.as_bytes())) == *id)
        };
        self.plan.clients.iter().position(|client| is_it(&client.name)).map(|number| number as u32)
    }
}
