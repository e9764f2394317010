//! What the `tollgate` command does besides reading its arguments.
//!
//! [`lint`] checks the policies in a file; [`policies`] reads those that `tollgate store --policy` names.

// In a test an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod lint;
pub mod policies;
