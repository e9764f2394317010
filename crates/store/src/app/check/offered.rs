//! The policy that comes with a check: a whole one, or only its tiers.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::policy::{Enforcement, HeaderFamilies, Policy, Problem, read_json};
use tollgate_core::terms::Offer;
use tollgate_core::units::Cost;

use super::super::problem::AppError;
use super::super::tier::CompiledTier;

/// All header families.
pub const BOTH: HeaderFamilies = HeaderFamilies { x_ratelimit: true, ietf: true };

/// What a policy says, as far as the store needs it.
pub struct Offered {
    /// All tiers.
    pub tiers: Vec<Arc<CompiledTier>>,
    /// The tier of a consumer for whom nothing names one.
    pub default_tier: Option<String>,
    /// The cost of a check that names none.
    pub default_cost: Cost,
    /// The tiers of single consumers.
    pub overrides: HashMap<String, String>,
    /// Which headers are sent.
    pub families: HeaderFamilies,
    /// What happens to a refused request.
    pub enforcement: Enforcement,
}

/// Policies by their namespace.
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
    /// Reads the policy in `text`, which is JSON: a whole one, or only its tiers.
    ///
    /// # Errors
    /// The policy is wrong; the text is the policy parser's.
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
            // The caller has reached this store already, however gateways do.
            fields.remove("store");
        }
        let policy = Policy::from_value(&document).map_err(wrong)?;
        let offered = Self::of(&policy).map_err(|problem| wrong(vec![problem]))?;
        Ok(Self { default_tier, ..offered })
    }

    /// What `policy` says.
    ///
    /// # Errors
    /// A tier's numbers are too large for the store.
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
