//! One request on its way through the gateway.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::abi::{self, Map};
use super::host::HostGateway;
use super::once::Configured;
use super::root::Ready;
use crate::engine::{Answer, Ruling};
use crate::headers::{self, Document};
use crate::identity::Caller;
use crate::policy::ANONYMOUS;
use crate::request::{Headers, Request};
use crate::units::UnixNanos;

/// The context of one request.
pub struct Http {
    ready: Option<Rc<Ready>>,
    response: Response,
}

/// What is left to do when the response comes.
enum Response {
    /// Nothing: the policy is off, another Tollgate has decided, or the response is ours and complete.
    AsItIs,
    /// The headers of this ruling; none for a request that costs nothing.
    Announce(Option<Ruling>),
}

impl Http {
    pub const fn new(ready: Option<Rc<Ready>>) -> Self {
        Self { ready, response: Response::AsItIs }
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(ready) = &self.ready else { return Action::Continue };
        if Configured::is_one_of_several() && ready.host.was_seen_before() {
            return Action::Continue;
        }
        let start = abi::now();
        let bytes = abi::headers(Map::Request);
        let headers = Headers::new(&bytes);
        strip(&headers);
        let request = Request::new(headers, &HostGateway);
        let Some(answer) = ready.engine.decide(&request, &ready.host, UnixNanos(start)) else {
            return Action::Continue;
        };
        if let Some(ruling) = &answer.ruling {
            ready.metrics.count(ruling);
            if let Some(document) = ready.engine.document(ruling) {
                respond(ready, ruling, &document);
                ready.metrics.time(start);
                return Action::Pause;
            }
        }
        introduce(ready, &answer);
        self.response = Response::Announce(answer.ruling);
        ready.metrics.time(start);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if let (Some(ready), Response::Announce(ruling)) = (&self.ready, &self.response) {
            ready.engine.announce(ruling.as_ref(), |name, value| match value {
                Some(value) => ready.host.set_response_header(name, value),
                None => abi::remove_header(Map::Response, name.as_bytes()),
            });
        }
        Action::Continue
    }
}

/// Takes away what a client may not tell the upstream in Tollgate's name.
fn strip(headers: &Headers<'_>) {
    for (name, _) in headers.iter().filter(|(name, _)| headers::is_reserved(name)) {
        abi::remove_header(Map::Request, name);
    }
    if headers.may_be_cut() {
        let names =
            headers::X_RATELIMIT.into_iter().chain(headers::X_QUOTA).chain([headers::UPSTREAM_CONSUMER]);
        names.for_each(|name| abi::remove_header(Map::Request, name.as_bytes()));
    }
}

/// Tells the upstream who is calling.
fn introduce(ready: &Ready, answer: &Answer<'_>) {
    match &answer.caller {
        Caller::Consumer { name, tier } => {
            let tier = ready.engine.policy().tier(*tier);
            abi::set_header(Map::Request, headers::UPSTREAM_TIER, tier.name.as_bytes());
            if name.iter().any(u8::is_ascii_control) {
                // A name that would be two headers; the gateway's own tables should not have it.
                let printable: Vec<u8> =
                    name.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }).collect();
                abi::set_header(Map::Request, headers::UPSTREAM_CONSUMER, &printable);
            } else {
                abi::set_header(Map::Request, headers::UPSTREAM_CONSUMER, name);
            }
        }
        Caller::Stranger => abi::set_header(Map::Request, headers::UPSTREAM_TIER, ANONYMOUS.as_bytes()),
    }
}

/// Answers in the upstream's place, with everything in one call into the host.
fn respond(ready: &Ready, ruling: &Ruling, document: &Document) {
    let mut all: Vec<(&str, Vec<u8>)> = Vec::with_capacity(10);
    ready.engine.announce(Some(ruling), |name, value| {
        if let Some(value) = value {
            all.push((name, value.to_vec()));
        }
    });
    all.push(("Retry-After", document.retry_after.to_string().into_bytes()));
    all.push(("Cache-Control", b"no-store".to_vec()));
    all.push(("Content-Type", b"application/problem+json".to_vec()));
    abi::respond(document.status, &all, document.body.as_bytes());
}
