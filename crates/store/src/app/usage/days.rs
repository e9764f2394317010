//! `GET /v1/usage/…?by=day`: what consumers have used on each day.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tollgate_core::limit::{Day, Month};
use tollgate_core::name;
use tollgate_core::spreadsheet::inert;
use tollgate_core::units::{Cost, UnixMicros};
use utoipa::ToSchema;

use super::super::amount::Units;
use super::super::moment;
use super::super::problem::AppError;
use super::export::{self, Format, Row};
use super::{Asked, By};
use crate::accounts::day_of;
use crate::backend::{BackendError, Days, DaysUsed};

/// The most days of one answer: 16 months.
const MOST_DAYS: u16 = 500;

/// What one consumer used on each of some days.
#[derive(Serialize, ToSchema)]
pub struct UsageByDay {
    namespace: String,
    consumer: String,
    /// The tier that it was last seen in.
    tier: String,
    /// The first day, UTC.
    from: String,
    /// The day after the last one.
    to: String,
    /// The sum over these days, in cost units with up to three decimals.
    #[schema(value_type = f64)]
    used: Units,
    /// The days on which something was used, in their order.
    days: Vec<DayUsage>,
}

/// What was used on one day.
#[derive(Serialize, ToSchema)]
pub struct DayUsage {
    /// `2026-11-24`, UTC.
    day: String,
    /// Cost units with up to three decimals.
    #[schema(value_type = f64)]
    used: Units,
}

impl UsageByDay {
    fn of(namespace: &str, consumer: String, used: DaysUsed, days: Days) -> Self {
        let day = |(day, used): (Day, Cost)| DayUsage { day: day.to_string(), used: Units(used) };
        Self {
            namespace: namespace.to_owned(),
            consumer,
            tier: used.tier,
            from: days.from.to_string(),
            to: days.to.to_string(),
            used: Units(used.days.iter().fold(Cost(0), |sum, (_, used)| sum.plus(*used))),
            days: used.days.into_iter().map(day).collect(),
        }
    }
}

impl Row for UsageByDay {
    const COLUMNS: &[&str] = &["namespace", "consumer", "tier", "day", "used"];

    fn records(&self) -> Vec<Vec<String>> {
        let record = |day: &DayUsage| {
            let consumer = inert(&self.consumer).into_owned();
            vec![self.namespace.clone(), consumer, self.tier.clone(), day.day.clone(), day.used.0.to_string()]
        };
        self.days.iter().map(record).collect()
    }
}

/// The days that are asked for, if they are: those of a month, or from one day to another. Without any, the current month until
/// now.
pub fn asked(asked: &Asked, now: UnixMicros) -> Result<Option<Days>, AppError> {
    let malformed = |what: &str| Err(AppError::Malformed(what.to_owned()));
    if asked.by != By::Day {
        return match (&asked.from, &asked.to) {
            (None, None) => Ok(None),
            _ => malformed("from and to are days; write by=day, too"),
        };
    }
    if let Some(month) = &asked.month {
        if asked.from.is_some() || asked.to.is_some() {
            return malformed("write month, or from and to");
        }
        let month = Month(moment::month(month)?);
        return Ok(Some(Days { from: Day::first_of(month), to: Day::after(month) }));
    }
    let today = day_of(now);
    let first_of_month = Day::first_of(today.month());
    let from = asked.from.as_deref().map_or(Ok(first_of_month), moment::usage_day)?;
    let to = asked.to.as_deref().map_or(Ok(today.next()), moment::usage_day)?;
    if from >= to {
        return malformed("to is the day after the last one, so write one that is later than from");
    }
    if to.0.saturating_sub(from.0) > MOST_DAYS {
        return malformed("that are more than 500 days; write a later from, or an earlier to");
    }
    Ok(Some(Days { from, to }))
}

/// What one consumer used.
pub async fn one(
    namespace: &str,
    consumer: String,
    used: DaysUsed,
    days: Days,
    format: Format,
) -> Result<Response, AppError> {
    let row = UsageByDay::of(namespace, consumer, used, days);
    match format {
        Format::Json => Ok(axum::Json(row).into_response()),
        Format::Csv => response(namespace, days, format, stream::once(async { Ok(row) }).boxed()).await,
    }
}

/// What every consumer used.
pub async fn all(
    namespace: String,
    used: BoxStream<'static, Result<DaysUsed, BackendError>>,
    days: Days,
    format: Format,
) -> Result<Response, AppError> {
    let whose = namespace.clone();
    let rows = used.map_ok(move |used| {
        let consumer = name::text(used.name.as_deref().unwrap_or_default(), used.client).into_owned();
        UsageByDay::of(&whose, consumer, used, days)
    });
    response(&namespace, days, format, rows.boxed()).await
}

async fn response(
    namespace: &str,
    days: Days,
    format: Format,
    rows: BoxStream<'static, Result<UsageByDay, BackendError>>,
) -> Result<Response, AppError> {
    let (from, to) = (days.from.to_string(), days.to.to_string());
    let name = format!("attachment; filename=\"usage-{namespace}-{from}-{to}.{}\"", format.extension());
    let head = [
        (header::CONTENT_TYPE, format.content_type().to_owned()),
        (header::CONTENT_DISPOSITION, name),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((head, Body::from_stream(export::document(format, rows).await?)).into_response())
}
