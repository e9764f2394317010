//! Drops from the built filter what no gateway calls, and everything that only it needs.
//!
//! The SDK exports a function for every callback of the ABI. Those for TCP streams, gRPC calls, queues and foreign
//! functions are never called for an HTTP filter that uses none of them. **The rest must stay**, also those that do
//! nothing (bodies, trailers, tick, done, log): Kong's host calls them without looking whether they are there, and a
//! missing one is a crash of the worker.
//!
//! Generic functions for types of one layout come out the same, byte for byte; the linker for Wasm keeps every copy. Here
//! one is kept of each.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use walrus::ir::{VisitorMut, dfs_pre_order_mut};
use walrus::{ElementItems, ExportItem, FunctionId, Module, ModuleConfig};
use wasmparser::{Parser, Payload};

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
    let parse = |bytes: &[u8]| {
        ModuleConfig::new()
            .generate_name_section(false)
            .generate_producers_section(false)
            .parse(bytes)
            .with_context(|| format!("{from} is not a Wasm module"))
    };
    let mut module = parse(&std::fs::read(from).with_context(|| format!("cannot read {from}"))?)?;
    for name in NEVER_CALLED {
        module.exports.remove(name).with_context(|| format!("{from} has no {name}: has the SDK changed?"))?;
    }
    walrus::passes::gc::run(&mut module);
    let mut bytes = module.emit_wasm();
    loop {
        // Functions that call different copies become the same once those are one.
        let mut module = parse(&bytes)?;
        if !share(&mut module, &bytes)? {
            break;
        }
        walrus::passes::gc::run(&mut module);
        bytes = module.emit_wasm();
    }
    std::fs::write(to, bytes).with_context(|| format!("cannot write {to}"))
}

/// Lets everything that refers to a copy of a function refer to the first; whether there was one. `bytes` are what
/// `module` was read from.
fn share(module: &mut Module, bytes: &[u8]) -> Result<bool> {
    let (mut types, mut bodies) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::FunctionSection(section) => types = section.into_iter().collect::<Result<_, _>>()?,
            Payload::CodeSectionEntry(body) => bodies.push(body.as_bytes()),
            _ => {}
        }
    }
    let mut first = HashMap::new();
    let mut copies = Copies(HashMap::new());
    // Functions come out of the parser in the order that they have in the module.
    for ((id, _), function) in module.funcs.iter_local().zip(types.into_iter().zip(bodies)) {
        let original = *first.entry(function).or_insert(id);
        if original != id {
            copies.0.insert(id, original);
        }
    }
    for (_, function) in module.funcs.iter_local_mut() {
        let entry = function.entry_block();
        dfs_pre_order_mut(&mut copies, function, entry);
    }
    for element in module.elements.iter_mut() {
        if let ElementItems::Functions(functions) = &mut element.items {
            functions.iter_mut().for_each(|id| copies.visit_function_id_mut(id));
        }
    }
    for export in module.exports.iter_mut() {
        if let ExportItem::Function(id) = &mut export.item {
            copies.visit_function_id_mut(id);
        }
    }
    Ok(!copies.0.is_empty())
}

/// Copies of functions, and the one that each is a copy of.
struct Copies(HashMap<FunctionId, FunctionId>);

impl VisitorMut for Copies {
    fn visit_function_id_mut(&mut self, id: &mut FunctionId) {
        if let Some(original) = self.0.get(id) {
            *id = *original;
        }
    }
}
