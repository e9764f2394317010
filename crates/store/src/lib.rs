//! The store: it lends gateways what they may spend, and keeps what consumers have used.
//!
//! [`accounts`] is the arithmetic of one client's account: what is lent, spent, and left. [`backend`] keeps the accounts: in
//! memory, in a file (redb), or in Redis. [`app`] is the HTTP API above it, and [`serve`] runs that API from the operator's
//! [`settings`].

// In a test an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod accounts;
pub mod app;
pub mod backend;
mod locks;
pub mod metrics;
pub mod serve;
pub mod settings;
