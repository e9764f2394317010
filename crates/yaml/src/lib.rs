//! YAML, and so JSON, as a tree that knows its lines and columns, for messages that name the place of a mistake.
//!
//! [`read()`] makes a [`File`] of a text, whose documents are trees of [`Node`]s. Time and memory are in proportion to the text:
//! what aliases and merges add is bounded.

// In a test, an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod read;
mod tree;

pub use read::{Fault, File, Twice, read};
pub use tree::{Content, Field, Node, join, step};
