//! `POST /v1/check`: one decision for an application, in the numbers and headers of the gateways' filter.

mod decision;
mod offered;

use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::State;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_core::client::Namespace;
use tollgate_core::name::Named;
use tollgate_core::policy::Enforcement;
use tollgate_core::units::Cost;
use tollgate_core::wire::{Answer, Ask};
use utoipa::ToSchema;

pub use self::decision::Decision;
pub use self::offered::{Configured, Offered};

use super::amount::Units;
use super::body::Json;
use super::namespace::NamespaceState;
use super::problem::AppError;
use super::state::Store;
use super::tier::CompiledTier;
use super::usage_metrics::UsageEntry;
use super::{endpoints, name};
use crate::backend::AccountEntry;

/// One request of a consumer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The policy's namespace.
    namespace: String,
    /// The consumer.
    consumer: String,
    /// The consumer's tier. The default is what the policy's overrides or its default_tier say.
    tier: Option<String>,
    /// Cost units with up to three decimals. The default is the policy's default_cost, or 1.
    #[schema(value_type = Option<f64>)]
    cost: Option<Units>,
    /// A whole policy, or only its tiers. The default is the operator's policy, or the tiers that gateways and earlier
    /// checks have sent.
    #[schema(value_type = Option<Object>)]
    policy: Option<Box<RawValue>>,
}

/// Decides about one request, and charges it if it is allowed.
#[utoipa::path(
    post, path = endpoints::CHECK, tag = "applications", request_body = Check,
    responses((status = 200, body = Decision, description = "The decision, allowed or refused."))
)]
pub async fn check(
    State(store): State<Arc<Store>>,
    Json(check): Json<Check>,
) -> Result<Answered<Decision>, AppError> {
    let question = Question {
        namespace: &check.namespace,
        consumer: &check.consumer,
        tier: check.tier.as_deref(),
        policy: check.policy.as_deref(),
    };
    let Applicable { state, named, tier, offered } = Applicable::to(&store, &question).await?;
    let cost = check.cost.map_or(offered.default_cost, |units| units.0);
    if cost == Cost::FREE || offered.enforcement == Enforcement::Off {
        return Ok(Answered(Decision::free(&tier)));
    }
    let apply = AccountEntry {
        client: named.client,
        name: Some(named.stored),
        is_anonymous: false,
        tier: Arc::clone(&tier.name),
        terms: Arc::clone(&tier.terms),
        node: 0,
        ask: Ask::Charge { cost },
    };
    let usage_entries = [UsageEntry::of(&apply)];
    let applied = store.backend.apply(&state.name, vec![apply]).await?;
    store.usage_metrics.record(&state.name, &usage_entries, &applied.answers, applied.now, &store.metrics);
    match applied.answers.first() {
        Some(Answer::Grant(grant)) => {
            let now = applied.now.nanos();
            Ok(Answered(Decision::of(&tier, grant, cost, now, &offered)))
        }
        Some(Answer::Failed) => Err(AppError::Away),
        Some(Answer::Stale | Answer::Unusable) | None => Err(AppError::corrupt("a charge has no answer")),
    }
}

/// Whose request is asked about, and what the application says about the limits.
pub(super) struct Question<'a> {
    pub namespace: &'a str,
    pub consumer: &'a str,
    pub tier: Option<&'a str>,
    pub policy: Option<&'a RawValue>,
}

/// What applies to a consumer's request.
pub(super) struct Applicable {
    pub state: Arc<NamespaceState>,
    pub named: Named,
    pub tier: Arc<CompiledTier>,
    pub offered: Arc<Offered>,
}

impl Applicable {
    /// What applies to the consumer of `question`.
    pub async fn to(store: &Store, question: &Question<'_>) -> Result<Self, AppError> {
        name::namespace(question.namespace)?;
        let sent = match question.policy {
            Some(text) => Some(store.policies.get(text.get(), Offered::read)?),
            None => None,
        };
        let named = name::consumer(question.consumer, &Namespace::new(question.namespace))?;
        let state = store.namespace(question.namespace).await?;
        if let Some(sent) = &sent {
            state.learn(&sent.tiers.iter().collect::<Vec<_>>());
        }
        let is_sent = sent.is_some();
        let offered = sent.unwrap_or_else(|| state.configured());
        let overrides = state.overrides();
        let now = store.time_for(&overrides).await?;
        let tier = match overrides.offered(named.client, now) {
            Some(tier) => Arc::clone(tier),
            None => {
                let name = name_of(&named.text, question, &offered)?;
                if is_sent { sent_tier(name, &offered)? } else { told_tier(store, &state, name).await? }
            }
        };
        Ok(Self { state, named, tier, offered })
    }
}

/// The tier's name for a consumer without an override.
fn name_of<'a>(consumer: &str, question: &Question<'a>, offered: &'a Offered) -> Result<&'a str, AppError> {
    let overriding = offered.overrides.get(consumer).map(String::as_str);
    overriding.or(question.tier).or(offered.default_tier.as_deref()).ok_or_else(|| {
        AppError::Unprocessable("write the consumer's tier, or a policy with a default_tier".to_owned())
    })
}

/// The tier called `name` in the policy that came with the check.
fn sent_tier(name: &str, offered: &Offered) -> Result<Arc<CompiledTier>, AppError> {
    let found = offered.tiers.iter().find(|tier| tier.offer.tier == name);
    let names = || offered.tiers.iter().map(|tier| tier.offer.tier.as_str()).collect::<Vec<_>>().join(", ");
    found.cloned().ok_or_else(|| unknown(name, &names()))
}

/// The tier called `name` in the operator's policy, or from gateways or earlier checks.
async fn told_tier(store: &Store, state: &NamespaceState, name: &str) -> Result<Arc<CompiledTier>, AppError> {
    let find = || state.tiers(|tiers| tiers.get(name).cloned());
    if let Some(tier) = find() {
        return Ok(tier);
    }
    // Another replica may know the tier.
    state.merge_tiers(store.backend.as_ref()).await?;
    find().ok_or_else(|| unknown(name, &state.tiers(super::tier::Tiers::names)))
}

fn unknown(name: &str, known: &str) -> AppError {
    let name: String = name.chars().take(40).collect();
    AppError::Unprocessable(format!(
        "tier {name:?} is unknown; known are {known}: write one of them, or send the policy"
    ))
}
