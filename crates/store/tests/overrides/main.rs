//! Overrides and customers under many admins at once, on every backend, and the cost of a change among thousands.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

mod cost;
mod customers;
mod races;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tollgate_store::app::access::Tokens;
use tollgate_store::app::state::{Bounds, Store};
use tollgate_store::app::{self};
use tollgate_store::backend::Backend;
use tower::ServiceExt as _;

/// One replica, used through its API.
#[derive(Clone)]
struct Replica(Router);

impl Replica {
    fn on(backend: &Arc<dyn Backend>) -> Self {
        let bounds = Bounds { requests: 100_000, ..Bounds::default() };
        Self(app::app(Store::new(Arc::clone(backend), Tokens::default(), bounds).unwrap()))
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Body::empty, |json| Body::from(json.to_string()));
        let response = self.0.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Reports the tiers to the namespace.
    async fn know_tiers(&self) {
        let tiers =
            json!({ "tiers": { "free": { "rate": "100/minute" }, "pro": { "rate": "1000/minute" } } });
        let check = json!({ "namespace": "n", "consumer": "someone", "tier": "free", "policy": tiers });
        let (status, answer) = self.send(Method::POST, "/v1/check", Some(check)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    async fn put(&self, consumer: &str, reason: &str) -> (StatusCode, Value) {
        let wish = json!({ "tier": "pro", "reason": reason });
        self.send(Method::PUT, &format!("/v1/overrides/n/{consumer}"), Some(wish)).await
    }

    async fn delete(&self, consumer: &str, reason: &str) -> StatusCode {
        let path = format!("/v1/overrides/n/{consumer}?reason={reason}");
        self.send(Method::DELETE, &path, None).await.0
    }

    /// All lines of the log, oldest first.
    async fn log(&self) -> Vec<Value> {
        let (mut lines, mut before) = (Vec::new(), String::new());
        loop {
            let (_, page) = self.send(Method::GET, &format!("/v1/audit/n?limit=1000{before}"), None).await;
            lines.extend(page["lines"].as_array().unwrap().iter().cloned());
            match page["next"].as_u64() {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        lines.reverse();
        lines
    }
}
