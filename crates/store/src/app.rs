//! The store's HTTP API.
//!
//! ```text
//! request ─▶ admission: bounded, counted, its token checked ─▶ a handler, by the table of endpoints ─▶ Backend
//!              leases   gateways report and borrow           usage   who used what
//!              check    one decision for an application      admin   overrides, resets, customers, the audit log
//!              reserve  the same, and its cost is held until settle says the real one
//! ```
//!
//! Begin with [`endpoints`], the table. [`namespace`] has what the calls about one namespace share: the [tiers](tier)
//! that gateways offer, and the [index](override_index) of overrides and resets that every node is sent. Every error
//! becomes a [problem] document.

pub mod access;
pub mod admin;
mod admission;
pub mod amount;
pub mod body;
pub mod check;
pub mod endpoints;
pub mod health;
pub mod leases;
pub mod moment;
pub mod name;
pub mod namespace;
pub mod openapi;
pub mod override_index;
pub mod problem;
pub mod quota_metrics;
pub mod reservation;
pub mod reserve;
pub mod settle;
pub mod state;
pub mod tier;
pub mod usage;
pub mod usage_metrics;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;

use self::problem::AppError;
use self::state::Store;

/// The API on `store`. The caller has to poll [`Store::keep_up`] beside it.
pub fn app(store: Arc<Store>) -> Router {
    endpoints::routes()
        .layer(DefaultBodyLimit::max(body::LONGEST))
        .method_not_allowed_fallback(|| async { AppError::MethodNotAllowed })
        .fallback(|| async { AppError::NotFound("there is no such path; see /openapi.json".to_owned()) })
        .layer(from_fn_with_state(Arc::clone(&store), admission::admit))
        .with_state(store)
}

#[cfg(test)]
mod tests;
