//! The filter's metrics. Labels stand in the names (`requests;tier=free;outcome=allowed`); Kong and Envoy both cut them
//! out by patterns, see the meta file and `envoy.yaml`. No label's value is a client's to choose.

use std::cell::Cell;

use super::abi::{self, Kind};
use super::host::Host;
use crate::engine::{Engine, Outcome, Ruling, Under};
use crate::policy::Tier;

/// One decision in so many is timed: the clock and the histogram would cost as much as a header.
const TIMED: u32 = 16;

/// The numbers of the metrics, as the host gave them.
pub struct Metrics {
    /// A tier's counters by outcome; the strangers' come last.
    requests: Vec<[Option<u32>; Outcome::ALL.len()]>,
    evictions: Option<u32>,
    decision: Option<u32>,
    until_timed: Cell<u32>,
}

impl Metrics {
    /// Defines all of them. Once an instance and policy: Envoy gives a second number for the same name.
    pub fn define(host: Host, engine: &Engine) -> Self {
        let policy = engine.policy();
        let of_tier = |tier: &Tier| {
            Outcome::ALL.map(|outcome| {
                let name = format!("requests;tier={};outcome={}", tier.name, outcome.name());
                host.define_metric(Kind::Counter, &name)
            })
        };
        Self {
            requests: policy.tiers.iter().chain([&policy.anonymous]).map(of_tier).collect(),
            evictions: host.define_metric(Kind::Counter, "table_evictions"),
            decision: host.define_metric(Kind::Histogram, "decision_microseconds"),
            until_timed: Cell::new(0),
        }
    }

    /// Counts a request.
    pub fn count(&self, ruling: &Ruling) {
        let counters = match ruling.under {
            Under::Tier(id) => self.requests.get(id.0),
            Under::Anonymous => self.requests.last(),
        };
        if let Some(Some(id)) = counters.and_then(|counters| counters.get(ruling.outcome as usize)) {
            abi::count(*id);
        }
        if let (true, Some(id)) = (ruling.evicted, self.evictions) {
            abi::count(id);
        }
    }

    /// Records the time since `start`, nanoseconds, for one decision in [`TIMED`].
    pub fn time(&self, start: u64) {
        match self.until_timed.get().checked_sub(1) {
            Some(left) => self.until_timed.set(left),
            None => {
                self.until_timed.set(TIMED - 1);
                if let Some(id) = self.decision {
                    abi::record(id, abi::now().saturating_sub(start) / 1_000);
                }
            }
        }
    }
}
