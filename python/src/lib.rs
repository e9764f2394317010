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

use std::net::{IpAddr, SocketAddr};

use pyo3::prelude::*;

/// The address in `text`, as a proxy writes it: with or without a port, and IPv6 with or without brackets. None: there is none.
fn address(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    Some(parsed.ok()?.to_canonical().to_string())
}

/// Whether a path is routed in one way only: with an empty segment it is another route to an application than to a policy.
fn has_one_reading(path: &[u8]) -> bool {
    let has_empty = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'?']);
    path == b"/" || !path.is_empty() && !path.ends_with(b"/") && !path.windows(2).any(has_empty)
}

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
    use pyo3::pyfunction;

    /// The address in what a proxy writes.
    #[pyfunction]
    fn address(text: &str) -> Option<String> {
        super::address(text)
    }

    /// Whether a path is routed in one way only.
    #[pyfunction]
    fn has_one_reading(path: &[u8]) -> bool {
        super::has_one_reading(path)
    }
}
