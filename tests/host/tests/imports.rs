//! The built module itself: what it imports, what it exports, and how large it is.

use std::collections::BTreeSet;

use tollgate_core::capability;
use tollgate_host::{Module, abi, module, wasi};

const MAX_BYTES: usize = 466 << 10;
const GOAL_BYTES: usize = 256 << 10;

fn tollgate() -> Module {
    Module::tollgate().unwrap_or_else(|error| panic!("{error:#}"))
}

/// A call that both hosts have: the SDK imports it, but the filter does not make it.
const NOT_MADE: &str = "proxy_set_header_map_pairs";

#[test]
fn the_module_imports_only_what_both_hosts_have() {
    let named_alone = abi::NOT_IN_KONG.iter().chain(abi::NOT_MODELLED).map(|(name, _)| *name);
    let proxy: Vec<&str> = capability::CALLS
        .iter()
        .chain(capability::CALLS_IN_KONG)
        .copied()
        .chain([NOT_MADE])
        .chain(named_alone)
        .collect();
    for (from, name) in tollgate().imports() {
        let known: &[&str] = match from.as_str() {
            "env" => &proxy,
            "wasi_snapshot_preview1" => wasi::IN_KONG,
            _ => &[],
        };
        assert!(
            known.contains(&name.as_str()),
            "imports {name} from {from}, which Kong or Envoy does not have"
        );
    }
}

#[test]
fn the_module_exports_what_both_hosts_call() {
    let functions = tollgate().functions();
    for name in module::EXPORTS.iter().copied().filter(|name| *name != "memory").chain([
        "_initialize",
        "proxy_on_request_headers",
        "proxy_on_response_headers",
        "proxy_on_delete",
    ]) {
        assert!(functions.iter().any(|function| function == name), "exports no {name}: {functions:?}");
    }
}

#[test]
fn what_has_to_be_granted_is_what_the_module_uses() {
    let (module, exported) = (tollgate(), tollgate().functions());
    for name in [capability::CALLS, capability::CALLS_IN_KONG, capability::SYSTEM_CALLS].concat() {
        assert!(module.imports().iter().any(|(_, import)| import == name), "{name} is never called");
    }
    // The filter's own tests show that nothing is missing: their Envoy grants nothing else.
    let callbacks: BTreeSet<&str> = exported.iter().map(String::as_str).filter(is_callback).collect();
    let listed = capability::CALLBACKS.iter().chain(capability::IDLE_CALLBACKS);
    assert_eq!(callbacks, listed.copied().collect());
}

fn is_callback(name: &&str) -> bool {
    name.starts_with("proxy_on_") && *name != "proxy_on_memory_allocate"
}

#[test]
fn the_module_is_small() {
    let bytes = module::tollgate_bytes().unwrap_or_else(|error| panic!("{error:#}")).len();
    println!(
        "tollgate.wasm: {bytes} bytes, {} KiB; at most {} KiB, goal {} KiB",
        bytes >> 10,
        MAX_BYTES >> 10,
        GOAL_BYTES >> 10
    );
    assert!(bytes <= MAX_BYTES, "{bytes} bytes are more than {MAX_BYTES}");
}
