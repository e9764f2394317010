//! Responses that a filter makes itself, and requests that it lets go on.

use wasmtime::{Caller, Linker};

use crate::abi::{Answer, Guest, Status, host_call, pairs_from_bytes};
use crate::exchange::Response;
use crate::headers::Headers;
use crate::rules::{Rule, RuleBroken};
use crate::world::{Step, World};

fn send(guest: &mut Guest<'_>, status: u32, body: Vec<u8>, headers: Headers, grpc_status: i32) -> Answer {
    let Some(stream) = guest.world().active.stream.clone() else { return Ok(Status::BadArgument) };
    let stream = &mut *stream.borrow_mut();
    let Ok(status) = u16::try_from(status) else { return Ok(Status::BadArgument) };
    let step = guest.world().active.step;
    if guest.is_kong() {
        if stream.local.is_some() {
            return Err(RuleBroken::new(Rule::SecondLocalResponse, "made a second local response"));
        }
        if stream.has_spent_buffer && !body.is_empty() {
            return Err(RuleBroken::new(Rule::BodyAfterLostCall, "made a local response with a body"));
        }
        if stream.response.is_some()
            || !matches!(step, Step::RequestHeaders | Step::RequestBody | Step::CallResponse)
        {
            return Err(RuleBroken::new(Rule::LateLocalResponse, "made a local response after the request"));
        }
    } else if stream.local.is_some() {
        return Ok(Status::Ok);
    }
    let broken = |value: &[u8]| value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    if !guest.is_kong() && headers.0.iter().any(|(_, value)| broken(value)) {
        return Err(RuleBroken::new(Rule::BrokenHeader, "made a local response with such a header"));
    }
    let response = Response { status, headers, body };
    let kind = stream.request.get(b"content-type").unwrap_or_default();
    stream.local = Some(if !guest.is_kong() && is_grpc(kind) {
        to_grpc(response, grpc_status)
    } else {
        finished(response, guest.is_kong())
    });
    Ok(Status::Ok)
}

/// Whether Envoy treats a request of this content type as gRPC.
fn is_grpc(kind: &[u8]) -> bool {
    kind == b"application/grpc" || kind.starts_with(b"application/grpc+")
}

/// Turns a response to a gRPC request into what Envoy makes of it: trailers alone, with the filter's status or else one that
/// follows from the HTTP status, and the body as their message.
fn to_grpc(response: Response, grpc_status: i32) -> Response {
    let code = match (grpc_status, response.status) {
        (0.., _) => grpc_status,
        (_, 401) => 16,
        (_, 403) => 7,
        (_, 429 | 502..=504) => 14,
        _ => 2,
    };
    let mut headers = response.headers;
    let mut set = |name: &[u8], value: &[u8]| {
        headers.remove(name);
        headers.add(name, value);
    };
    set(b"content-type", b"application/grpc");
    set(b"grpc-status", code.to_string().as_bytes());
    if !response.body.is_empty() {
        set(b"grpc-message", &response.body);
    }
    Response { status: 200, headers, body: Vec::new() }
}

/// The response as the host completes it.
fn finished(mut response: Response, kong: bool) -> Response {
    if kong && !response.body.is_empty() {
        response.body.push(b'\n');
    }
    if !response.body.is_empty() && response.headers.get(b"content-type").is_none() {
        response.headers.add(b"Content-Type", b"text/plain");
    }
    response.headers.add(b"Content-Length", response.body.len().to_string().as_bytes());
    response
}

/// Links the host calls.
pub fn link(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        |caller: Caller<'_, World>,
         status: u32,
         _details: u32,
         _details_len: u32,
         body: u32,
         body_len: u32,
         headers: u32,
         headers_len: u32,
         grpc_status: i32| {
            host_call(caller, "proxy_send_local_response", |guest| {
                let headers = Headers(pairs_from_bytes(&guest.bytes(headers, headers_len)?)?);
                let body = guest.bytes(body, body_len)?;
                send(guest, status, body, headers, grpc_status)
            })
        },
    )?;
    linker.func_wrap("env", "proxy_continue_stream", |caller: Caller<'_, World>, _kind: u32| {
        host_call(caller, "proxy_continue_stream", |guest| {
            let Some(stream) = guest.world().active.stream.clone() else { return Ok(Status::BadArgument) };
            stream.borrow_mut().resumed = true;
            Ok(Status::Ok)
        })
    })?;
    Ok(())
}
