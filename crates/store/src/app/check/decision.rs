//! The decision about a request, in the numbers and headers of the gateways' filter.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tollgate_core::account::{Account, Refusal};
use tollgate_core::headers;
use tollgate_core::limit::{Level, Month};
use tollgate_core::policy::Enforcement;
use tollgate_core::units::{Cost, UnixNanos};
use tollgate_core::wire::Grant;
use utoipa::ToSchema;

use super::Offered;
use super::offered::BOTH;
use crate::app::tier::CompiledTier;

/// The decision about the request.
#[derive(Serialize, ToSchema)]
pub struct Decision {
    /// Whether to let the request pass.
    pub allowed: bool,
    /// The HTTP status for the caller: 200 or 429.
    pub status: u16,
    /// `allowed`, `refused_rate`, `refused_month` or `shadow_refused`.
    pub outcome: &'static str,
    /// The tier that was applied.
    pub tier: String,
    /// The response headers for the caller.
    pub headers: BTreeMap<&'static str, String>,
    /// X-RateLimit-Limit.
    pub limit: Option<u64>,
    /// X-RateLimit-Remaining.
    pub remaining: Option<u64>,
    /// X-RateLimit-Reset, in Unix seconds.
    pub reset: Option<u64>,
    /// X-Quota-Monthly-Remaining.
    pub monthly_remaining: Option<u64>,
    /// Seconds until a refused request would fit; null if it is allowed, or if no wait helps.
    pub retry_after: Option<u64>,
    /// The response body for the caller if the request is refused.
    #[schema(value_type = Option<Object>)]
    pub problem: Option<Value>,
}

impl Decision {
    /// The decision about a request that is never limited and never counted.
    pub fn free(tier: &CompiledTier) -> Self {
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
    pub fn of(tier: &CompiledTier, grant: &Grant, cost: Cost, now: UnixNanos, offered: &Offered) -> Self {
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
