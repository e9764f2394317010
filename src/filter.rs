//! The Proxy-Wasm adapter: the only code that names the gateway. It reads a request, asks the [engine](crate::engine),
//! and says the answer in the host's words; every difference between hosts is in `host`.

mod abi;
mod first_ticks;
mod host;
mod http;
mod lender;
mod memory;
mod metrics;
mod once;
mod root;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::<root::Root>::default());
}}
