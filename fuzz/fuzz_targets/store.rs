//! The store's HTTP API: whatever is sent to any path, nothing panics, no answer is a 5xx, and a refusal is a problem document.
//!
//! An input is requests, one after the other, each ended by a line `---`: `METHOD /path?query`, headers, an empty line, the
//! body. `WAIT 1500` lets that many milliseconds pass and has the store do its upkeep.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tollgate_core::units::UnixMicros;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tollgate_core::wire::{Batch, CONTENT_TYPE, Reply};
use tollgate_store::app::access::Tokens;
use tollgate_store::app::app;
use tollgate_store::app::state::{Bounds, Store};
use tollgate_store::backend::memory::Memory;
use tower::ServiceExt;

/// 2026-11-30T23:59:50Z: the month ends soon.
const NOW: u64 = 1_796_083_190_000_000;
const MOST: usize = 12;

/// One request, ready to be sent more than once.
struct Call {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// The response to a request.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

fuzz_target!(|bytes: &[u8]| {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        static GUARDED: Router = replica(&Arc::default(), Tokens { gateway: Some("gateway".into()), admin: None }).1;
    }
    let guarded = GUARDED.with(Router::clone);
    RUNTIME.with(|runtime| runtime.block_on(run(bytes, &guarded)));
});

async fn run(bytes: &[u8], guarded: &Router) {
    let now = Arc::new(AtomicU64::new(NOW));
    let (store, open) = replica(&now, Tokens::default());
    for text in split(bytes, b"\n---\n").take(MOST) {
        let Some(call) = Call::read(text) else { continue };
        if call.method.as_str() == "WAIT" {
            let millis: u64 = call.target.parse().unwrap_or(0);
            now.fetch_add(millis.min(1 << 40) * 1_000, Ordering::Relaxed);
            store.refresh().await;
            continue;
        }
        let Some(answer) = call.send(&open).await else { continue };
        answer.is_sound(&call);
        call.is_as_it_means(&answer, &open).await;
        // Without a token the store reveals nothing.
        if call.target.starts_with("/v1") && !call.headers.contains_key(header::AUTHORIZATION) {
            let answer = call.send(guarded).await.expect("it was sent before");
            assert!(
                answer.status.is_client_error(),
                "{} {} without a token: {}",
                call.method,
                call.target,
                answer.status
            );
            answer.is_sound(&call);
        }
    }
}

fn replica(now: &Arc<AtomicU64>, tokens: Tokens) -> (Arc<Store>, Router) {
    let clock = Arc::clone(now);
    let memory = Memory::new(Arc::new(move || UnixMicros(clock.load(Ordering::Relaxed))));
    let store = Store::new(Arc::new(memory), tokens, Bounds::default()).expect("metrics");
    (Arc::clone(&store), app(store))
}

impl Call {
    fn read(text: &[u8]) -> Option<Self> {
        let mut parts = split(text, b"\n\n");
        let head = std::str::from_utf8(parts.next()?).ok()?;
        let body = text.get(head.len() + 2..).unwrap_or_default().to_vec();
        let mut lines = head.lines();
        let (method, target) = lines.next()?.split_once(' ')?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ")?;
            headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        Some(Self { method: method.parse().ok()?, target: target.to_owned(), headers, body })
    }

