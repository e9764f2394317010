//! What the `tollgate` command does besides reading its command line: it [`check`]s the policies in a file, and it
//! [`serve`]s the store's [`app`] with the [`settings`] it was given, on a [`backend`].

// In a test an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod app;
pub mod backend;
pub mod check;
pub mod policies;
pub mod serve;
pub mod settings;
