//! `POST /v1/check`: one decision for an application, in the numbers and headers of the gateways' filter.

mod offered;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tollgate_core::account::{Account, Refusal};
use tollgate_core::client::Namespace;
use tollgate_core::headers;
use tollgate_core::limit::{Level, Month};
use tollgate_core::policy::Enforcement;
use tollgate_core::units::{Cost, UnixNanos};
use tollgate_core::wire::{Answer, Ask, Grant};
use utoipa::ToSchema;

pub use self::offered::{Configured, Offered};

use self::offered::BOTH;
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

/// The decision about the request.
#[derive(Serialize, ToSchema)]
pub struct Decision {
    /// Whether to let the request pass.
    allowed: bool,
    /// The HTTP status for the caller: 200 or 429.
    status: u16,
    /// `allowed`, `refused_rate`, `refused_month` or `shadow_refused`.
    outcome: &'static str,
    /// The tier that was applied.
    tier: String,
    /// The response headers for the caller.
    headers: BTreeMap<&'static str, String>,
    /// X-RateLimit-Limit.
    limit: Option<u64>,
    /// X-RateLimit-Remaining.
    remaining: Option<u64>,
    /// X-RateLimit-Reset, in Unix seconds.
    reset: Option<u64>,
    /// X-Quota-Monthly-Remaining.
    monthly_remaining: Option<u64>,
    /// Seconds until a refused request would fit; null if it is allowed, or if no wait helps.
    retry_after: Option<u64>,
    /// The response body for the caller if the request is refused.
    #[schema(value_type = Option<Object>)]
    problem: Option<Value>,
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
    name::namespace(&check.namespace)?;
    let sent = match &check.policy {
        Some(text) => Some(store.policies.get(text.get(), Offered::read)?),
        None => None,
    };
    let named = name::consumer(&check.consumer, &Namespace::new(&check.namespace))?;
    let state = store.namespace(&check.namespace).await?;
    if let Some(sent) = &sent {
        state.learn(&sent.tiers.iter().collect::<Vec<_>>());
    }
    let is_sent = sent.is_some();
    let offered = sent.unwrap_or_else(|| state.configured());
    let client = named.client;
    let overrides = state.overrides();
    let now = store.time_for(&overrides).await?;
    let tier = match overrides.offered(client, now) {
        Some(tier) => Arc::clone(tier),
        None => {
            let name = name_of(&named.text, &check, &offered)?;
            if is_sent { sent_tier(name, &offered)? } else { told_tier(&store, &state, name).await? }
        }
    };
    let cost = check.cost.map_or(offered.default_cost, |units| units.0);
    if cost == Cost::FREE || offered.enforcement == Enforcement::Off {
        return Ok(Answered(Decision::free(&tier)));
    }
    let apply = AccountEntry {
        client,
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

/// The tier's name for a consumer without an override.
fn name_of<'a>(consumer: &str, check: &'a Check, offered: &'a Offered) -> Result<&'a str, AppError> {
    let named = offered.overrides.get(consumer).or(check.tier.as_ref()).or(offered.default_tier.as_ref());
    named.map(String::as_str).ok_or_else(|| {
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

impl Decision {
    /// The decision about a request that is never limited and never counted.
    fn free(tier: &CompiledTier) -> Self {
        Self {
            allowed: true,
            status: 200,
            outcome: "allowed",
            tier: tier.offer.tier.clone(),
            headers: BTreeMap::new(),
            limit: None,
            remaining: None,
            reset: None,
            monthly_remaining: None,
            retry_after: None,
            problem: None,
        }
    }

    /// What `grant`, which was made at `now`, means for a request of `cost`.
    fn of(tier: &CompiledTier, grant: &Grant, cost: Cost, now: UnixNanos, offered: &Offered) -> Self {
        let account = account(tier, grant, now);
        let headers_of = |families| {
            let mut headers = BTreeMap::new();
            headers::announce(&tier.tier, &tier.texts, &account, now, families, &mut |name, value| {
                headers.extend(value.map(|value| (name, String::from_utf8_lossy(value).into_owned())));
            });
            headers
        };
        // The numbers are told whichever headers the policy has.
        let all = headers_of(BOTH);
        let number = |name| all.get(name).and_then(|value: &String| value.parse().ok());
        let ([limit, remaining, reset], [_, monthly]) = (headers::X_RATELIMIT, headers::X_QUOTA);
        let mut decision = Self {
            limit: number(limit),
            remaining: number(remaining),
            reset: number(reset),
            monthly_remaining: number(monthly),
            ..Self::free(tier)
        };
        decision.headers = headers_of(offered.families);
        let Some(refusal) = grant.refusal else { return decision };
        if offered.enforcement == Enforcement::Shadow {
            return Self { outcome: "shadow_refused", ..decision };
        }
        let document = if refusal.never {
            serde_json::from_str(&headers::never(&tier.offer.tier, cost)).unwrap_or_default()
        } else {
            let until = now.after(refusal.wait.nanos());
            let refusal = Refusal { limits: refusal.limits, month: refusal.month, until };
            let document = headers::refused(&tier.tier, &tier.texts, &refusal, now);
            decision.retry_after = Some(document.retry_after);
            decision.headers.insert("Retry-After", document.retry_after.to_string());
            serde_json::from_str(&document.body).unwrap_or_default()
        };
        decision.headers.insert("Cache-Control", "no-store".to_owned());
        decision.headers.insert("Content-Type", "application/problem+json".to_owned());
        let outcome = if refusal.month { "refused_month" } else { "refused_rate" };
        Self { allowed: false, status: 429, outcome, problem: Some(document), ..decision }
    }
}

/// The account that a node would have with `grant`.
fn account(tier: &CompiledTier, grant: &Grant, now: UnixNanos) -> Account {
    let mut account =
        Account { at: now, month: Month(grant.month), used: grant.month_used, ..Account::default() };
    for ((level, limit), used) in account.levels.iter_mut().zip(&tier.tier.limits).zip(grant.used) {
        // The amount is rounded up, so it may be more than the bucket holds.
        let used = used.min(limit.capacity());
        *level = limit.charged(Level(0), used).unwrap_or_default();
    }
    account
}
