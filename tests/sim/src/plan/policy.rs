//! The policy of a plan's gateways, as a document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{NAMESPACE, OnFailure, Plan, Rate, Tier};

impl Rate {
    /// In the form of a policy.
    #[must_use]
    pub fn json(&self) -> Value {
        let period = match self.seconds {
            1 => "second",
            60 => "minute",
            3_600 => "hour",
            _ => "day",
        };
        let burst = format!("{}.{:02}", self.burst / 100, self.burst % 100);
        let burst: Value = serde_json::from_str(&burst).unwrap_or_default();
        json!({ "rate": format!("{}/{period}", self.units), "burst": burst })
    }

    /// What a full bucket holds, in thousandths.
    #[must_use]
    pub const fn holds(&self) -> u64 {
        self.units * self.burst * 10
    }
}

impl Tier {
    /// In the form of a policy.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut tier = json!({});
        if self.rates.is_empty() {
            tier["rate"] = "unlimited".into();
        } else {
            tier["rate"] = self.rates.iter().map(Rate::json).collect();
        }
        if let Some(monthly) = self.monthly {
            tier["monthly"] = monthly.into();
        }
        if let Some(word) = self.on_failure {
            tier["on_failure"] = word.name().into();
        }
        tier
    }
}

impl OnFailure {
    /// In the form of a policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ip => "ip",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl Plan {
    /// The gateways' policy with these tiers.
    #[must_use]
    pub fn policy(&self, tiers: &[Tier]) -> Value {
        let (anonymous, consumers) = tiers.split_last().unwrap_or_else(|| unreachable!("a plan has tiers"));
        let named: serde_json::Map<String, Value> =
            consumers.iter().map(|tier| (tier.name.clone(), tier.json())).collect();
        json!({
            "namespace": NAMESPACE,
            "tiers": named,
            "default_tier": consumers[0].name,
            "anonymous": anonymous.json(),
            "identity": {
                "consumer": [{ "header": "x-consumer-username" }],
                "tier": [{ "header": "x-consumer-groups" }],
            },
            "endpoints": self.costs().iter().map(|cost| json!({
                "path": path_of(*cost), "cost": *cost as f64 / 1_000.0,
                "settle": self.settling.is_some() && *cost > 0,
            })).collect::<Vec<_>>(),
            "store": {
                "upstream": "127.0.0.1:7600",
                "mode": if self.store.is_strict { "strict" } else { "leased" },
                "timeout": format!("{}ms", self.store.timeout),
                "sync_interval": format!("{}ms", self.store.sync_interval),
                "on_failure": self.store.on_failure.name(),
            },
            "memory": { "clients": self.room },
        })
    }

    /// What requests can cost, in thousandths.
    fn costs(&self) -> BTreeSet<u64> {
        self.clients.iter().flat_map(|client| client.costs.iter().copied()).chain([0]).collect()
    }
}

/// The path of an endpoint of that cost.
#[must_use]
pub fn path_of(cost: u64) -> String {
    format!("/cost/{cost}")
}