    /// The answer; `None` if no HTTP server hands such a request on.
    async fn send(&self, app: &Router) -> Option<Answer> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.target)
            .body(Body::from(self.body.clone()))
            .ok()?;
        *request.headers_mut() = self.headers.clone();
        let Ok(response) = app.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body that does not break off").to_vec();
        Some(Answer { status: head.status, headers: head.headers, body })
    }

    /// Checks that `answer` fits the call.
    async fn is_as_it_means(&self, answer: &Answer, app: &Router) {
        if !answer.status.is_success() {
            return;
        }
        let path = self.target.split(['?', '#']).next().unwrap_or_default();
        match (self.method.as_str(), path) {
            ("POST", "/v1/leases") => {
                let batch = Batch::from_bytes(&self.body).expect("a batch was taken");
                let reply = Reply::from_bytes(&answer.body).expect("a reply");
                assert_eq!(batch.entries.len(), reply.answers.len());
                assert_eq!(reply.to_bytes(), answer.body);
            }
            ("POST", "/v1/check") => decision(&answer.json()),
            ("POST", "/v1/reserve") => {
                let held = answer.json();
                decision(&held);
                let reservation = held.get("reservation").and_then(Value::as_str);
                assert_eq!(
                    held.get("expires_at").is_some_and(Value::is_string),
                    reservation.is_some(),
                    "{held}"
                );
                if let Some(reservation) = reservation {
                    settles_once(reservation, app).await;
                }
            }
            ("PUT", path) if path.starts_with("/v1/overrides/") || path.starts_with("/v1/customers/") => {
                let get = Self {
                    method: Method::GET,
                    target: self.target.clone(),
                    headers: HeaderMap::new(),
                    body: vec![],
                };
                let got = get.send(app).await.expect("the same path");
                assert_eq!(
                    (got.status, got.json()),
                    (StatusCode::OK, answer.json()),
                    "what is set is what is read"
                );
            }
            ("GET", path) if path.starts_with("/v1/usage/") && path.matches('/').count() == 4 => {
                let usage = answer.json();
                let number = |name: &str| usage.get(name).and_then(Value::as_f64);
                if let (Some(used), Some(limit), Some(left)) =
                    (number("used"), number("limit"), number("remaining"))
                {
                    assert!((left - (limit - used).max(0.0)).abs() < 0.01, "{usage}");
                }
            }
            _ => {}
        }
    }
}

/// Checks that a reservation is settled once, and that a repeated call gets the same answer.
async fn settles_once(reservation: &str, app: &Router) {
    let settle = async |cost: u8| {
        let body = format!(r#"{{"reservation":"{reservation}","cost":{cost}}}"#).into_bytes();
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let call = Call {
            method: Method::POST,
            target: "/v1/settle".to_owned(),
            headers: headers.into_iter().collect(),
            body,
        };
        call.send(app).await.expect("a sound request")
    };
    // An earlier input may have settled it, or let its time pass.
    let first = settle(2).await;
    let again = settle(2).await;
    assert_eq!((first.status, first.body), (again.status, again.body), "{reservation}");
    if first.status == StatusCode::OK {
        assert_eq!(settle(3).await.status, StatusCode::CONFLICT, "{reservation}");
    }
}

/// Checks that a decision's fields agree.
fn decision(decision: &Value) {
    let number = |name: &str| decision.get(name).and_then(Value::as_u64);
    let is_allowed = decision.get("allowed").and_then(Value::as_bool).expect("allowed");
    assert_eq!(number("status"), Some(if is_allowed { 200 } else { 429 }), "{decision}");
    assert_eq!(decision.get("problem").is_some_and(Value::is_object), !is_allowed, "{decision}");
    if let (Some(limit), Some(remaining)) = (number("limit"), number("remaining")) {
        assert!(remaining <= limit, "{decision}");
    }
    assert!(number("retry_after").is_none_or(|seconds| seconds >= 1 && !is_allowed), "{decision}");
}

impl Answer {
    fn is_sound(&self, call: &Call) {
        let told = || {
            format!(
                "{} {}: {} {}",
                call.method,
                call.target,
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        };
        assert!(!self.status.is_server_error(), "{}", told());
        let kind = self.headers.get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().expect("a text"));
        // An answer to HEAD has no body.
        if call.method == Method::HEAD {
            return;
        }
        if self.status.is_client_error() {
            assert_eq!(kind, "application/problem+json", "{}", told());
            let document = self.json();
            let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
            assert_eq!(text("type"), "about:blank", "{}", told());
            assert_eq!(Some(text("title")), self.status.canonical_reason(), "{}", told());
            assert_eq!(
                document.get("status").and_then(Value::as_u64),
                Some(self.status.as_u16().into()),
                "{}",
                told()
            );
            assert!(!text("detail").is_empty(), "{}", told());
            return;
        }
        match kind {
            "application/json" => drop(self.json()),
            CONTENT_TYPE => assert!(Reply::from_bytes(&self.body).is_ok(), "{}", told()),
            "" => assert!(self.body.is_empty(), "{}", told()),
            kind => {
                assert!(kind.starts_with("text/") && std::str::from_utf8(&self.body).is_ok(), "{}", told())
            }
        }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// The parts of `bytes` between `separator`s.
fn split<'a>(bytes: &'a [u8], separator: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let found = bytes.windows(separator.len()).position(|part| part == separator);
        rest = found.map(|at| &bytes[at + separator.len()..]);
        Some(&bytes[..found.unwrap_or(bytes.len())])
    })
}
