//! The API from outside: requests in, responses out, without a port. The clock is virtual.

mod access;
mod check;
mod customers;
mod document;
mod failing;
mod hostile;
mod leases;
mod overrides;
mod reserve;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tollgate_core::units::{Cost, UnixMicros};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tollgate_core::client::Client;
use tollgate_core::client::{ClientId, Namespace};
use tollgate_core::terms::{Offer, Rate};
use tollgate_core::wire::{Ask, Batch, CONTENT_TYPE, Entry, LeaseRequest, Reply};
use tower::ServiceExt;

use super::access::Tokens;
use super::state::{Bounds, Store};
use crate::backend::Backend;
use crate::backend::memory::Memory;

/// 2026-11-24T00:00:00Z.
const NOW: u64 = 1_795_478_400_000_000;
const SECOND: u64 = 1_000_000;
const UNIT: u64 = 1_000;

const GATEWAY: &str = "gateway-token-0001";
const ADMIN: &str = "admin-token-000001";

fn tokens() -> Tokens {
    Tokens { gateway: Some(GATEWAY.into()), admin: Some(ADMIN.into()) }
}

/// One replica.
struct Replica {
    now: Arc<AtomicU64>,
    backend: Arc<dyn Backend>,
    store: Arc<Store>,
    app: Router,
}

/// A response.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The detail of the problem document that this is.
    #[track_caller]
    fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header(header::CONTENT_TYPE), "application/problem+json");
        let document = self.json();
        assert_eq!(document["status"], status);
        assert_eq!(document["title"], self.status.canonical_reason().unwrap());
        document["detail"].as_str().unwrap().to_owned()
    }
}

impl Replica {
    fn new() -> Self {
        let now = Arc::new(AtomicU64::new(NOW));
        let clock = Arc::clone(&now);
        let memory = Memory::new(Arc::new(move || UnixMicros(clock.load(Ordering::Relaxed))));
        Self::on(Arc::new(memory), now, Bounds::default())
    }

    fn on(backend: Arc<dyn Backend>, now: Arc<AtomicU64>, bounds: Bounds) -> Self {
        let store = Store::new(Arc::clone(&backend), tokens(), bounds).unwrap();
        Self { now, backend, app: super::app(Arc::clone(&store)), store }
    }

    /// Another replica on the same backend.
    fn beside(&self) -> Self {
        Self::on(Arc::clone(&self.backend), Arc::clone(&self.now), Bounds::default())
    }

    fn pass(&self, micros: u64) {
        self.now.fetch_add(micros, Ordering::Relaxed);
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(json.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, ADMIN, None).await
    }

    async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, ADMIN, Some(body)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, ADMIN, Some(body)).await
    }

    async fn batch(&self, bytes: Vec<u8>) -> Answer {
        let request = Request::post("/v1/leases")
            .header(header::AUTHORIZATION, format!("Bearer {GATEWAY}"))
            .header(header::CONTENT_TYPE, CONTENT_TYPE);
        self.send(request.body(Body::from(bytes)).unwrap()).await
    }

    async fn lease(&self, batch: &Batch) -> Reply {
        let answer = self.batch(batch.to_bytes()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(answer.header(header::CONTENT_TYPE), CONTENT_TYPE);
        Reply::from_bytes(&answer.body).unwrap()
    }

    /// Charges whole units.
    async fn charge(&self, consumer: &str, cost: u64) -> Value {
        let body = json!({ "namespace": "n", "consumer": consumer, "tier": "free", "cost": cost, "policy": policy() });
        let answer = self.post("/v1/check", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }
}

/// The tiers that the tests use.
fn policy() -> Value {
    json!({ "tiers": {
        "free": { "rate": "100/minute", "burst": 1.5, "monthly": 50_000 },
        "pro": { "rate": "1000/minute", "burst": 1.5, "monthly": 1_000_000 },
        "enterprise": { "rate": "unlimited", "monthly": "unlimited" },
    }})
}

fn offer(tier: &str, units: u32, monthly: u64) -> Offer {
    let rates = vec![Rate { units, seconds: 60, burst: 150 }];
    Offer { tier: tier.into(), rates, monthly: Some(monthly) }
}

fn free() -> Offer {
    offer("free", 100, 50_000)
}

fn pro() -> Offer {
    offer("pro", 1_000, 1_000_000)
}

fn id(consumer: &str) -> ClientId {
    Namespace::new("n").id(&Client::Consumer(consumer.as_bytes()))
}

/// The batch of a node that wants `want` thousandths for `consumer`, who has the tier free.
fn wants(consumer: &str, seq: u32, want: u64, revision: u64) -> Batch {
    let lease = LeaseRequest { epoch: 1, seq, need: Cost(want), want: Cost(want), ..LeaseRequest::default() };
    Batch {
        namespace: "n".into(),
        node: 7,
        revision,
        offers: vec![free(), pro()],
        entries: vec![Entry {
            client: id(consumer),
            name: Some(consumer.into()),
            ask: Ask::Lease(lease),
            ..Entry::default()
        }],
    }
}
