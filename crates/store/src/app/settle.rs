//! `POST /v1/settle`: what a request that was reserved for really cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::amount::Units;
use super::body::Json;
use super::endpoints;
use super::problem::AppError;
use super::reservation::{Context, ReservationName};
use super::state::Store;
use super::usage_metrics::UsageEntry;
use crate::accounts::{Decided, Reservation};
use crate::backend::Settled;

/// What a request cost.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// What /v1/reserve answered.
    reservation: String,
    /// Cost units with up to three decimals: less or more than what is held, or as much.
    #[schema(value_type = f64)]
    cost: Units,
}

/// What is left once the request is settled.
#[derive(Serialize, ToSchema)]
pub struct Settlement {
    /// The reservation.
    reservation: String,
    /// What was held.
    #[schema(value_type = f64)]
    reserved: Units,
    /// What the request costs now.
    #[schema(value_type = f64)]
    cost: Units,
    /// The tier that was applied.
    tier: String,
    /// The response headers for the caller, if it has none yet.
    headers: BTreeMap<&'static str, String>,
    /// X-RateLimit-Limit.
    limit: Option<u64>,
    /// X-RateLimit-Remaining.
    remaining: Option<u64>,
    /// X-RateLimit-Reset, in Unix seconds.
    reset: Option<u64>,
    /// X-Quota-Monthly-Remaining.
    monthly_remaining: Option<u64>,
}

/// Replaces what is held by what the request really cost. It is never refused.
#[utoipa::path(
    post, path = endpoints::SETTLE, tag = "applications", request_body = Settle,
    responses(
        (status = 200, body = Settlement, description = "It is settled, now or before."),
        (status = 404, description = "Its time is over and its cost stays spent, or it was never made."),
        (status = 409, description = "It was settled with another cost."),
    )
)]
pub async fn settle(
    State(store): State<Arc<Store>>,
    Json(wanted): Json<Settle>,
) -> Result<Answered<Settlement>, AppError> {
    let name = ReservationName::parse(&wanted.reservation)?;
    let cost = wanted.cost.0;
    match store.backend.settle(&name.namespace, name.key, cost).await? {
        Settled::Now(kept) => {
            let settled = settled(&kept)?;
            let more = cost.less(kept.reserved.cost);
            let entry = UsageEntry::charge(name.key.0, &kept.tier.as_str().into(), kept.terms.monthly, more);
            store.usage_metrics.record_one(&name.namespace, &entry, settled, &store.metrics);
            answer(wanted.reservation, &kept)
        }
        Settled::Before(kept) if settled(&kept)?.cost == cost => answer(wanted.reservation, &kept),
        Settled::Before(kept) => Err(AppError::Conflict(format!(
            "this reservation was settled with {}, which stays; a repeated call has to say the same",
            settled(&kept)?.cost
        ))),
        Settled::Unknown => Err(AppError::NotFound(
            "no such reservation can be settled: its ttl is over and its cost stays spent, or it was never made"
                .to_owned(),
        )),
    }
}

fn settled(kept: &Reservation) -> Result<&Decided, AppError> {
    kept.settled.as_ref().ok_or_else(|| AppError::corrupt("a settled reservation says no cost"))
}

fn answer(reservation: String, kept: &Reservation) -> Result<Answered<Settlement>, AppError> {
    let settled = settled(kept)?;
    let decision = Context::decision(kept, settled)?;
    Ok(Answered(Settlement {
        reservation,
        reserved: Units(kept.reserved.cost),
        cost: Units(settled.cost),
        tier: decision.tier,
        headers: decision.headers,
        limit: decision.limit,
        remaining: decision.remaining,
        reset: decision.reset,
        monthly_remaining: decision.monthly_remaining,
    }))
}
