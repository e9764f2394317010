//! The calls of Proxy-Wasm ABI 0.2.1 that the filter makes, as functions that cannot panic.
//!
//! The SDK's wrappers panic on a status they do not expect, copy every header into two strings, and refuse bytes that are
//! not UTF-8. A panic is an outage here, so these functions return the statuses as values, and what the host hands over is
//! borrowed from one buffer.
#![allow(unsafe_code)] // The foreign functions; each use says why it is sound.

use std::ptr::null_mut;

use tollgate_core::units::Millis;
use tollgate_node::clock::NodeNanos;

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u32);

impl Status {
    pub const OK: Self = Self(0);
    pub const NOT_FOUND: Self = Self(1);
    pub const CAS_MISMATCH: Self = Self(8);
}

/// A list of headers.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Map {
    Request = 0,
    Response = 2,
    CallResponse = 6,
}

/// The kind of a metric.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Kind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

const CALL_RESPONSE_BODY: u32 = 4;
const PLUGIN_CONFIGURATION: u32 = 7;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        length: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, size: usize, cas: u32)
    -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        argument: *const u8,
        argument_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
}

/// A buffer that the host has filled for us.
struct Handed {
    data: *mut u8,
    size: usize,
}

impl Handed {
    const fn nothing() -> Self {
        Self { data: null_mut(), size: 0 }
    }

    /// Takes ownership of the buffer. For zero bytes hosts hand over no buffer.
    fn into_bytes(self) -> Vec<u8> {
        if self.data.is_null() || self.size == 0 {
            return Vec::new();
        }
        // SAFETY: the host allocated it by `proxy_on_memory_allocate(size)`, which the SDK serves from a boxed slice of
        // exactly `size` bytes, and has given it away.
        unsafe { Vec::from_raw_parts(self.data, self.size, self.size) }
    }
}

/// Nanoseconds since the Unix epoch by the host's clock; zero if it has none.
pub fn now() -> u64 {
    let mut time = 0;
    // SAFETY: the host writes eight bytes to a place that is ours.
    unsafe { proxy_get_current_time_nanoseconds(&mut time) };
    time
}

/// A clock that nobody sets and that all workers of a node share. In Kong this clock and [`now`] advance in steps of a
/// millisecond.
pub fn monotonic() -> NodeNanos {
    const MONOTONIC: u32 = 1;
    let mut time = 0;
    // SAFETY: the host writes eight bytes to a place that is ours.
    unsafe { clock_time_get(MONOTONIC, 0, &mut time) };
    NodeNanos(time)
}

/// The filter's configuration, as the operator wrote it.
pub fn plugin_configuration() -> Vec<u8> {
    // A length that is too long does no harm in a 64-bit gateway; the greatest `u32` would in a 32-bit one.
    const ALL: usize = i32::MAX as usize;
    buffer(PLUGIN_CONFIGURATION, ALL)
}

/// The body of a call's response, at most `most` bytes of it.
pub fn call_response_body(most: usize) -> Vec<u8> {
    buffer(CALL_RESPONSE_BODY, most)
}

fn buffer(buffer: u32, most: usize) -> Vec<u8> {
    let mut handed = Handed::nothing();
    // SAFETY: the host writes a pointer and a length to places that are ours.
    let status = unsafe { proxy_get_buffer_bytes(buffer, 0, most, &mut handed.data, &mut handed.size) };
    if Status(status) == Status::OK { handed.into_bytes() } else { Vec::new() }
}

/// Requests a tick after each `interval`. Call it once per root context: the second call traps.
pub fn tick_every(interval: Millis) {
    let milliseconds = u32::try_from(interval.0).unwrap_or(u32::MAX);
    // SAFETY: plain numbers.
    unsafe { proxy_set_tick_period_milliseconds(milliseconds) };
}

/// Makes this context's request the subject of the following calls.
pub fn speak_for(context: u32) {
    // SAFETY: plain numbers.
    unsafe { proxy_set_effective_context(context) };
}

/// Resumes the request that [`speak_for`] named.
pub fn resume() {
    const REQUEST: u32 = 0;
    // SAFETY: plain numbers.
    unsafe { proxy_continue_stream(REQUEST) };
}

/// Sends a request to `upstream`; `None` if it did not go out. The SDK's own call knows which context gets the response; it
/// panics only on statuses that no host returns.
pub fn call(
    upstream: &str,
    headers: Vec<(&str, &str)>,
    body: &[u8],
    timeout: std::time::Duration,
) -> Option<u32> {
    proxy_wasm::hostcalls::dispatch_http_call(upstream, headers, Some(body), Vec::new(), timeout).ok()
}

/// All headers, in the form that [`tollgate_node::request::Headers`] reads.
pub fn headers(map: Map) -> Vec<u8> {
    let mut handed = Handed::nothing();
    // SAFETY: the host writes a pointer and a length to places that are ours.
    let status = unsafe { proxy_get_header_map_pairs(map as u32, &mut handed.data, &mut handed.size) };
    if Status(status) == Status::OK { handed.into_bytes() } else { Vec::new() }
}

