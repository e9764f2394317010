//! What a gateway node runs: the decision about a request, free of any host.
//!
//! # A request's walk
//!
//! 1. [`request`] is a borrowed view of what the gateway received;
//! 2. [`identity`] finds who is calling and which [tier](tollgate_core::tier::Tier) that gives them;
//! 3. [`endpoint`] finds what the request costs;
//! 4. [`table`] holds what every client of this node has spent, and lets one worker at a time change a client's record;
//! 5. [`account`](tollgate_core::account) checks every limit of the tier, then charges all of them or none;
//! 6. [`headers`](tollgate_core::headers) tells the client where it stands, or why not now.
//!
//! With a store, a request spends from the [`lease`] that the [`borrower`] has obtained; the [`breaker`] keeps requests from
//! waiting for a store that is down. Under a policy that cannot work, a worker of Kong continues with the last one that
//! could: [`known_good`](table::known_good).
//!
//! [`engine`] is that order, and the only module that knows it. A host implements [`request::Gateway`],
//! [`table::SharedData`] and, with a store, [`engine::store_client::NodeHost`].

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
