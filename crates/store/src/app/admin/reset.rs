//! `POST /v1/reset/{namespace}/{consumer}`: fills a consumer's buckets, sets its month back to zero, or both.

use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::{Action, Line};
use super::{Actor, check_reason};
use crate::app::body::Json;
use crate::app::name::ConsumerPath;
use crate::app::problem::AppError;
use crate::app::state::Store;
use crate::app::{endpoints, moment};

/// What to reset.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// Whether to fill every bucket.
    #[serde(default)]
    bucket: bool,
    /// Whether to set the current month's usage back to zero.
    #[serde(default)]
    month: bool,
    /// The reason, for the audit log.
    reason: String,
}

/// The answer to a reset.
#[derive(Serialize, ToSchema)]
pub struct Done {
    /// The namespace's revision that it came with.
    revision: u64,
}

/// Resets a consumer's buckets, its month, or both.
#[utoipa::path(
    post, path = endpoints::RESET, tag = "admins",
    params(("namespace" = String, Path), ("consumer" = String, Path), ("x-actor" = Option<String>, Header)),
    request_body = Reset, responses((status = 200, body = Done))
)]
pub async fn reset(
    State(store): State<Arc<Store>>,
    whose: ConsumerPath,
    Actor(actor): Actor,
    Json(reset): Json<Reset>,
) -> Result<Answered<Done>, AppError> {
    if !reset.bucket && !reset.month {
        return Err(AppError::Unprocessable("write bucket: true, month: true, or both".to_owned()));
    }
    check_reason(&reset.reason)?;
    let backend = store.backend.as_ref();
    let state = store.namespace(&whose.namespace).await?;
    let line = Line {
        at: moment::rfc3339(backend.now().await?),
        actor: &actor,
        action: Action::Reset,
        consumer: &whose.consumer,
        reason: &reset.reason,
        after: None,
        bucket: Some(reset.bucket),
        month: Some(reset.month),
    };
    let revision =
        backend.reset(&state.name, whose.client, reset.bucket, reset.month, line.to_bytes()).await?;
    state.refresh(backend).await?;
    Ok(Answered(Done { revision }))
}
