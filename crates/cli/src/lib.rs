//! What the `tollgate` command does, besides reading its arguments, which is in `main.rs`.
//!
//! - [`lint`] is `tollgate check`: it finds the policies in a file and says what is wrong with them.
//! - [`policies`] reads the files of `tollgate store --policy`.
//! - [`invoice`] is `tollgate invoice`: it asks a store, and writes what customers have to pay.
//! - `tollgate store` itself is [`tollgate_store::serve::run`].
//!
//! The crate knows the policy parser of `tollgate-core`, the prices of `tollgate-billing`, the formats of Kong's and
//! Envoy's configurations, and of the store how to start it and what it answers about usage. Begin with [`lint::lint`].

// In a test, an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod invoice;
pub mod policies;

pub use tollgate_lint as lint;
