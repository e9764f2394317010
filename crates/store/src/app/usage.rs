//! `GET /v1/usage/…`: what consumers have used, one of them or all.

mod days;
mod export;

use std::sync::Arc;
use tollgate_core::units::UnixMicros;

use crate::accounts::month_of;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use tollgate_core::limit::Month;
use tollgate_core::name;
use tollgate_core::spreadsheet::inert;
use utoipa::{IntoParams, ToSchema};

use self::days::UsageByDay;
use self::export::{Format, Row};
use super::amount::Units;
use super::body::QueryString;
use super::name::{ConsumerPath, NamespacePath};
use super::problem::AppError;
use super::state::Store;
use super::{endpoints, moment};
use crate::backend::{self, BackendError};

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
    /// The usage of a consumer in a list.
    fn listed(namespace: &str, usage: backend::Usage, month: u16) -> Self {
        let consumer = name::text(usage.name.as_deref().unwrap_or_default(), usage.client).into_owned();
        Self::of(namespace, consumer, usage, month)
    }

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

impl Row for Usage {
    const COLUMNS: &[&str] =
        &["namespace", "consumer", "tier", "month", "used", "limit", "remaining", "resets_at"];

    fn records(&self) -> Vec<Vec<String>> {
        let number = |units: Option<Units>| units.map(|units| units.0.to_string()).unwrap_or_default();
        vec![vec![
            self.namespace.clone(),
            inert(&self.consumer).into_owned(),
            self.tier.clone(),
            self.month.clone(),
            number(Some(self.used)),
            number(self.limit),
            number(self.remaining),
            self.resets_at.clone(),
        ]]
    }
}

/// What one consumer used, by month or by day.
#[derive(ToSchema)]
#[schema(as = UsageOrUsageByDay)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is for the API's description")]
pub enum OneUsage {
    /// By month.
    Month(Usage),
    /// By day.
    Day(UsageByDay),
}

/// What to read, and the format.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// The month, such as `2026-11`. The default is the current one.
    month: Option<String>,
    /// month, which is the default, or day.
    #[serde(default)]
    #[param(inline)]
    by: By,
    /// With by=day: the first day, such as `2026-11-24`. The default is the first of the current month.
    from: Option<String>,
    /// With by=day: the day after the last one. The default is tomorrow.
    to: Option<String>,
    /// json, which is the default, or csv.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// What is summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A month.
    #[default]
    Month,
    /// Each day, UTC.
    Day,
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
    params(("namespace" = String, Path), ("consumer" = String, Path), Asked),
    responses(
        (status = 200, body = OneUsage, description = "By day, also as a table."),
        (status = 404, description = "It was never seen."),
    )
)]
pub async fn one(
    State(store): State<Arc<Store>>,
    whose: ConsumerPath,
    QueryString(asked): QueryString<Asked>,
) -> Result<Response, AppError> {
    let client = whose.client;
    let unknown =
        || AppError::NotFound("no gateway and no check has named this consumer in this namespace".to_owned());
    let (month, now) = month(&store, asked.month.as_deref()).await?;
    if let Some(days) = days::asked(&asked, now)? {
        let used = store.backend.days_used(&whose.namespace, client, days).await?.ok_or_else(unknown)?;
        return days::one(&whose.namespace, whose.consumer, used, days, asked.format).await;
    }
    let state = store.namespace(&whose.namespace).await?;
    let mut usage = store.backend.usage(&whose.namespace, client, month).await?.ok_or_else(unknown)?;
    // An override counts from when it is set, and not from the next request.
    if let Some(tier) = state.overrides().offered(client, now).filter(|_| month == month_of(now)) {
        usage.tier.clone_from(&tier.offer.tier);
        usage.monthly = tier.terms.monthly;
    }
    let usage = Usage::of(&whose.namespace, whose.consumer, usage, month);
    if asked.format == Format::Csv {
        let rows = stream::once(async { Ok(usage) }).boxed();
        return response(&whose.namespace, month, asked.format, rows).await;
    }
    Ok(Json(usage).into_response())
}

/// Streams what every consumer has used. If the backend fails on the way, the connection breaks, so a document with an
/// end is whole.
#[utoipa::path(
    get, path = endpoints::ALL_USAGE, tag = "usage",
    params(("namespace" = String, Path), Asked),
    responses((status = 200, content((Vec<OneUsage> = "application/json"), (String = "text/csv"))))
)]
pub async fn all(
    State(store): State<Arc<Store>>,
    NamespacePath(namespace): NamespacePath,
    QueryString(asked): QueryString<Asked>,
) -> Result<Response, AppError> {
    let (month, now) = month(&store, asked.month.as_deref()).await?;
    if let Some(days) = days::asked(&asked, now)? {
        let used = store.backend.all_days_used(&namespace, days);
        return days::all(namespace, used, days, asked.format).await;
    }
    let whose = namespace.clone();
    let rows = store.backend.usages(&namespace, month);
    let rows = rows.map_ok(move |usage| Usage::listed(&whose, usage, month));
    response(&namespace, month, asked.format, rows.boxed()).await
}

async fn response(
    namespace: &str,
    month: u16,
    format: Format,
    rows: BoxStream<'static, Result<Usage, BackendError>>,
) -> Result<Response, AppError> {
    let disposition =
        format!("attachment; filename=\"usage-{namespace}-{}.{}\"", Month(month), format.extension());
    let head = [
        (header::CONTENT_TYPE, format.content_type().to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((head, Body::from_stream(export::document(format, rows).await?)).into_response())
}
