//! The store's HTTP API.
//!
//! ```text
//! request ─▶ watch: counted, bounded in number and time ─▶ access: whose token ─▶ a handler ─▶ Backend
//!              leases   gateways report and borrow           usage      who used what
//!              check    one decision for an application      overrides, reset, audit: admins
//! ```
//!
//! What namespaces have in common is in [`namespace`]: the [tiers](tier) that gateways tell of, and the
//! [index](override_index) of overrides and resets that all nodes are told of. Every error becomes a [problem] document.

pub mod access;
mod admission;
pub mod amount;
pub mod audit;
pub mod body;
pub mod check;
pub mod health;
pub mod leases;
pub mod metrics;
pub mod moment;
pub mod name;
pub mod namespace;
pub mod openapi;
pub mod override_index;
pub mod override_spec;
pub mod overrides;
pub mod problem;
pub mod quota_metrics;
pub mod reset;
pub mod state;
pub mod tier;
pub mod usage;
pub mod usage_metrics;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use self::problem::AppError;
use self::state::Store;

/// The API on `store`. Somebody has to [keep up](Store::keep_up) with other replicas beside it.
pub fn app(store: Arc<Store>) -> Router {
    let overrides = get(overrides::get).put(overrides::put).delete(overrides::delete);
    Router::new()
        .route("/v1/leases", post(leases::take).layer(DefaultBodyLimit::max(body::LONGEST_BATCH)))
        .route("/v1/check", post(check::check))
        .route("/v1/usage/{namespace}", get(usage::all))
        .route("/v1/usage/{namespace}/{consumer}", get(usage::one))
        .route("/v1/overrides/{namespace}", get(overrides::list))
        .route("/v1/overrides/{namespace}/{consumer}", overrides)
        .route("/v1/audit/{namespace}", get(audit::read))
        .route("/v1/reset/{namespace}/{consumer}", post(reset::reset))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::serve))
        .layer(DefaultBodyLimit::max(body::LONGEST))
        .method_not_allowed_fallback(|| async { AppError::MethodNotAllowed })
        .fallback(|| async { AppError::NotFound("there is no such path; see /openapi.json".to_owned()) })
        .layer(from_fn_with_state(Arc::clone(&store), admission::watch))
        .with_state(store)
}

#[cfg(test)]
mod tests;
