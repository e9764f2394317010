//! One request on its way through the gateway.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use tollgate_core::headers::{self, Document};
use tollgate_core::tier::ANONYMOUS;
use tollgate_core::units::{Cost, UnixNanos};
use tollgate_node::engine::settling::Said;
use tollgate_node::engine::store_client::{Admission, StoreClient, Waiting};
use tollgate_node::engine::{AppliedTier, Ruling};
use tollgate_node::identity::Caller;
use tollgate_node::request::{Headers, Request};

use super::abi::{self, Map};
use super::host::{HostGateway, HostKind};
use super::once::Configured;
use super::root::Ready;

/// The context of one request.
///
/// Only the two callbacks about headers are implemented. Bodies, trailers, done and log do nothing, so `scripts/wasm-trim`
/// replaces them by constants; it fails if one of them is implemented here.
pub struct Http {
    context: u32,
    ready: Option<Rc<Ready>>,
    response: Response,
    /// Its wait for the store, if it waits or has waited.
    waiting: Option<Rc<Waiting>>,
}

/// What is left to do when the response comes.
enum Response {
    /// Nothing: the policy is off, another Tollgate has decided, or the response is ours and complete.
    AsItIs,
    /// Set the headers of this ruling; `None` for a request that costs nothing.
    Announce(Option<Ruling>),
    /// Set those of the ruling that was found while the request waited, unless it refused the request.
    AsWaited,
}

impl Http {
    pub const fn new(context: u32, ready: Option<Rc<Ready>>) -> Self {
        Self { context, ready, response: Response::AsItIs, waiting: None }
    }

    /// Applies `ruling` to the current request, which does not wait.
    fn finish(&mut self, ready: &Ready, caller: &Caller<'_>, ruling: Option<Ruling>) -> Action {
        let passes = match caller {
            Caller::Consumer { name, tier } => {
                conclude(ready, ruling.as_ref(), Some(name), &AppliedTier::Tier(*tier))
            }
            Caller::Anonymous => conclude(ready, ruling.as_ref(), None, &AppliedTier::Anonymous),
        };
        if !passes {
            return Action::Pause;
        }
        self.response = Response::Announce(ruling);
        Action::Continue
    }

    /// What the coming response has to announce; `None` if nothing.
    fn unannounced(&mut self, ready: &Ready) -> Option<Option<Ruling>> {
        match std::mem::replace(&mut self.response, Response::AsItIs) {
            Response::AsItIs => None,
            Response::Announce(ruling) => Some(ruling),
            Response::AsWaited => {
                let waited = self.waiting.as_ref().and_then(|waiting| waiting.ruling());
                waited.filter(|ruling| !ready.engine.refuses(ruling)).map(Some)
            }
        }
    }

    /// Decides with the help of a store.
    fn borrow(
        &mut self,
        ready: &Ready,
        store_client: &StoreClient,
        request: &Request<'_, HostGateway>,
    ) -> Action {
        match store_client.decide_or_wait(&ready.engine, ready, self.context, request) {
            Admission::Off => Action::Continue,
            Admission::Decided(answer) => self.finish(ready, &answer.caller, answer.ruling),
            Admission::Waits(waiting) => {
                self.response = Response::AsWaited;
                self.waiting = Some(waiting);
                Action::Pause
            }
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        let Some(ready) = self.ready.take() else { return };
        if let (Some(store_client), Some(waiting)) = (&ready.store_client, &self.waiting) {
            store_client.forget(waiting);
        }
        if ready.host == HostKind::Envoy
            && let Some(ruling) = self.unannounced(&ready)
        {
            ready.recreated.keep(ruling);
        }
    }
}

impl Context for Http {
    fn on_http_call_response(&mut self, _: u32, _: usize, _: usize, _: usize) {
        if let (Some(ready), Some(waiting)) = (&self.ready, &self.waiting)
            && let Some(store_client) = &ready.store_client
        {
            store_client.receive_answer(&ready.engine, ready.as_ref(), waiting);
            ready.metrics.evictions(&ready.engine);
        }
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, count: usize, _: bool) -> Action {
        let Some(ready) = self.ready.clone() else { return Action::Continue };
        if Configured::is_one_of_several() && ready.host.was_seen_before() {
            return Action::Continue;
        }
        let start = ready.metrics.start();
        let (bytes, are_all) = ready.host.request_headers(count);
        let headers = if are_all { Headers::new(&bytes) } else { Headers::part(&bytes) };
        if ready.host == HostKind::Envoy
            && (headers.names().any(headers::is_reserved) || ready.recreated.may_come_unannounced())
            && let Some(ruling) = ready.recreated.take()
        {
            // The headers in Tollgate's name are those that were set when the request was charged.
            self.response = Response::Announce(ruling);
            return Action::Continue;
        }
        if !strip(ready.host, &headers) {
            refuse_forgery();
            return Action::Pause;
        }
        let gateway = HostGateway(ready.host);
        let request = Request::new(headers, &gateway);
        let action = if let Some(store_client) = &ready.store_client {
            self.borrow(&ready, store_client, &request)
        } else {
            let now = UnixNanos(start.unwrap_or_else(abi::now));
            match ready.engine.decide(&request, &ready.host, now) {
                Some(answer) => self.finish(&ready, &answer.caller, answer.ruling),
                None => return Action::Continue,
            }
        };
        ready.metrics.evictions(&ready.engine);
        if let Some(start) = start {
            ready.metrics.time(start);
        }
        action
    }

