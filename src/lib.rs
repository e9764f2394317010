//! Tollgate's filter: the Proxy-Wasm adapter, for wasm32 only.
//!
//! It reads a request, asks the engine (`tollgate_node::engine`), and passes the answer to the host. Nothing here decides, but
//! this is the only code that knows gateways. It uses the crates `tollgate_node` and `tollgate_core`.
//!
//! Begin with `root`, which gets the policy, and `http`, which follows one request. The other modules:
//!
//! | module | what it does |
//! | --- | --- |
//! | `host` | every difference between Kong and Envoy |
//! | `abi` | the calls into the host, as functions that cannot panic |
//! | `memory` | the node's shared memory, as one root finds it |
//! | `node_host` | what the store client needs of a gateway: the calls to the store |
//! | `first_ticks` | the ticks after a reload in which Kong may not call the store yet |
//! | `once` | requests that may pass the filter twice |
//! | `metrics` | the filter's metrics |
#![cfg(all(target_arch = "wasm32", target_os = "wasi"))]
// A macro generates the functions that the host calls, without documentation.
#![allow(missing_docs)]

mod abi;
mod first_ticks;
mod host;
mod http;
mod memory;
mod metrics;
mod node_host;
mod once;
mod root;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::<root::Root>::default());
}}
