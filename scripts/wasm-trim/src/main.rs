//! Removes from the built filter what no gateway calls, and everything that only it needs.
//!
//! The SDK exports a function for every callback of the ABI. No gateway calls those for TCP streams, gRPC calls, queues and
//! foreign functions on an HTTP filter that uses none of them. **The rest must stay**, even those that do nothing (bodies,
//! trailers, done, log): Kong's host calls them without checking that they exist, and a missing one crashes the worker.
//! They become functions that return a constant: the SDK's own first look up the request's context, three times per
//! request, to call a method that does nothing.
//!
//! Generic functions over types of one layout are the same, byte for byte, and the Wasm linker keeps every copy. This keeps
//! one of each.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use walrus::ir::{VisitorMut, dfs_pre_order_mut};
use walrus::{ElementItems, ExportItem, FunctionBuilder, FunctionId, Module, ModuleConfig, ValType};
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

/// The callbacks that the filter does not implement, the number of their parameters, and their result: continue (bodies and
/// trailers), or nothing to wait for (done). The sources are searched for implementations of them.
const CONSTANT: [(&str, usize, Option<i32>); 6] = [
    ("proxy_on_request_body", 3, Some(0)),
    ("proxy_on_request_trailers", 2, Some(0)),
    ("proxy_on_response_body", 3, Some(0)),
    ("proxy_on_response_trailers", 2, Some(0)),
    ("proxy_on_done", 1, Some(1)),
    ("proxy_on_log", 1, None),
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
    let sources = sources()?;
    for (name, parameters, answer) in CONSTANT {
        let callback = name.trim_start_matches("proxy_");
        // The SDK's traits use this name, and those of requests have `http` in it.
        for method in [callback.to_owned(), callback.replacen("on_", "on_http_", 1)] {
            if sources.contains(&format!("fn {method}(")) {
                bail!("src implements {method}, which would never be called: take {name} off CONSTANT");
            }
        }
        make_constant(&mut module, name, parameters, answer)?;
    }
    walrus::passes::gc::run(&mut module);
    let mut bytes = module.emit_wasm();
    loop {
        // Functions that call different copies become the same once those copies are one.
        let mut module = parse(&bytes)?;
        if !share(&mut module, &bytes)? {
            break;
        }
        walrus::passes::gc::run(&mut module);
        bytes = module.emit_wasm();
    }
    std::fs::write(to, bytes).with_context(|| format!("cannot write {to}"))
}

/// The adapter's sources, where callbacks are implemented, relative to the project's root, where `make` runs.
fn sources() -> Result<String> {
    let files = std::fs::read_dir("src").context("no src here")?;
    files.map(|file| Ok(std::fs::read_to_string(file?.path())?)).collect()
}

/// Replaces the exported function `name` by one that returns `answer`.
fn make_constant(module: &mut Module, name: &str, parameters: usize, answer: Option<i32>) -> Result<()> {
    let old =
        module.exports.get_func(name).with_context(|| format!("no export {name}: has the SDK changed?"))?;
    let parameters = vec![ValType::I32; parameters];
    let results: Vec<ValType> = answer.iter().map(|_| ValType::I32).collect();
    let signature = module.types.get(module.funcs.get(old).ty());
    if signature.params() != parameters || signature.results() != results {
        bail!("{name} has another signature: has the SDK changed?");
    }
    let arguments = parameters.iter().map(|kind| module.locals.add(*kind)).collect();
    let mut builder = FunctionBuilder::new(&mut module.types, &parameters, &results);
    if let Some(answer) = answer {
        builder.func_body().i32_const(answer);
    }
    let new = builder.finish(arguments, &mut module.funcs);
    module.exports.remove(name)?;
    module.exports.add(name, new);
    Ok(())
}

/// Replaces every reference to a copy of a function by one to the first copy; returns whether there was one. `bytes` are
/// what `module` was read from.
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
    // The parser gives functions in the module's order.
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

/// The copies of functions, each with the function that it is a copy of.
struct Copies(HashMap<FunctionId, FunctionId>);

impl VisitorMut for Copies {
    fn visit_function_id_mut(&mut self, id: &mut FunctionId) {
        if let Some(original) = self.0.get(id) {
            *id = *original;
        }
    }
}
