//! What a worker does when no request is at hand.

use tollgate_core::units::Millis;
use tollgate_core::wire::MAX_ENTRIES;

use super::{Caller, NodeHost, StoreClient};
use crate::borrower::Call;
use crate::clock::Now;
use crate::engine::Engine;
use crate::engine::borrowing::{StoreReply, Worker};
use crate::table::Records;

/// A batch has room for this many clients whose requests wait. The rest is for reports, since the store takes no longer batch.
const WAITING: usize = MAX_ENTRIES / 2;

impl StoreClient {
    /// The tick: decides requests that have waited too long, then applies a slice of the last reply, or else composes a slice
    /// of the next batch and sends the batch if it is due.
    pub fn tick(&self, engine: &Engine, host: &impl NodeHost) {
        let now = self.now(host);
        self.expire(engine, host, now);
        let is_under_way = self.batch.borrow().as_ref().is_some_and(|(_, until)| now.millis() < *until);
        if is_under_way || self.go_on(engine, host) {
            return;
        }
        let Some(call) = self.due(engine, host, now) else { return };
        let timeout = self.store.timeout;
        if self.dispatch(host, Caller::Root, &call, timeout, now.millis()) {
            // The host ends the call at its timeout. If it does not, another one is sent all the same.
            let until = now.millis().after(timeout.times(4)).after(Millis(1_000));
            *self.batch.borrow_mut() = Some((call, until));
        }
    }

    /// Makes the next call of a worker that is about to end, which reports what was spent on this node and returns its leases.
    /// Returns whether there was one to make. The host hands its response to [`receive_batch`](Self::receive_batch), and asks
    /// again until nothing is left. No request is decided meanwhile, and no tick comes.
    pub fn drain(&self, engine: &Engine, host: &impl NodeHost) -> bool {
        while self.go_on(engine, host) {}
        let now = self.now(host);
        let records = Records { table: engine.table(), data: host.shared(), now };
        let Some(call) = self.borrower.borrow_mut().drain(engine.policy(), &records) else { return false };
        let timeout = self.store.timeout;
        if self.dispatch(host, Caller::Root, &call, timeout, now.millis()) {
            *self.batch.borrow_mut() = Some((call, now.millis().after(timeout)));
        }
        true
    }

    /// Receives the response at hand, to the tick's call.
    pub fn receive_batch(&self, engine: &Engine, host: &impl NodeHost) {
        let Some((call, _)) = self.batch.borrow_mut().take() else { return };
        *self.received.borrow_mut() = self.receive(engine, host, call, self.store.timeout);
        self.go_on(engine, host);
    }

    /// Applies a slice of the last batch's reply; returns whether there was anything to apply.
    fn go_on(&self, engine: &Engine, host: &impl NodeHost) -> bool {
        let Some(mut received) = self.received.borrow_mut().take() else { return false };
        let is_more = self.apply_slice(engine, host, &mut received);
        for id in self.queue.clients() {
            self.release(engine, host, &id);
        }
        if is_more {
            *self.received.borrow_mut() = Some(received);
        }
        true
    }

    /// The batch that is due: reports, and what is asked for requests that wait without a call.
    fn due(&self, engine: &Engine, host: &impl NodeHost, now: Now) -> Option<Call> {
        let mut waiting = self.queue.leaderless();
        waiting.truncate(WAITING);
        let mut borrower = self.borrower.borrow_mut();
        let records = Records { table: engine.table(), data: host.shared(), now };
        let mut call = borrower.compose(engine.policy(), &records, waiting.len());
        let mut worker = Worker { data: host.shared(), borrower: &mut borrower, now };
        for (question, demand) in waiting {
            let Some(asked) = engine.ask(&question, demand, &mut worker) else { continue };
            match &mut call {
                None => call = Some(asked),
                Some(call) => {
                    call.batch.entries.retain(|entry| entry.client != question.id);
                    // Requests wait for these entries, so their answers are applied first.
                    call.batch.entries.splice(0..0, asked.batch.entries);
                }
            }
        }
        call
    }

    /// Decides requests that have waited too long for a call that is not theirs.
    fn expire(&self, engine: &Engine, host: &impl NodeHost, now: Now) {
        for waiting in self.queue.late(now.millis()) {
            host.speak_for(waiting.context);
            self.queue.remove(&waiting);
            if let Some(ruling) = self.decide(engine, host, &waiting, self.now(host), StoreReply::Silent) {
                waiting.finish(host, ruling);
            }
        }
    }
}
