//! Tollgate's filter: the Proxy-Wasm adapter, and the only code that names the gateway.
//!
//! It reads a request, asks the engine (`tollgate_node::engine`), and passes the answer to the host. Nothing here decides.
//! Every difference between hosts is in `host`.
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
