//! What a node's store client asks of its host: clocks, memory, and calls, which Python makes.

use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_core::client::Network;
use tollgate_core::units::{Millis, UnixNanos};
use tollgate_core::wire::Batch;
use tollgate_node::clock::NodeNanos;
use tollgate_node::engine::Ruling;
use tollgate_node::engine::borrowing::Question;
use tollgate_node::engine::store_client::{Caller as Calling, Event, NodeHost};
use tollgate_node::identity::network;

use crate::host::{Guest, Host};
use crate::memory::Memory;

impl NodeHost for Host {
    type Shared = Memory;

    fn shared(&self) -> &Memory {
        &self.memory
    }

    fn monotonic(&self) -> NodeNanos {
        /// The clock's first moment: what is measured from zero on lies before it.
        const BEGIN: NodeNanos = NodeNanos(60_000_000_000);
        let elapsed = || u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.clock.get().map_or_else(|| NodeNanos(BEGIN.0.saturating_add(elapsed())), |(_, node)| node)
    }

    #[allow(clippy::disallowed_methods, reason = "this is a host's clock, from which time comes in")]
    fn wall(&self) -> UnixNanos {
        self.clock.get().map_or_else(
            || {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
            },
            |(unix, _)| unix,
        )
    }

    fn node(&self) -> Vec<u8> {
        // The table's key is random in every process.
        Vec::new()
    }

    fn peer(&self) -> Network {
        match self.at_hand.get() {
            // It is asked about before it waits.
            Some(context) if context == self.last_request.get() => network(&self.last_peer.borrow()),
            Some(context) => self.guests.borrow().get(&context).map_or(Network::Unknown, Guest::network),
            None => Network::Unknown,
        }
    }

    fn resumes_others(&self) -> bool {
        true
    }

    fn speak_for(&self, context: u32) {
        self.at_hand.set(Some(context));
    }

    fn dispatch(&self, caller: Calling, batch: &Batch, timeout: Millis) -> bool {
        let request = match caller {
            Calling::Request => self.at_hand.get(),
            Calling::Root => None,
        };
        self.outbox.borrow_mut().want(request, batch, timeout);
        true
    }

    fn reply(&self) -> Option<Vec<u8>> {
        self.reply.borrow_mut().take()
    }

    fn may_call_again(&self) -> bool {
        true
    }

    fn conclude(&self, question: &Question, ruling: &Ruling) {
        let Some(context) = self.at_hand.get() else { return };
        let Some(guest) = self.guests.borrow_mut().remove(&context) else { return };
        let decision = self.guest_decision(guest, question, ruling);
        self.outbox.borrow_mut().decisions.push((context, decision));
    }

    fn report(&self, event: Event) {
        match event {
            Event::Away => self.outbox.borrow_mut().events.push("away"),
            Event::Back => self.outbox.borrow_mut().events.push("back"),
            Event::Hit | Event::Miss | Event::Called { .. } | Event::NoRoute => {}
        }
    }
}