/// One header.
pub fn header(map: Map, name: &[u8]) -> Option<Vec<u8>> {
    let mut handed = Handed::nothing();
    // SAFETY: the name lives until the call ends; the host writes a pointer and a length to places that are ours.
    let status = unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), &mut handed.data, &mut handed.size)
    };
    (Status(status) == Status::OK).then(|| handed.into_bytes())
}

/// Sets a header and replaces what was there.
pub fn set_header(map: Map, name: &[u8], value: &[u8]) {
    // SAFETY: both texts live until the call ends, and the host copies them.
    unsafe {
        proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    };
}

/// Adds a header and keeps what is there.
pub fn add_header(map: Map, name: &[u8], value: &[u8]) {
    // SAFETY: both texts live until the call ends, and the host copies them.
    unsafe { proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
}

/// Removes all copies of a header.
pub fn remove_header(map: Map, name: &[u8]) {
    // SAFETY: the name lives until the call ends.
    unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
}

/// A property. Zero bytes separate the segments of its path.
pub fn property(path: &[u8]) -> Option<Vec<u8>> {
    let mut handed = Handed::nothing();
    // SAFETY: the path lives until the call ends; the host writes a pointer and a length to places that are ours.
    let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &mut handed.data, &mut handed.size) };
    (Status(status) == Status::OK).then(|| handed.into_bytes())
}

/// Sets a property of the request.
pub fn set_property(path: &[u8], value: &[u8]) -> Status {
    // SAFETY: both live until the call ends, and the host copies them.
    Status(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

/// A value of shared data, and its version.
pub fn shared_data(key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
    let mut handed = Handed::nothing();
    let mut cas = 0;
    // SAFETY: the key lives until the call ends; the host writes to three places that are ours.
    let status = unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), &mut handed.data, &mut handed.size, &mut cas)
    };
    match Status(status) {
        Status::OK => Ok((handed.into_bytes(), cas)),
        status => Err(status),
    }
}

/// Writes shared data. Hosts differ in what `cas` means for a key that exists, or does not.
pub fn set_shared_data(key: &[u8], value: &[u8], cas: u32) -> Status {
    // SAFETY: both live until the call ends, and the host copies them.
    Status(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

/// `headers` in the form in which hosts take and return them.
pub fn pairs(headers: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut pairs = word(headers.len()).to_vec();
    for (name, value) in headers {
        pairs.extend_from_slice(&word(name.len()));
        pairs.extend_from_slice(&word(value.len()));
    }
    for (name, value) in headers {
        pairs.extend_from_slice(name.as_bytes());
        pairs.push(0);
        pairs.extend_from_slice(value);
        pairs.push(0);
    }
    pairs
}

/// Answers the request in place of the upstream. `grpc_status` is for hosts that turn the response into one of gRPC.
pub fn respond(status: u16, headers: &[(&str, Vec<u8>)], body: &[u8], grpc_status: Option<u8>) -> Status {
    const NOT_GRPC: i32 = -1;
    let pairs = pairs(headers);
    // SAFETY: everything lives until the call ends, and the host copies it.
    Status(unsafe {
        proxy_send_local_response(
            u32::from(status),
            null_mut(),
            0,
            body.as_ptr(),
            body.len(),
            pairs.as_ptr(),
            pairs.len(),
            grpc_status.map_or(NOT_GRPC, i32::from),
        )
    })
}

/// Defines a metric, or finds its number if it is defined already.
pub fn define_metric(kind: Kind, name: &str) -> Option<u32> {
    let mut id = 0;
    // SAFETY: the name lives until the call ends; the host writes to a place that is ours.
    let status = unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) };
    (Status(status) == Status::OK).then_some(id)
}

/// Adds to a counter.
pub fn count(id: u32, more: u32) {
    // SAFETY: plain numbers.
    unsafe { proxy_increment_metric(id, more.into()) };
}

/// Adds a value to a histogram, or sets a gauge.
pub fn record(id: u32, value: u64) {
    // SAFETY: plain numbers.
    unsafe { proxy_record_metric(id, value) };
}

/// The value of a counter or a gauge; a histogram must not be read.
pub fn metric(id: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: the host writes eight bytes to a place that is ours.
    let status = unsafe { proxy_get_metric(id, &mut value) };
    (Status(status) == Status::OK).then_some(value)
}

/// Calls a function of the host's own and ignores its answer. Kong has none, and traps.
pub fn call_foreign(name: &str, argument: &[u8]) {
    let mut handed = Handed::nothing();
    // SAFETY: both texts live until the call ends; the host writes a pointer and a length to places that are ours.
    unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            argument.as_ptr(),
            argument.len(),
            &mut handed.data,
            &mut handed.size,
        )
    };
    drop(handed.into_bytes());
}
