//! What a worker does when no request is at hand.

use super::{Caller, NodeHost, StoreClient};
use crate::borrower::Call;
use crate::clock::Now;
use crate::engine::Engine;
use crate::engine::borrowing::{StoreReply, Worker};
use crate::table::Records;
use tollgate_core::units::Millis;
use tollgate_core::wire::MAX_ENTRIES;

/// For so many of those that wait a batch has room; the rest of it are reports. A store takes no longer one.
const WAITING: usize = MAX_ENTRIES / 2;

impl StoreClient {
    /// The tick: a slice of what has been answered is taken in, a slice of what is due is put together, and where it is time
    /// it goes to the store. Nobody waits for ever.
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
            // The host ends it at its timeout; should it not, another is sent all the same.
            let until = now.millis().after(timeout.times(4)).after(Millis(1_000));
            *self.batch.borrow_mut() = Some((call, until));
        }
    }

    /// The response to the tick's call is at hand.
    pub fn receive_batch(&self, engine: &Engine, host: &impl NodeHost) {
        let Some((call, _)) = self.batch.borrow_mut().take() else { return };
        *self.received.borrow_mut() = self.receive(engine, host, call, self.store.timeout);
        self.go_on(engine, host);
    }

    /// Goes on with what the last batch was answered; whether anything was left.
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

    /// The batch that is due: reports, and what requests ask for whose call has ended.
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
                    // Requests wait for them: they are taken in first.
                    call.batch.entries.splice(0..0, asked.batch.entries);
                }
            }
        }
        call
    }

    /// Decides about requests that wait for a call that is not theirs and does not come.
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
