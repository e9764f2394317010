//! What the store client needs of a gateway.

use crate::clock::NodeNanos;
use crate::engine::Ruling;
use crate::engine::borrowing::Question;
use crate::table::SharedData;
use tollgate_core::client::Network;
use tollgate_core::units::{Millis, UnixNanos};
use tollgate_core::wire::Batch;

/// A gateway, as one of its workers reaches it. *At hand* is the request or the root that the gateway has called for.
pub trait NodeHost {
    /// The node's shared data.
    type Shared: SharedData;
    /// The node's shared data.
    fn shared(&self) -> &Self::Shared;
    /// The node's clock: nobody sets it, and it is the same for all workers of a node.
    fn monotonic(&self) -> NodeNanos;
    /// The wall clock.
    fn wall(&self) -> UnixNanos;
    /// What the gateway calls this node; it asks the request at hand.
    fn node(&self) -> Vec<u8>;
    /// The network that the request at hand comes from.
    fn peer(&self) -> Network;
    /// Whether requests can be let go on that have made no call themselves.
    fn resumes_others(&self) -> bool;
    /// From here on everything is about the request of this context.
    fn speak_for(&self, context: u32);
    /// Sends a message to the store from what is at hand, which is the `caller`; whether it went out.
    fn dispatch(&self, caller: Caller, batch: &Batch, timeout: Millis) -> bool;
    /// The message in the response at hand; none where the call has failed.
    fn reply(&self) -> Option<Vec<u8>>;
    /// Whether the request at hand, whose call has failed, can make another.
    fn may_call_again(&self) -> bool;
    /// Does what `ruling` says about the request at hand, which has waited.
    fn conclude(&self, question: &Question, ruling: &Ruling);
    /// Counts and logs what has happened.
    fn report(&self, event: Event);
}

/// Who calls the store: a call from a request carries its message in a [header](tollgate_core::wire::header).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A request.
    Request,
    /// A worker's root, in its tick.
    Root,
}

/// What a gateway's operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request was decided without asking.
    Hit,
    /// A request has to ask.
    Miss,
    /// A call has ended.
    Called {
        /// Whether as it should.
        has_worked: bool,
        /// Whether requests may ask the store.
        is_up: bool,
    },
    /// The store has just been given up.
    Away,
    /// It is back.
    Back,
    /// It has just been given up: the gateway does not know where it is.
    NoRoute,
}