    fn on_http_response_headers(&mut self, count: usize, _: bool) -> Action {
        let Some(ready) = self.ready.clone() else { return Action::Continue };
        let Some(mut ruling) = self.unannounced(&ready) else { return Action::Continue };
        let bytes = ready.host.response_headers(count);
        let listed = bytes.as_deref().map(Headers::new);
        if let Some(ruling) = &mut ruling {
            settle(&ready, ruling, listed.as_ref());
        }
        let may_be_there = listed.is_none_or(|listed| listed.names().any(headers::is_announced));
        ready.host.set_response_header(headers::UPSTREAM_COST, None, may_be_there);
        ready.engine.announce(ruling.as_ref(), |name, value| {
            ready.host.set_response_header(name, value, may_be_there);
        });
        Action::Continue
    }
}

/// Applies `ruling` to the current request; returns whether the request goes on to the upstream. `name` is its consumer's, and
/// `under` the tier that the consumer has if the ruling did not apply another.
#[inline(never)]
pub fn conclude(ready: &Ready, ruling: Option<&Ruling>, name: Option<&[u8]>, under: &AppliedTier) -> bool {
    if let Some(ruling) = ruling {
        ready.metrics.count(ruling);
        if let Some(document) = ready.engine.document(ruling) {
            respond(ready, ruling, &document);
            return false;
        }
    }
    let tier = if name.is_some() { tier_name(ready, ruling, under) } else { ANONYMOUS };
    introduce(ready, tier, name, ruling.map_or(Cost::FREE, |ruling| ruling.charged));
    true
}

/// Settles the charge in `ruling` by the response at hand, whose headers are `listed` if the host lets them be read at once.
#[inline(never)]
fn settle(ready: &Ready, ruling: &mut Ruling, listed: Option<&Headers<'_>>) {
    let header = |name: &str| match listed {
        Some(listed) => {
            let mut lines = listed.values(name.as_bytes());
            let first = lines.next()?;
            // Several lines are one list, which is neither a status nor a cost.
            Some(if lines.next().is_some() { b",".to_vec() } else { first.to_vec() })
        }
        None => abi::header(Map::Response, name.as_bytes()),
    };
    let Some(charge) = &ruling.charge else { return };
    let status = header(":status").and_then(|status| str::from_utf8(&status).ok()?.parse().ok());
    let said = ready.engine.said(charge, status, || header(headers::UPSTREAM_COST_LOWER));
    ready.metrics.settled(said);
    let cost = match said {
        Said::Nothing | Said::Malformed => return,
        Said::Cost(cost) => cost,
        Said::Refunded => Cost(0),
    };
    match &ready.store_client {
        Some(store_client) => {
            store_client.settle(&ready.engine, ready, ruling, cost);
        }
        None => {
            ready.engine.settle(ruling, cost, &ready.host, UnixNanos(abi::now()).into());
        }
    }
}

/// Removes the headers by which a client would speak to the upstream in Tollgate's name; false if that is not possible.
fn strip(host: HostKind, headers: &Headers<'_>) -> bool {
    let mut is_done = true;
    for name in headers.names().filter(|name| headers::is_reserved(name)) {
        is_done &= host.remove_request_header(name);
    }
    if headers.is_part() {
        for name in headers::reserved_names().filter(|name| abi::header(Map::Request, name).is_some()) {
            is_done &= host.remove_request_header(&name);
        }
    }
    is_done
}

/// Refuses a request with several copies of a header that only the gateway may send, if the host cannot remove them.
#[inline(never)]
fn refuse_forgery() {
    const BODY: &str = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"X-Quota-* and X-RateLimit-* are the gateway's to send."}"#;
    let kind = ("Content-Type", b"application/problem+json".to_vec());
    abi::respond(400, &[kind], BODY.as_bytes(), None);
}

/// A consumer's tier: the one that the ruling applied, or `otherwise` if that was the address's.
fn tier_name<'a>(ready: &'a Ready, ruling: Option<&'a Ruling>, otherwise: &'a AppliedTier) -> &'a str {
    let decided = ruling.map(|ruling| &ruling.under).filter(|under| **under != AppliedTier::Anonymous);
    &ready.engine.tier(decided.unwrap_or(otherwise)).name
}

/// Tells the upstream who is calling and what was charged, if the policy says so.
#[inline(never)]
fn introduce(ready: &Ready, tier: &str, consumer: Option<&[u8]>, charged: Cost) {
    if !ready.engine.policy().tells_upstream {
        return;
    }
    let host = ready.host;
    host.tell_upstream(headers::UPSTREAM_TIER, tier.as_bytes());
    headers::write_cost(charged, |cost| host.tell_upstream(headers::UPSTREAM_COST, cost));
    let Some(name) = consumer else { return };
    if name.iter().any(u8::is_ascii_control) {
        // Such a name would make two headers; the gateway's own tables should have none.
        let printable: Vec<u8> =
            name.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }).collect();
        host.tell_upstream(headers::UPSTREAM_CONSUMER, &printable);
    } else {
        host.tell_upstream(headers::UPSTREAM_CONSUMER, name);
    }
}

/// Answers in place of the upstream, with everything in one call into the host.
#[inline(never)]
fn respond(ready: &Ready, ruling: &Ruling, document: &Document) {
    let mut all: Vec<(&str, Vec<u8>)> = Vec::with_capacity(10);
    ready.engine.announce(Some(ruling), |name, value| {
        if let Some(value) = value {
            all.push((name, value.to_vec()));
        }
    });
    all.push(("Retry-After", document.retry_after.to_string().into_bytes()));
    all.push(("Cache-Control", b"no-store".to_vec()));
    if abi::header(Map::Request, b"content-type").is_some_and(|kind| headers::is_grpc(&kind)) {
        ready.host.respond_to_grpc(document, all);
        return;
    }
    all.push(("Content-Type", b"application/problem+json".to_vec()));
    abi::respond(document.status, &all, document.body.as_bytes(), None);
}
