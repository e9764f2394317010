//! Drops from the built filter what no gateway calls, and everything that only it needs.
//!
//! The SDK exports a function for every callback of the ABI. Those for TCP streams, gRPC calls, queues and foreign
//! functions are never called for an HTTP filter that uses none of them. **The rest must stay**, also those that do
//! nothing (bodies, trailers, done, log): Kong's host calls them without looking whether they are there, and a
//! missing one is a crash of the worker. Those become functions that return a constant: the SDK's own look up the
//! request's context first, to call a method that does nothing, three times a request.
//!
//! Generic functions for types of one layout come out the same, byte for byte; the linker for Wasm keeps every copy. Here
//! one is kept of each.

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

/// Callbacks that the filter does not implement, how many numbers they take, and what they answer: go on (bodies and
/// trailers), there is nothing to wait for (done). That it implements none of them is looked for in its sources.
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
        // The SDK's traits call them so, those of requests with `http` in it.
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

/// The adapter's sources, where callbacks are implemented; seen from the project's root, where `make` is.
fn sources() -> Result<String> {
    let files = std::fs::read_dir("src").context("no src here")?;
    files.map(|file| Ok(std::fs::read_to_string(file?.path())?)).collect()
}

/// Puts a function that answers `answer` in the place of the exported function `name`.
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
