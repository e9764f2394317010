//! `/v1/customers/…`: who pays for which consumer, from which day to which.

use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tollgate_core::limit::Day;
use tollgate_core::name::MAX_TEXT;
use tollgate_core::units::UnixMicros;
use utoipa::{IntoParams, ToSchema};

use super::audit::Action;
use super::{Actor, check_reason};
use crate::accounts::day_of;
use crate::app::body::{Json, QueryString};
use crate::app::name::{ConsumerPath, NamespacePath};
use crate::app::problem::AppError;
use crate::app::state::Store;
use crate::app::{endpoints, moment};
use crate::backend::{Backend, CustomerChange, CustomerQuery, read_periods};
use crate::customers::{MAX_CUSTOMER, MAX_PERIODS, Period, Periods, customer_at};

/// The most consumers of one page.
pub const MOST: usize = 1_000;

/// How often a change is tried again because another one came between. Each time that happens, some change was made.
const ATTEMPTS: usize = 200;

/// Who pays for one consumer.
#[derive(Serialize, ToSchema)]
pub struct Customer {
    namespace: String,
    consumer: String,
    /// Today's customer, or null if there is none.
    customer: Option<String>,
    /// All periods, oldest first.
    periods: Vec<Period>,
}

impl Customer {
    fn of(whose: ConsumerPath, periods: Periods, now: UnixMicros) -> Self {
        let customer = customer_at(periods.as_slice(), day_of(now)).map(ToOwned::to_owned);
        Self { namespace: whose.namespace, consumer: whose.consumer, customer, periods: periods.into_vec() }
    }
}

/// Reads who pays for a consumer.
#[utoipa::path(
    get, path = endpoints::CUSTOMER, tag = "admins",
    params(("namespace" = String, Path), ("consumer" = String, Path)),
    responses((status = 200, body = Customer), (status = 404, description = "It has no customer on any day."))
)]
pub async fn get(
    State(store): State<Arc<Store>>,
    whose: ConsumerPath,
) -> Result<Answered<Customer>, AppError> {
    let now = store.backend.now().await?;
    let (_, periods) = read(store.backend.as_ref(), &whose).await?;
    if periods.as_slice().is_empty() {
        return Err(none());
    }
    Ok(Answered(Customer::of(whose, periods, now)))
}

/// Who pays, and when.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerSpec {
    /// The customer, as whoever bills calls it.
    customer: String,
    /// The first day, as `2026-11-01` or `2026-11-01T00:00:00Z`. The default is today, or for a consumer without any
    /// period that there is no first day.
    starts_at: Option<String>,
    /// The first day that the customer does not pay for any more. The default is that there is none.
    ends_at: Option<String>,
    /// The reason, for the audit log.
    reason: Option<String>,
}

/// Sets who pays for a consumer on some days, whoever paid for them before.
#[utoipa::path(
    put, path = endpoints::CUSTOMER, tag = "admins",
    params(("namespace" = String, Path), ("consumer" = String, Path), ("x-actor" = Option<String>, Header)),
    request_body = CustomerSpec,
    responses((status = 200, body = Customer), (status = 422, description = "It makes no sense; the detail says what to write."))
)]
pub async fn put(
    State(store): State<Arc<Store>>,
    whose: ConsumerPath,
    Actor(actor): Actor,
    Json(spec): Json<CustomerSpec>,
) -> Result<Answered<Customer>, AppError> {
    check_customer(&spec.customer).map_err(AppError::Unprocessable)?;
    let day = |field, text: &Option<String>| text.as_deref().map(|text| moment::day(field, text)).transpose();
    let (starts, ends) = (day("starts_at", &spec.starts_at)?, day("ends_at", &spec.ends_at)?);
    let who = Who { actor: &actor, action: Action::CustomerSet, reason: spec.reason.as_deref() };
    let backend = store.backend.as_ref();
    let now = backend.now().await?;
    whose.check_listed(backend, now).await?;
    let periods = change(backend, &whose, who, now, |periods| {
        let first = || if periods.as_slice().is_empty() { Day::FIRST } else { day_of(now) };
        let starts = starts.unwrap_or_else(first);
        if ends.is_some_and(|ends| ends <= starts) {
            return Err(AppError::Unprocessable(format!(
                "ends_at is not after {starts}, on which the period starts; write a later day, or another starts_at"
            )));
        }
        let periods = periods.with(Some(&spec.customer), starts, ends);
        if periods.as_slice().len() > MAX_PERIODS {
            return Err(AppError::Unprocessable(format!(
                "this consumer would have more than {MAX_PERIODS} periods; set one that replaces some"
            )));
        }
        Ok(periods)
    });
    let periods = periods.await?;
    Ok(Answered(Customer::of(whose, periods, now)))
}

