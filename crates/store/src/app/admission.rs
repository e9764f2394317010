//! Around every request: it is counted, timed, and bounded in number and time.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};

use super::problem::AppError;
use super::state::Store;

/// See the [module](self).
pub async fn watch(
    State(store): State<Arc<Store>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let call = call(request.method(), path.as_ref().map_or("", MatchedPath::as_str));
    let response = match store.requests.try_acquire() {
        Ok(_permit) => within(&store, next.run(request)).await,
        // Whoever looks whether the store lives must not be turned away because it has much to do.
        Err(_) if call == "operators" => within(&store, next.run(request)).await,
        Err(_) => AppError::Overloaded("the store has too much to do; try again").into_response(),
    };
    store.metrics.requests.with_label_values(&[call, outcome(response.status())]).inc();
    store.metrics.request_seconds.with_label_values(&[call]).observe(began.elapsed().as_secs_f64());
    response
}

async fn within(store: &Store, response: impl Future<Output = Response>) -> Response {
    timeout(store.bounds.request_time, response).await.unwrap_or_else(|_| {
        AppError::Overloaded("the call took longer than a call may take; send less, or try again")
            .into_response()
    })
}

/// The label of a call: its path's noun.
fn call(method: &Method, path: &str) -> &'static str {
    match path {
        "/v1/leases" => "leases",
        "/v1/check" => "check",
        "/v1/usage/{namespace}" => "usage_export",
        "/v1/usage/{namespace}/{consumer}" => "usage",
        "/v1/overrides/{namespace}" => "overrides",
        "/v1/overrides/{namespace}/{consumer}" if method == Method::PUT => "override_set",
        "/v1/overrides/{namespace}/{consumer}" if method == Method::DELETE => "override_remove",
        "/v1/overrides/{namespace}/{consumer}" => "override",
        "/v1/audit/{namespace}" => "audit",
        "/v1/reset/{namespace}/{consumer}" => "reset",
        "/healthz" | "/readyz" | "/metrics" | "/openapi.json" => "operators",
        _ => "unknown",
    }
}

/// The label of what became of it.
const fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        0..400 => "ok",
        401 | 403 => "denied",
        400..500 => "invalid",
        503 => "unavailable",
        _ => "error",
    }
}
