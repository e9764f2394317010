//! An override: what an admin writes for one consumer, and what it comes to.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tollgate_core::policy::{Policy, read_json};
use tollgate_core::terms::{Offer, Rate};
use tollgate_core::units::UnixMicros;
use utoipa::ToSchema;

use super::check_reason;
use crate::app::moment;
use crate::app::problem::AppError;
use crate::app::tier::Tiers;

/// What an admin writes: another tier, or the consumer's own limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideSpec {
    /// The tier whose limits apply where none are given here. The default is the tier that the consumer was last seen
    /// in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// As in a policy: `100/minute`, `unlimited`, or a list of up to three.
    #[serde(default, deserialize_with = "once", skip_serializing_if = "Option::is_none")]
    pub rate: Option<Value>,
    /// As in a policy: what a full bucket holds, as a multiple of the rate's N. It needs `rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<Value>,
    /// As in a policy: cost units per calendar month, or `unlimited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<Value>,
    /// Cost units on top of the month's quota, every month while the override is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bonus: Option<u64>,
    /// The reason, for the audit log.
    pub reason: String,
    /// When the override ends, as RFC 3339, in the future. The default is that it stays until it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Reads a value in which no key is written twice.
fn once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let Some(text) = Option::<Box<RawValue>>::deserialize(deserializer)? else { return Ok(None) };
    read_json(text.get().as_bytes()).map(Some).map_err(|problems| {
        D::Error::custom(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })
}

/// The monthly quota of an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quota {
    /// No quota.
    Unlimited,
    /// Cost units.
    Units(u64),
}

/// An override as the backend keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredOverride {
    /// What the admin wrote, always with `tier`.
    #[serde(rename = "wish")]
    pub spec: OverrideSpec,
    /// The consumer's own rates.
    pub rates: Option<Vec<Rate>>,
    /// The consumer's own monthly quota.
    pub monthly: Option<Quota>,
    /// What the tier offered when the override was set. It is used when the tier is no longer known.
    pub base: Offer,
    /// When the override ends.
    pub expires_at: Option<UnixMicros>,
    /// Who set it.
    pub actor: String,
    /// When it was set.
    pub at: UnixMicros,
}

impl StoredOverride {
    /// Makes an override of `spec` at `now`. `seen` is the tier that the consumer was last seen in.
    ///
    /// # Errors
    /// The specification cannot work; the text says what to write instead.
    pub fn of(
        spec: OverrideSpec,
        seen: Option<String>,
        tiers: &Tiers,
        actor: String,
        now: UnixMicros,
    ) -> Result<Self, AppError> {
        check_reason(&spec.reason)?;
        let expires_at = spec.expires_at.as_deref().map(moment::micros).transpose()?;
        if expires_at.is_some_and(|expires_at| expires_at <= now) {
            return wrong("expires_at is not in the future; write a later time, or leave it out");
        }
        let has_own = spec.rate.is_some() || spec.monthly.is_some() || spec.bonus.is_some();
        if spec.burst.is_some() && spec.rate.is_none() {
            return wrong("burst is a multiple of a rate; write rate, too");
        }
        if spec.tier.is_none() && !has_own {
            return wrong("an override needs a tier, or a rate, monthly or bonus of its own");
        }
        let base = base(&spec, seen, tiers)?;
        let (rates, monthly) = own_limits(&spec)?;
        let stored = Self {
            spec: OverrideSpec { tier: Some(base.tier.clone()), ..spec },
            rates,
            monthly,
            base,
            expires_at,
            actor,
            at: now,
        };
        let offer = stored.offer(tiers);
        if stored.spec.bonus.is_some() && offer.monthly.is_none() {
            return wrong(
                "a bonus has no monthly quota to be added to; write monthly, too, or leave bonus out",
            );
        }
        match offer.terms() {
            Ok(_) => Ok(stored),
            Err(error) => wrong(&error.to_string()),
        }
    }

    /// What the consumer is offered.
    #[must_use]
    pub fn offer(&self, tiers: &Tiers) -> Offer {
        let known = self.spec.tier.as_deref().and_then(|tier| tiers.get(tier));
        let base = known.map_or(&self.base, |known| &known.offer);
        let monthly = match self.monthly {
            Some(Quota::Unlimited) => None,
            Some(Quota::Units(units)) => Some(units),
            None => base.monthly,
        };
        Offer {
            tier: base.tier.clone(),
            rates: self.rates.clone().unwrap_or_else(|| base.rates.clone()),
            monthly: monthly.map(|units| units.saturating_add(self.spec.bonus.unwrap_or(0))),
        }
    }

    /// Whether the override has ended at `now`.
    #[must_use]
    pub fn is_over(&self, now: UnixMicros) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// The offer of the tier that `spec` is based on: its own, or the one that the consumer was last `seen` in.
fn base(spec: &OverrideSpec, seen: Option<String>, tiers: &Tiers) -> Result<Offer, AppError> {
    let Some(tier) = spec.tier.clone().or(seen) else {
        return wrong(&format!(
            "write a tier: this consumer was never seen in one; known are {}",
            tiers.names()
        ));
    };
    let Some(base) = tiers.get(&tier) else {
        return wrong(&format!(
            "tier {:?} is unknown in this namespace; known are {}: a tier is known once a gateway or a check has sent it, or from --policy",
            tier.chars().take(40).collect::<String>(),
            tiers.names()
        ));
    };
    Ok(base.offer.clone())
}

/// The limits that `spec` has itself, read by the policy's parser.
fn own_limits(spec: &OverrideSpec) -> Result<(Option<Vec<Rate>>, Option<Quota>), AppError> {
    let mut own = Map::new();
    own.insert("rate".to_owned(), spec.rate.clone().unwrap_or_else(|| json!("unlimited")));
    own.extend(spec.burst.clone().map(|burst| ("burst".to_owned(), burst)));
    own.extend(spec.monthly.clone().map(|monthly| ("monthly".to_owned(), monthly)));
    let document = json!({
        "tiers": { "own": own }, "default_tier": "own", "anonymous": { "rate": "unlimited" }
    });
    let policy = Policy::from_value(&document).map_err(|problems| {
        let lines = problems.iter().map(|problem| problem.to_string().replace("tiers.own.", ""));
        AppError::Unprocessable(lines.collect::<Vec<_>>().join("; "))
    })?;
    let offer = policy.tiers.first().and_then(Offer::of);
    let Some(offer) = offer else { return wrong("this rate is too great for the store; write a lower one") };
    let monthly = offer.monthly.map_or(Quota::Unlimited, Quota::Units);
    Ok((spec.rate.as_ref().map(|_| offer.rates), spec.monthly.as_ref().map(|_| monthly)))
}

fn wrong<T>(what: &str) -> Result<T, AppError> {
    Err(AppError::Unprocessable(what.to_owned()))
}