/// From when on nobody pays, and why.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct From {
    /// The first day without a customer, as `2026-12-01`. The default is today.
    from: Option<String>,
    /// The reason, for the audit log.
    reason: Option<String>,
}

/// Ends all of a consumer's periods before some day. What lies before that day stays.
#[utoipa::path(
    delete, path = endpoints::CUSTOMER, tag = "admins",
    params(("namespace" = String, Path), ("consumer" = String, Path), ("x-actor" = Option<String>, Header), From),
    responses(
        (status = 204, description = "It has no customer from that day on."),
        (status = 404, description = "It has no customer on any day."),
        (status = 422, description = "The day or the reason is none; the detail says what to write.")
    )
)]
pub async fn delete(
    State(store): State<Arc<Store>>,
    whose: ConsumerPath,
    Actor(actor): Actor,
    QueryString(asked): QueryString<From>,
) -> Result<StatusCode, AppError> {
    let from = asked.from.as_deref().map(|text| moment::day("from", text)).transpose()?;
    let who = Who { actor: &actor, action: Action::CustomerRemoved, reason: asked.reason.as_deref() };
    let backend = store.backend.as_ref();
    let now = backend.now().await?;
    let from = from.unwrap_or_else(|| day_of(now));
    let removed = change(backend, &whose, who, now, |periods| {
        if periods.as_slice().is_empty() { Err(none()) } else { Ok(periods.with(None, from, None)) }
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which consumers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only consumers that this customer pays for on some day.
    customer: Option<String>,
    /// The most consumers, 1 to 1000. The default is 100.
    limit: Option<usize>,
    /// Only consumers after this one: the `next` of the page before.
    after: Option<String>,
}

/// A consumer and its periods.
#[derive(Serialize, ToSchema)]
pub struct CustomersOfOne {
    consumer: String,
    /// All periods, oldest first.
    periods: Vec<Period>,
}

/// Some consumers that have customers, in the order of their bytes.
#[derive(Serialize, ToSchema)]
pub struct Customers {
    /// The consumers. There may be fewer than asked for, although there are more.
    customers: Vec<CustomersOfOne>,
    /// The `after` of the next page, or null if there is none.
    next: Option<String>,
}

/// Lists who pays for whom in a namespace.
#[utoipa::path(
    get, path = endpoints::CUSTOMERS, tag = "admins",
    params(("namespace" = String, Path), Which), responses((status = 200, body = Customers))
)]
pub async fn list(
    State(store): State<Arc<Store>>,
    NamespacePath(namespace): NamespacePath,
    QueryString(which): QueryString<Which>,
) -> Result<Answered<Customers>, AppError> {
    let Which { customer, limit, after } = which;
    let limit = limit.unwrap_or(100);
    if !(1..=MOST).contains(&limit) {
        return Err(AppError::Malformed(format!("limit is out of range; write 1 to {MOST}")));
    }
    if let Some(customer) = &customer {
        check_customer(customer).map_err(AppError::Malformed)?;
    }
    if after.as_ref().is_some_and(|after| after.chars().nth(MAX_TEXT).is_some()) {
        return Err(AppError::Malformed("after is not a consumer; write the next of a page".to_owned()));
    }
    let page = store.backend.customer_page(&namespace, CustomerQuery { customer, after, limit }).await?;
    let next = page.next().map(ToOwned::to_owned);
    let rows = page.rows.into_iter().map(|row| {
        let periods = periods_of(&row.consumer, Some(&row.periods))?.into_vec();
        Ok(CustomersOfOne { consumer: row.consumer, periods })
    });
    Ok(Answered(Customers { customers: rows.collect::<Result<_, AppError>>()?, next }))
}

