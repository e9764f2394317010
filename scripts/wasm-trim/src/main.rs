//! Drops from the built filter what no gateway calls, and everything that only it needs.
//!
//! The SDK exports a function for every callback of the ABI. Those for TCP streams, gRPC calls, queues and foreign
//! functions are never called for an HTTP filter that uses none of them. **The rest must stay**, also those that do
//! nothing (bodies, trailers, tick, done, log): Kong's host calls them without looking whether they are there, and a
//! missing one is a crash of the worker.

use anyhow::{Context, Result, bail};
use walrus::ModuleConfig;

const NEVER_CALLED: [&str; 11] = [
    "proxy_on_new_connection",
    "proxy_on_downstream_data",
    "proxy_on_downstream_connection_close",
    "proxy_on_upstream_data",
    "proxy_on_upstream_connection_close",
    "proxy_on_queue_ready",
    "proxy_on_grpc_receive_initial_metadata",
    "proxy_on_grpc_receive",
    "proxy_on_grpc_receive_trailing_metadata",
    "proxy_on_grpc_close",
    "proxy_on_foreign_function",
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, from, to] = arguments.as_slice() else { bail!("usage: wasm-trim FROM TO") };
    let mut module = ModuleConfig::new()
        .generate_name_section(false)
        .generate_producers_section(false)
        .parse_file(from)
        .with_context(|| format!("{from} is not a Wasm module"))?;
    for name in NEVER_CALLED {
        module.exports.remove(name).with_context(|| format!("{from} has no {name}: has the SDK changed?"))?;
    }
    walrus::passes::gc::run(&mut module);
    module.emit_wasm_file(to).with_context(|| format!("cannot write {to}"))
}
