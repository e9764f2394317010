//! `GET /v1/usage/…`: what consumers have used, one of them or all.

mod export;

use std::sync::Arc;
use tollgate_core::units::UnixMicros;

use crate::accounts::month_of;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tollgate_core::limit::Month;
use utoipa::{IntoParams, ToSchema};

use self::export::Format;
use super::amount::Units;
use super::body::QueryString;
use super::name::{ConsumerPath, NamespacePath};
use super::problem::AppError;
use super::state::Store;
use super::{endpoints, moment};
use crate::backend;

/// What one consumer used in one month.
#[derive(Serialize, ToSchema)]
pub struct Usage {
    namespace: String,
    consumer: String,
    /// The tier that it was last seen in.
    tier: String,
    /// `2026-11`, UTC.
    month: String,
    /// Cost units with up to three decimals.
    #[schema(value_type = f64)]
    used: Units,
    /// The month's quota; null if it is unlimited.
    #[schema(value_type = Option<f64>)]
    limit: Option<Units>,
    /// What is left of the quota; null if it is unlimited.
    #[schema(value_type = Option<f64>)]
    remaining: Option<Units>,
    /// When the month ends, as RFC 3339.
    resets_at: String,
}

impl Usage {
    fn of(namespace: &str, consumer: String, usage: backend::Usage, month: u16) -> Self {
        Self {
            namespace: namespace.to_owned(),
            consumer,
            tier: usage.tier,
            month: Month(month).to_string(),
            used: Units(usage.used),
            limit: usage.monthly.map(Units),
            remaining: usage.monthly.map(|quota| Units(quota.less(usage.used))),
            resets_at: moment::end_of(month),
        }
    }
}

/// The month to read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfMonth {
    /// The month, such as `2026-11`. The default is the current one.
    month: Option<String>,
}

/// The month to read, and the format.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfMonthAs {
    /// The month, such as `2026-11`. The default is the current one.
    month: Option<String>,
    /// json, which is the default, or csv.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// The month that is asked for, or else the current one; and the time.
async fn month(store: &Store, asked: Option<&str>) -> Result<(u16, UnixMicros), AppError> {
    let asked = asked.map(moment::month).transpose()?;
    let now = store.backend.now().await?;
    Ok((asked.unwrap_or_else(|| month_of(now)), now))
}

/// Reads what one consumer has used.
#[utoipa::path(
    get, path = endpoints::USAGE, tag = "usage",
    params(("namespace" = String, Path), ("consumer" = String, Path), OfMonth),
    responses((status = 200, body = Usage), (status = 404, description = "It was never seen."))
)]
pub async fn one(
    State(store): State<Arc<Store>>,
    whose: ConsumerPath,
    QueryString(asked): QueryString<OfMonth>,
) -> Result<Json<Usage>, AppError> {
    let (month, now) = month(&store, asked.month.as_deref()).await?;
    let state = store.namespace(&whose.namespace).await?;
    let client = whose.client;
    let Some(mut usage) = store.backend.usage(&whose.namespace, client, month).await? else {
        return Err(AppError::NotFound(
            "no gateway and no check has named this consumer in this namespace".to_owned(),
        ));
    };
    // An override counts from when it is set, and not from the next request.
    if let Some(tier) = state.overrides().offered(client, now).filter(|_| month == month_of(now)) {
        usage.tier.clone_from(&tier.offer.tier);
        usage.monthly = tier.terms.monthly;
    }
    Ok(Json(Usage::of(&whose.namespace, whose.consumer, usage, month)))
}

/// Streams what every consumer has used. If the backend fails on the way, the connection breaks, so a document with an
/// end is whole.
#[utoipa::path(
    get, path = endpoints::ALL_USAGE, tag = "usage",
    params(("namespace" = String, Path), OfMonthAs),
    responses((status = 200, content((Vec<Usage> = "application/json"), (String = "text/csv"))))
)]
pub async fn all(
    State(store): State<Arc<Store>>,
    NamespacePath(namespace): NamespacePath,
    QueryString(asked): QueryString<OfMonthAs>,
) -> Result<Response, AppError> {
    let (month, _) = month(&store, asked.month.as_deref()).await?;
    let usages = store.backend.usages(&namespace, month);
    let disposition =
        format!("attachment; filename=\"usage-{namespace}-{}.{}\"", Month(month), asked.format.extension());
    let head = [
        (header::CONTENT_TYPE, asked.format.content_type().to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let document = export::document(namespace, month, asked.format, usages).await?;
    Ok((head, Body::from_stream(document)).into_response())
}
