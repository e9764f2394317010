//! A Tollgate node inside of a Python application.
//!
//! The decisions, headers and leases are those of [`tollgate_node`], and this crate is its [host](host::Host). It makes no calls
//! itself: Python takes the calls that a [`node::Node`] wants made to the store, and hands their replies back.

pub mod announced;
pub mod asked;
pub mod decision;
pub mod host;
pub mod memory;
pub mod node;
pub mod node_host;
pub mod outbox;
pub mod policy;

use pyo3::prelude::*;

/// The module `tollgate._tollgate`.
#[pymodule]
mod _tollgate {
    #[pymodule_export]
    use crate::announced::{ResponseHeaders, without_reserved};
    #[pymodule_export]
    use crate::decision::Decision;
    #[pymodule_export]
    use crate::node::{Node, StoreCall};
    #[pymodule_export]
    use crate::policy::{Policy, PolicyError};
}
