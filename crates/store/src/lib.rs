//! The store lends gateways what they may spend, and keeps what consumers have used. It runs as `tollgate store`.
//!
//! It knows `tollgate-core` and nothing of gateways: what they send is in [`wire`](tollgate_core::wire), and what they
//! run is in a crate that this one does not see. Inside, dependencies point one way:
//!
//! ```text
//! serve, settings ─▶ app ─▶ backend ─▶ accounts, customers
//!                     └───┬───┘
//!                      metrics
//! ```
//!
//! - [`accounts`]: one client's account and its arithmetic, and why the limit holds over all nodes.
//! - [`customers`]: who pays for a consumer, from which day to which.
//! - [`backend`]: where accounts are kept: in memory, in a file, or in Redis with the same arithmetic in Lua.
//! - [`app`]: the HTTP API, with one table of its [endpoints](app::endpoints).
//! - [`serve`]: runs the API from the operator's [`settings`].
//! - [`metrics`]: what Prometheus reads.
//!
//! Begin with [`Account::apply`](accounts::Account::apply), which is what the store is for. Then follow a batch from
//! [`app::leases`] through [`backend::AccountStore::apply`] down to it.

// In a test, an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod accounts;
pub mod app;
pub mod backend;
pub mod customers;
mod locks;
pub mod metrics;
pub mod serve;
pub mod settings;
