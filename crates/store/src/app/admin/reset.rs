//! `POST /v1/reset/{namespace}/{consumer}`: a full bucket, a month back at zero, or both.

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
    /// Every bucket is full again.
    #[serde(default)]
    bucket: bool,
    /// The running month is back at zero.
    #[serde(default)]
    month: bool,
    /// For the audit log.
    reason: String,
}

/// That it is done.
#[derive(Serialize, ToSchema)]
pub struct Done {
    /// The namespace's revision that brought it.
    revision: u64,
}

/// Makes a consumer's bucket, or its month, or both whole.
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
