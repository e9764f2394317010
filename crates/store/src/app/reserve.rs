//! `POST /v1/reserve`: holds a cost until the application knows what its request really costs.

use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tollgate_core::policy::Enforcement;
use tollgate_core::units::Micros;
use utoipa::ToSchema;

use super::amount::Units;
use super::body::Json;
use super::check::{Applicable, Decision, Question};
use super::problem::AppError;
use super::reservation::{self, Context, ReservationName};
use super::state::Store;
use super::usage_metrics::UsageEntry;
use super::{endpoints, moment};
use crate::accounts::{Hold, MAX_RESERVATIONS, Reservation};
use crate::backend::Reserved;

/// The longest `id`, in characters.
pub const MAX_ID: usize = 128;

/// The longest `ttl`, in seconds.
pub const MAX_TTL: u64 = 3_600;

/// The `ttl` of a reservation that names none, in seconds.
const DEFAULT_TTL: u64 = 300;

/// One request of a consumer whose cost is not known yet.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// The policy's namespace.
    namespace: String,
    /// The consumer.
    consumer: String,
    /// The consumer's tier. The default is what the policy's overrides or its default_tier say.
    tier: Option<String>,
    /// The cost units to hold, with up to three decimals. 0 holds nothing and can be settled all the same.
    #[schema(value_type = f64)]
    cost: Units,
    /// The application's name for this request. A call with the same one gets the same reservation, and charges nothing.
    id: Option<String>,
    /// For how many seconds it may be settled. The default is 300. What is not settled by then stays spent.
    ttl: Option<u64>,
    /// A whole policy, or only its tiers. The default is the operator's policy, or the tiers that gateways and earlier
    /// checks have sent.
    #[schema(value_type = Option<Object>)]
    policy: Option<Box<RawValue>>,
}

/// The decision about the request, and the reservation if there is one.
#[derive(Serialize, ToSchema)]
pub struct Held {
    /// What to settle; null if nothing is held, because the request is refused or the policy's enforcement is off.
    reservation: Option<String>,
    /// Until when it may be settled.
    expires_at: Option<String>,
    /// The same as a check's.
    #[serde(flatten)]
    decision: Decision,
}

impl From<Decision> for Held {
    /// A decision that holds nothing.
    fn from(decision: Decision) -> Self {
        Self { reservation: None, expires_at: None, decision }
    }
}

/// Decides about one request as a check does, and holds its cost until it is settled.
#[utoipa::path(
    post, path = endpoints::RESERVE, tag = "applications", request_body = Reserve,
    responses(
        (status = 200, body = Held, description = "The decision, allowed or refused."),
        (status = 409, description = "There is a reservation of this id with another cost."),
        (status = 429, description = "The consumer has too many reservations."),
    )
)]
pub async fn reserve(
    State(store): State<Arc<Store>>,
    Json(wanted): Json<Reserve>,
) -> Result<Answered<Held>, AppError> {
    let ttl = wanted.ttl()?;
    wanted.check_id()?;
    let question = Question {
        namespace: &wanted.namespace,
        consumer: &wanted.consumer,
        tier: wanted.tier.as_deref(),
        policy: wanted.policy.as_deref(),
    };
    let Applicable { state, named, tier, offered } = Applicable::to(&store, &question).await?;
    if offered.enforcement == Enforcement::Off {
        return Ok(Answered(Decision::free(&tier).into()));
    }
    let number = reservation::number(&state.name, named.client, wanted.id.as_deref())?;
    let name = ReservationName { namespace: state.name.clone(), key: (named.client, number) };
    let hold = Hold {
        tier: Arc::clone(&tier.name),
        terms: Arc::clone(&tier.terms),
        cost: wanted.cost.0,
        ttl,
        context: Context::bytes(&tier, offered.families),
    };
    match store.backend.reserve(&state.name, name.key, named.stored, hold).await? {
        Reserved::Now(made) => {
            let entry = UsageEntry::charge(named.client, &tier.name, tier.terms.monthly, wanted.cost.0);
            store.usage_metrics.record_one(&state.name, &entry, &made.reserved, &store.metrics);
            held(&name, &made)
        }
        Reserved::Before(made) if made.reserved.cost == wanted.cost.0 => held(&name, &made),
        Reserved::Before(made) => Err(AppError::Conflict(format!(
            "a reservation with this id is of cost {}; write that cost, or another id",
            made.reserved.cost
        ))),
        Reserved::Refused(refused) => {
            let now = refused.at.nanos();
            Ok(Answered(Decision::of(&tier, &refused.grant, refused.cost, now, &offered).into()))
        }
        Reserved::TooMany => Err(AppError::TooMany(format!(
            "this consumer has {MAX_RESERVATIONS} reservations, which are remembered for a minute beyond their ttl; \
             write a shorter ttl, or wait"
        ))),
    }
}

/// The answer about a reservation that was made.
fn held(name: &ReservationName, made: &Reservation) -> Result<Answered<Held>, AppError> {
    let decision = Context::decision(made, &made.reserved)?;
    let expires_at = Some(moment::rfc3339(made.expires));
    Ok(Answered(Held { reservation: Some(name.to_string()), expires_at, decision }))
}

impl Reserve {
    fn ttl(&self) -> Result<Micros, AppError> {
        let seconds = self.ttl.unwrap_or(DEFAULT_TTL);
        if !(1..=MAX_TTL).contains(&seconds) {
            return Err(AppError::Unprocessable(format!(
                "ttl is out of range; write 1 to {MAX_TTL} whole seconds"
            )));
        }
        Ok(Micros(seconds.saturating_mul(1_000_000)))
    }

    fn check_id(&self) -> Result<(), AppError> {
        let is_name =
            |id: &str| !id.is_empty() && id.chars().count() <= MAX_ID && !id.contains(char::is_control);
        if self.id.as_deref().is_none_or(is_name) {
            return Ok(());
        }
        Err(AppError::Unprocessable(format!(
            "id is not a name; write 1 to {MAX_ID} characters without control characters"
        )))
    }
}
