//! What the store client needs of a gateway.

use tollgate_core::client::Network;
use tollgate_core::units::{Millis, UnixNanos};
use tollgate_core::wire::Batch;

use crate::clock::NodeNanos;
use crate::engine::Ruling;
use crate::engine::borrowing::Question;
use crate::table::SharedData;

/// A gateway, as one of its workers reaches it. *At hand* is the request or the root for which the gateway has called.
pub trait NodeHost {
    /// The node's shared data.
    type Shared: SharedData;
    /// The node's shared data.
    fn shared(&self) -> &Self::Shared;
    /// The node's clock, which nobody sets and all workers of the node share.
    fn monotonic(&self) -> NodeNanos;
    /// The gateway's time of day.
    fn wall(&self) -> UnixNanos;
    /// The gateway's name for this node, read from the request at hand.
    fn node(&self) -> Vec<u8>;
    /// The network that the request at hand comes from.
    fn peer(&self) -> Network;
    /// Whether requests can be resumed that have made no call themselves.
    fn resumes_others(&self) -> bool;
    /// Makes the request of this context the one at hand.
    fn speak_for(&self, context: u32);
    /// Sends a message to the store from what is at hand, which is the `caller`; returns whether it went out.
    fn dispatch(&self, caller: Caller, batch: &Batch, timeout: Millis) -> bool;
    /// The message in the response at hand; `None` if the call has failed.
    fn reply(&self) -> Option<Vec<u8>>;
    /// Whether the request at hand, whose call has failed, can make another.
    fn may_call_again(&self) -> bool;
    /// Applies `ruling` to the request at hand, which has waited, and resumes it if it passes.
    fn conclude(&self, question: &Question, ruling: &Ruling);
    /// Counts and logs an event.
    fn report(&self, event: Event);
}

/// Who calls the store. A request's call carries its message in a [header](tollgate_core::wire::header).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A request.
    Request,
    /// A worker's root, in its tick.
    Root,
}

/// An event that a gateway's operator may want to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request was decided without asking the store.
    Hit,
    /// A request has to ask the store.
    Miss,
    /// A call has ended.
    Called {
        /// Whether it was answered.
        has_worked: bool,
        /// Whether requests may ask the store.
        is_up: bool,
    },
    /// The store has just been given up.
    Away,
    /// The store is back.
    Back,
    /// The store has just been given up, because the gateway has no route to it.
    NoRoute,
}
