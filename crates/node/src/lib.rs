//! What a gateway node runs: it decides about requests, inside the gateway.
//!
//! This crate uses [`tollgate_core`] and knows no host: neither a gateway's name nor a clock, randomness or a network. A host
//! implements [`request::Gateway`], [`table::SharedData`] and, with a store, [`engine::store_client::NodeHost`]. The filter,
//! the Python package and the simulator are such hosts.
//!
//! # A request's walk
//!
//! Begin with [`engine`], the only module that knows this order:
//!
//! 1. [`request`] is a borrowed view of what the gateway received.
//! 2. [`identity`] finds who is calling, and which [tier](tollgate_core::tier::Tier) the caller has.
//! 3. [`endpoint`] finds what the request costs.
//! 4. [`table`] holds what every client of this node has spent, and lets one worker at a time change a client's record.
//! 5. [`account`](tollgate_core::account) checks every limit of the tier, and then charges all of them or none.
//! 6. [`headers`](tollgate_core::headers) tells the client where it stands, or why it is refused.
//!
//! # With a store
//!
//! A request spends from a lease, whose [state](lease) is in the client's record. The [`borrower`] obtains leases and reports
//! what was spent; [`engine::borrowing`] decides by them, and [`engine::store_client`] makes the calls and lets requests wait
//! for them. The [`breaker`] keeps requests from waiting for a store that is down. [`clock`] has a node's clocks.
//!
//! Under a policy that cannot work, a worker of Kong continues with the last one that could:
//! [`known_good`](table::known_good).

// In a test an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod borrower;
pub mod breaker;
pub mod clock;
pub mod endpoint;
pub mod engine;
pub mod identity;
pub mod lease;
pub mod request;
pub mod table;
