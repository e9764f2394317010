//! The filter's metrics. Labels are part of the names (`requests;tier=free;outcome=allowed`); Kong and Envoy cut them out
//! by patterns, see the meta file and `envoy.yaml`. No client chooses a label's value.

use std::cell::Cell;

use tollgate_core::tier::Tier;
use tollgate_node::engine::settling::Said;
use tollgate_node::engine::{AppliedTier, Engine, Outcome, Ruling};

use super::abi::{self, Kind};
use super::host::HostKind;

/// One decision out of this many is timed, since the clock and the histogram cost as much as a header.
const TIMED: u32 = 16;

/// The host's numbers for the metrics.
pub struct Metrics {
    /// Each tier's counters by outcome; the anonymous clients' come last.
    requests: Vec<[Option<u32>; Outcome::ALL.len()]>,
    evictions: Option<u32>,
    /// `None` without a store.
    store: Option<StoreMetrics>,
    decision: Option<u32>,
    until_timed: Cell<u32>,
    /// What responses have said about costs: a cost, no cost, or by their status that there is none. `None` if the policy
    /// asks for nothing of that.
    settled: Option<[Option<u32>; 3]>,
}

/// The host's numbers for the metrics about the store.
struct StoreMetrics {
    worked: Option<u32>,
    failed: Option<u32>,
    hits: Option<u32>,
    misses: Option<u32>,
    up: Option<u32>,
}

impl StoreMetrics {
    fn define(host: HostKind) -> Self {
        let counter = |name| host.define_metric(Kind::Counter, name);
        Self {
            worked: counter("store_calls;outcome=ok"),
            failed: counter("store_calls;outcome=failed"),
            hits: counter("lease_hits"),
            misses: counter("lease_misses"),
            up: host.define_metric(Kind::Gauge, "store_up"),
        }
    }
}

impl Metrics {
    /// Defines all metrics. Call it once per instance and policy: Envoy gives a second number for the same name.
    pub fn define(host: HostKind, engine: &Engine) -> Self {
        let policy = engine.policy();
        let may_settle = !policy.refund.is_empty() || policy.endpoints.iter().any(|rule| rule.price.settles);
        let of_tier = |tier: &Tier| {
            Outcome::ALL.map(|outcome| {
                let name = format!("requests;tier={};outcome={}", tier.name, outcome.name());
                host.define_metric(Kind::Counter, &name)
            })
        };
        Self {
            requests: policy.tiers.iter().chain([&policy.anonymous]).map(of_tier).collect(),
            evictions: host.define_metric(Kind::Counter, "table_evictions"),
            store: policy.store.is_some().then(|| StoreMetrics::define(host)),
            // Kong's clocks have steps of a millisecond, which is longer than a decision takes.
            decision: match host {
                HostKind::Envoy => host.define_metric(Kind::Histogram, "decision_microseconds"),
                HostKind::Kong => None,
            },
            until_timed: Cell::new(0),
            settled: may_settle.then(|| {
                ["settled", "malformed", "refunded"].map(|outcome| {
                    host.define_metric(Kind::Counter, &format!("settlements;outcome={outcome}"))
                })
            }),
        }
    }

    /// Counts a response that has said something about its request's cost.
    pub fn settled(&self, said: Said) {
        let Some([settled, malformed, refunded]) = self.settled else { return };
        let id = match said {
            Said::Nothing => None,
            Said::Cost(_) => settled,
            Said::Malformed => malformed,
            Said::Refunded => refunded,
        };
        id.into_iter().for_each(|id| abi::count(id, 1));
    }

    /// Counts a request.
    pub fn count(&self, ruling: &Ruling) {
        let counters = match &ruling.under {
            // An override counts under the tier that it replaces: the policy has few tiers, but overrides are many.
            AppliedTier::Tier(id) | AppliedTier::Override(id, _) => self.requests.get(id.0),
            AppliedTier::Anonymous => self.requests.last(),
        };
        if let Some(Some(id)) = counters.and_then(|counters| counters.get(ruling.outcome as usize)) {
            abi::count(*id, 1);
        }
    }

    /// Counts the records that were evicted since the last call.
    pub fn evictions(&self, engine: &Engine) {
        if let (more @ 1.., Some(id)) = (engine.table().take_evictions(), self.evictions) {
            abi::count(id, more);
        }
    }

    /// Counts a request as decided by the lease or not.
    pub fn lease(&self, is_hit: bool) {
        let id = self.store.as_ref().and_then(|store| if is_hit { store.hits } else { store.misses });
        id.into_iter().for_each(|id| abi::count(id, 1));
    }

    /// Counts a call to the store by its result, and sets whether the store is up.
    pub fn store_call(&self, has_worked: bool, is_up: bool) {
        let Some(store) = &self.store else { return };
        if let Some(id) = if has_worked { store.worked } else { store.failed } {
            abi::count(id, 1);
        }
        self.store_up(is_up);
    }

    /// Sets whether the store is up.
    pub fn store_up(&self, is_up: bool) {
        if let Some(id) = self.store.as_ref().and_then(|store| store.up) {
            abi::record(id, is_up.into());
        }
    }

    /// The present time in nanoseconds if this decision is timed, as one in [`TIMED`] is.
    pub fn start(&self) -> Option<u64> {
        self.decision?;
        let left = self.until_timed.get();
        self.until_timed.set(left.checked_sub(1).unwrap_or(TIMED - 1));
        (left == 0).then(abi::now)
    }

    /// Records the time since `start`, in nanoseconds.
    pub fn time(&self, start: u64) {
        if let Some(id) = self.decision {
            abi::record(id, abi::now().saturating_sub(start) / 1_000);
        }
    }
}
