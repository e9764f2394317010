//! `/healthz`, `/readyz` and `/metrics`, for operators. They need no token and tell nothing about consumers.

use std::sync::Arc;
use std::time::Duration;
use tollgate_core::units::MILLI_PER_UNIT;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::endpoints;
use super::problem::AppError;
use super::state::Store;
use crate::metrics;

/// How old a probe of the backend may be to be believed.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// Liveness: the process answers.
#[utoipa::path(get, path = endpoints::HEALTHZ, tag = "operators", responses((status = 200, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Readiness: the whole backend takes writes. Every charge is a write.
#[utoipa::path(
    get, path = endpoints::READYZ, tag = "operators",
    responses((status = 200, content_type = "text/plain"), (status = 503, description = "The backend takes no writes."))
)]
pub async fn readyz(State(store): State<Arc<Store>>) -> Result<&'static str, AppError> {
    if store.instrumented.is_up(SEEN_WITHIN).await { Ok("ready\n") } else { Err(AppError::Away) }
}

/// The metrics, as Prometheus text.
#[utoipa::path(
    get, path = endpoints::METRICS, tag = "operators",
    responses((status = 200, content_type = "text/plain", description = "Prometheus text."))
)]
pub async fn metrics(State(store): State<Arc<Store>>) -> Result<Response, AppError> {
    let is_up = store.instrumented.is_up(SEEN_WITHIN).await;
    if is_up && let Ok(now) = store.backend.now().await {
        store.metrics.leased_tokens.set(store.usage_metrics.leased(now).0 as f64 / MILLI_PER_UNIT as f64);
        store.usage_metrics.quotas.count(now, &store.metrics);
    }
    let text = store.metrics.text().map_err(|why| AppError::corrupt(&format!("metrics: {why}")))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