/// Who changes something, what, and why.
struct Who<'a> {
    actor: &'a str,
    action: Action,
    reason: Option<&'a str>,
}

/// A change's line in the audit log.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    actor: &'a str,
    action: Action,
    consumer: &'a str,
    reason: &'a str,
    /// The periods that are gone. All others are as they were, so that many periods do not make every line long.
    before: Vec<&'a Period>,
    /// The periods that are new.
    after: Vec<&'a Period>,
}

/// Changes a consumer's periods to what `changed` makes of them. If another change comes between, `changed` gets the
/// periods after that one. If nothing changes, nothing is written, so that a call may be repeated.
async fn change(
    backend: &dyn Backend,
    whose: &ConsumerPath,
    who: Who<'_>,
    now: UnixMicros,
    changed: impl Fn(&Periods) -> Result<Periods, AppError>,
) -> Result<Periods, AppError> {
    who.reason.map_or(Ok(()), check_reason)?;
    for _ in 0..ATTEMPTS {
        let (kept, before) = read(backend, whose).await?;
        let after = changed(&before)?;
        if after == before {
            return Ok(after);
        }
        let line = Line {
            at: moment::rfc3339(now),
            actor: who.actor,
            action: who.action,
            consumer: &whose.consumer,
            reason: who.reason.unwrap_or_default(),
            before: before.missing_in(&after),
            after: after.missing_in(&before),
        };
        let change = CustomerChange {
            before: kept,
            after: (!after.as_slice().is_empty()).then(|| after.to_bytes()),
            joined: after.customers_missing_in(&before),
            left: before.customers_missing_in(&after),
            // Texts can always be written as JSON.
            line: serde_json::to_vec(&line).unwrap_or_default(),
        };
        if backend.change_customers(&whose.namespace, &whose.consumer, change).await? {
            return Ok(after);
        }
    }
    Err(AppError::Overloaded("too many others change this consumer's customers at the same time; try again"))
}

/// What the backend keeps of a consumer, and what that means.
async fn read(backend: &dyn Backend, whose: &ConsumerPath) -> Result<(Option<Vec<u8>>, Periods), AppError> {
    let kept = backend.customers_of(&whose.namespace, &whose.consumer).await?;
    let periods = periods_of(&whose.consumer, kept.as_deref())?;
    Ok((kept, periods))
}

fn periods_of(consumer: &str, kept: Option<&[u8]>) -> Result<Periods, AppError> {
    let periods = kept.map(|bytes| read_periods(consumer, bytes)).transpose();
    Ok(periods.map_err(|why| AppError::corrupt(&why.to_string()))?.unwrap_or_default())
}

fn none() -> AppError {
    AppError::NotFound("this consumer has no customer".to_owned())
}

/// Checks that `customer` can be a customer's name. Letters that nobody sees would make two customers of one.
///
/// # Errors
/// It cannot; the error says what to write.
fn check_customer(customer: &str) -> Result<(), String> {
    let is_invisible = |letter: char| {
        let is_format = matches!(
            letter,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        );
        is_format || letter.is_control()
    };
    let is_name = !customer.is_empty()
        && customer.chars().nth(MAX_CUSTOMER).is_none()
        && customer.trim() == customer
        && !customer.contains(is_invisible);
    if is_name {
        return Ok(());
    }
    Err(format!(
        "customer is not a customer's name; write 1 to {MAX_CUSTOMER} visible characters, without spaces at its ends"
    ))
}
