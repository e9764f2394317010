//! Tollgate's filter: the Proxy-Wasm adapter, and the only code that names the gateway.
//!
//! It reads a request, asks the [engine](tollgate_node::engine), and says the answer in the host's words. Nothing here
//! decides; every difference between hosts is in `host`.
#![cfg(all(target_arch = "wasm32", target_os = "wasi"))]
// The functions that the host calls are made by a macro, without documentation.
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
