//! The policy that comes with a check: a whole one, or its tiers alone.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::policy::{Enforcement, HeaderFamilies, Policy, Problem, read_json};
use tollgate_core::terms::Offer;
use tollgate_core::units::Cost;

use super::super::problem::AppError;
use super::super::tier::CompiledTier;

/// Every header.
pub const BOTH: HeaderFamilies = HeaderFamilies { x_ratelimit: true, ietf: true };

/// What an application's policy says.
pub struct Offered {
    /// Every tier.
    pub tiers: Vec<Arc<CompiledTier>>,
    /// Of a consumer whose tier nothing says.
    pub default_tier: Option<String>,
    /// Of a check that names no cost.
    pub default_cost: Cost,
    /// Tiers by consumer.
    pub overrides: HashMap<String, String>,
    /// Which headers are sent.
    pub families: HeaderFamilies,
    /// What becomes of a refused request.
    pub enforcement: Enforcement,
}

/// Policies by the namespace that they are of.
pub type Configured = HashMap<String, Arc<Offered>>;

impl Default for Offered {
    fn default() -> Self {
        Self {
            tiers: Vec::new(),
            default_tier: None,
            default_cost: Cost::from_units(1),
            overrides: HashMap::new(),
            families: BOTH,
            enforcement: Enforcement::Enforce,
        }
    }
}

impl Offered {
    /// The policy in `text`, JSON: a whole one, or its tiers alone.
    ///
    /// # Errors
    /// What is wrong with it, in the policy parser's words.
    pub fn read(text: &str) -> Result<Self, AppError> {
        let wrong = |problems: Vec<Problem>| {
            let lines: Vec<String> = problems.iter().map(|problem| format!("policy.{problem}")).collect();
            AppError::Unprocessable(lines.join("; "))
        };
        let mut document = read_json(text.as_bytes()).map_err(wrong)?;
        let mut default_tier = None;
        if let Some(fields) = document.as_object_mut() {
            default_tier = fields.get("default_tier").and_then(Value::as_str).map(str::to_owned);
            let first =
                fields.get("tiers").and_then(Value::as_object).and_then(|tiers| tiers.keys().next().cloned());
            fields.entry("default_tier").or_insert_with(|| first.into());
            fields.entry("anonymous").or_insert_with(|| json!({ "rate": "unlimited" }));
            // How gateways reach this store is nothing to a call that has.
            fields.remove("store");
        }
        let policy = Policy::from_value(&document).map_err(wrong)?;
        let offered = Self::of(&policy).map_err(|problem| wrong(vec![problem]))?;
        Ok(Self { default_tier, ..offered })
    }

    /// What `policy` says.
    ///
    /// # Errors
    /// The tier that no store can compute with.
    pub fn of(policy: &Policy) -> Result<Self, Problem> {
        let known = |tier| Offer::of(tier).and_then(|offer| CompiledTier::of(&offer).ok()).map(Arc::new);
        let tiers = policy.tiers.iter().map(|tier| {
            known(tier).ok_or_else(|| {
                let path = format!("tiers.{}", tier.name);
                Problem::new(path, "its rate is too great for the store; write a lower one")
            })
        });
        let overrides = policy.overrides.iter();
        Ok(Self {
            tiers: tiers.collect::<Result<_, _>>()?,
            default_tier: Some(policy.tier(policy.default_tier).name.clone()),
            default_cost: policy.default_cost,
            overrides: overrides
                .map(|(consumer, tier)| (consumer.clone(), policy.tier(*tier).name.clone()))
                .collect(),
            families: policy.headers,
            enforcement: policy.enforcement,
        })
    }
}
