//! What the filter needs of a gateway, by the names in the Proxy-Wasm ABI. A gateway has to grant nothing else.
//!
//! Envoy can restrict a module to these *capabilities* (`capability_restriction_config`). That is the least privilege, and
//! it spares callbacks that do nothing: the module exports them because Kong calls them whether they exist or not, and
//! Envoy calls, on every request, those that exist and are granted.
//!
//! Tests compare the built module with these lists, and Envoy's sample grants exactly these.

/// The callbacks that do something.
pub const CALLBACKS: &[&str] = &[
    "proxy_on_vm_start",
    "proxy_on_context_create",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_request_headers",
    "proxy_on_response_headers",
    "proxy_on_http_call_response",
    "proxy_on_delete",
];

/// The callbacks that the module exports only for Kong, and that do nothing.
pub const IDLE_CALLBACKS: &[&str] = &[
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_done",
    "proxy_on_log",
];

/// The calls that the filter makes.
pub const CALLS: &[&str] = &[
    "proxy_log",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_set_effective_context",
    "proxy_get_buffer_bytes",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_http_call",
    "proxy_send_local_response",
    "proxy_continue_stream",
    "proxy_call_foreign_function",
];

/// The calls that the filter makes in Kong alone.
pub const CALLS_IN_KONG: &[&str] = &["proxy_get_metric"];

/// The WASI functions that the gateway provides: clock, randomness, the environment for tokens, and the standard error for
/// last words.
pub const SYSTEM_CALLS: &[&str] =
    &["clock_time_get", "random_get", "environ_get", "environ_sizes_get", "fd_write"];

/// Every capability that has to be granted.
pub fn all() -> impl Iterator<Item = &'static str> {
    [CALLBACKS, CALLS, SYSTEM_CALLS].into_iter().flatten().copied()
}
