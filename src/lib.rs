//! Tollgate: rate limits and quotas for API gateways, as one Proxy-Wasm filter for Kong, Envoy and Istio.
//!
//! # A request's walk
//!
//! 1. `filter` (wasm32 only) gets it from the gateway as one buffer of headers;
//! 2. [`request`] is a borrowed view of it;
//! 3. [`identity`] finds out who is calling and which [tier](policy::Tier) that gives them;
//! 4. [`endpoint`] says what the request costs;
//! 5. [`table`] holds what every client of this node has spent, and lets one worker at a time change it;
//! 6. [`limit`] checks every limit of the tier, then charges all of them, or none;
//! 7. [`headers`] tells the client where it stands, or why not now.
//!
//! With a store, a request spends what [`lease`] has borrowed for it. Under a policy that cannot work a worker of Kong's goes
//! on with the last that could, [`known_good`](table::known_good).
//!
//! [`engine`] is that order, and the only module that knows it. [`policy`] is what the operator wrote, as values that
//! cannot be wrong; [`units`] are the numbers. Time, randomness and bytes come in as arguments: nothing but `filter`
//! knows a clock or a gateway.

// In a test an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod capability;
pub mod endpoint;
pub mod engine;
pub mod headers;
pub mod identity;
pub mod lease;
pub mod limit;
pub mod policy;
pub mod request;
pub mod table;
pub mod units;

#[cfg(all(target_arch = "wasm32", target_os = "wasi"))]
mod filter;
