//! Modules of a few instructions, for tests of the host itself.

use std::fmt::Write as _;

use tollgate_core::capability;
use tollgate_host::Module;

/// A module whose callbacks do only what is written here, in WebAssembly text, in which `@"text"` stands for the address and
/// the length of that text.
#[derive(Clone, Copy)]
pub struct SmallModule {
    /// Further imports.
    pub imports: &'static str,
    /// Further exports; they replace `memory` if they export one.
    pub exports: &'static str,
    /// `proxy_on_vm_start`: leaves nothing; answers 1.
    pub vm_start: &'static str,
    /// `proxy_on_configure`: leaves its answer.
    pub configure: &'static str,
    /// `proxy_on_tick`: leaves nothing.
    pub tick: &'static str,
    /// `proxy_on_request_headers`: leaves its action.
    pub request: &'static str,
    /// `proxy_on_response_headers`: leaves its action.
    pub response: &'static str,
    /// `proxy_on_response_body`: leaves its action.
    pub response_body: &'static str,
    /// `proxy_on_log`: leaves nothing.
    pub log: &'static str,
    /// `proxy_on_http_call_response`: leaves nothing.
    pub reply: &'static str,
}

/// The module that does nothing.
pub const NOTHING: SmallModule = SmallModule {
    imports: "",
    exports: r#"(export "memory" (memory $memory))"#,
    vm_start: "",
    configure: "(i32.const 1)",
    tick: "",
    request: "(i32.const 0)",
    response: "(i32.const 0)",
    response_body: "(i32.const 0)",
    log: "",
    reply: "",
};

/// Host calls under short names, each returning its status, and `$ok`, which traps unless a status is 0.
const IMPORTS: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))
  (import "env" "proxy_get_metric" (func $metric (param i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $headers (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
  (import "env" "proxy_get_log_level" (func $log_level (param i32) (result i32)))
"#;

/// The callbacks and the host calls that a module has.
pub fn capabilities() -> impl Iterator<Item = &'static str> {
    let quoted = |line: &'static str| line.split('"').nth(3);
    let callbacks = [capability::CALLBACKS, capability::IDLE_CALLBACKS].into_iter().flatten().copied();
    callbacks.chain(IMPORTS.lines().filter_map(quoted))
}

/// The address of a module's first text; results have room below 1024.
const TEXTS: usize = 1024;
/// It allocates from here.
const HEAP: usize = 32 << 10;

impl SmallModule {
    /// The compiled module.
    pub fn build(&self) -> Module {
        let text = format!(
            r#"(module
  {IMPORTS} {imports}
  (memory $memory 4)
  {exports}
  (global $heap (mut i32) (i32.const {HEAP}))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (i32.add (i32.const 1) (local.get $size)))))
  (func $ok (param $status i32) (if (local.get $status) (then unreachable)))
  (func $is (param $status i32) (param $wanted i32)
    (if (i32.ne (local.get $status) (local.get $wanted)) (then unreachable)))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param $id i32) (param i32) (result i32) {vm_start} (i32.const 1))
  (func (export "proxy_on_configure") (param $id i32) (param i32) (result i32) {configure})
  (func (export "proxy_on_tick") (param $id i32) {tick})
  (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32) {request})
  (func (export "proxy_on_response_headers") (param $id i32) (param i32 i32) (result i32) {response})
  (func (export "proxy_on_response_body") (param $id i32) (param i32 i32) (result i32) {response_body})
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) {reply})
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_log") (param $id i32) {log})
  (func (export "proxy_on_delete") (param i32))
  "#,
            imports = self.imports,
            exports = self.exports,
            vm_start = self.vm_start,
            configure = self.configure,
            tick = self.tick,
            request = self.request,
            response = self.response,
            response_body = self.response_body,
            log = self.log,
            reply = self.reply,
        );
        let wasm = wat::parse_str(with_texts(&text)).unwrap_or_else(|error| panic!("{error}"));
        Module::new(&wasm).unwrap()
    }
}

/// Puts every `@"text"` into the memory, and its address and length in its place. `\00` escapes as in WebAssembly.
fn with_texts(source: &str) -> String {
    let (mut code, mut data, mut at) = (String::new(), String::new(), TEXTS);
    let mut rest = source;
    while let Some(start) = rest.find("@\"") {
        code.push_str(&rest[..start]);
        let end = rest[start + 2..].find('"').expect("a closing quote") + start + 2;
        let text = &rest[start + 2..end];
        let len = text.len() - 2 * text.matches('\\').count();
        write!(code, "(i32.const {at}) (i32.const {len})").unwrap();
        write!(data, "(data (i32.const {at}) \"{text}\")").unwrap();
        at += len;
        rest = &rest[end + 1..];
    }
    assert!(at < HEAP, "texts reach into the heap");
    format!("{code}{rest}{data})")
}

/// A call to `store` with `:method`, `:path` and `:authority`; leaves its status.
pub const CALL: &str = r#"(call $call @"store" @"\03\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\05\00\00\00:method\00POST\00:path\00/\00:authority\00store\00" @"" @"" (i32.const 50) (i32.const 0))"#;
