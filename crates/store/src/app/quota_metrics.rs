//! How many consumers have used how much of their month. Only metrics use this; nothing is decided by it.
//!
//! `/metrics` needs no token, so it has numbers and no names. `GET /v1/usage/{namespace}` has the names. A replica
//! counts the consumers that it has seen this month since it started. Of several replicas, the one with the highest
//! count is the most accurate. Anonymous clients, unlimited months and consumers beyond the memory's size are not
//! counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tollgate_core::client::ClientId;
use tollgate_core::limit::Month;
use tollgate_core::units::{Cost, UnixMicros};

use super::usage_metrics::{MAX_LABELS, OTHER};
use crate::locks;
use crate::metrics::Metrics;

/// The shares of a month, in percent, that consumers have reached or passed.
pub const SHARES: [(u8, &str); 5] = [(0, "0"), (50, "50"), (75, "75"), (90, "90"), (100, "100")];

const SHARDS: usize = 16;

/// How many consumers one shard remembers.
const MAX_CONSUMERS: usize = 8_192;

/// A namespace and a tier.
type Labels = (Arc<str>, Arc<str>);

struct Consumer {
    namespace: Arc<str>,
    tier: Arc<str>,
    month: u16,
    /// The used part of the month's quota, in percent, rounded down and at most 100.
    percent: u8,
}

/// See the [module](self).
#[derive(Default)]
pub struct QuotaMetrics {
    shards: [Mutex<HashMap<ClientId, Consumer>>; SHARDS],
    /// All labels that were ever counted: a gauge without consumers has to be set to 0.
    counted: Mutex<BTreeMap<Labels, [i64; SHARES.len()]>>,
}

impl QuotaMetrics {
    /// Records that `client` has used `used` of `monthly` in `month`. Without `monthly` the month is unlimited.
    pub fn record(
        &self,
        namespace: &str,
        client: ClientId,
        tier: &Arc<str>,
        monthly: Option<Cost>,
        month: u16,
        used: Cost,
    ) {
        let [first, ..] = client.0;
        let Some(shard) = self.shards.get(usize::from(first) % SHARDS) else { return };
        let mut consumers = locks::lock(shard);
        let Some(monthly) = monthly else {
            consumers.remove(&client);
            return;
        };
        let percent = match used.times(100).0.checked_div(monthly.0) {
            Some(percent) => u8::try_from(percent.min(100)).unwrap_or(100),
            // A quota of 0 counts as used up.
            None => 100,
        };
        let has_room = consumers.len() < MAX_CONSUMERS;
        match consumers.get_mut(&client) {
            Some(consumer) => {
                (consumer.month, consumer.percent) = (month, percent);
                if consumer.tier != *tier {
                    consumer.tier = Arc::clone(tier);
                }
            }
            None if has_room => {
                let consumer =
                    Consumer { namespace: namespace.into(), tier: Arc::clone(tier), month, percent };
                consumers.insert(client, consumer);
            }
            None => {}
        }
    }

    /// Sets the gauges of `metrics` at `now`, and forgets other months.
    pub fn count(&self, now: UnixMicros, metrics: &Metrics) {
        let month = Month::of(now.nanos()).0;
        let mut counted = locks::lock(&self.counted);
        for counts in counted.values_mut() {
            *counts = Default::default();
        }
        for shard in &self.shards {
            let mut consumers = locks::lock(shard);
            consumers.retain(|_, consumer| consumer.month == month);
            for consumer in consumers.values() {
                let mut labels = (Arc::clone(&consumer.namespace), Arc::clone(&consumer.tier));
                if counted.len() >= MAX_LABELS && !counted.contains_key(&labels) {
                    labels = (OTHER.into(), OTHER.into());
                }
                let counts = counted.entry(labels).or_default();
                for ((share, _), count) in SHARES.iter().zip(counts) {
                    *count = count.saturating_add((consumer.percent >= *share).into());
                }
            }
        }
        for ((namespace, tier), counts) in counted.iter() {
            for ((_, share), count) in SHARES.iter().zip(counts) {
                metrics.quota_consumers.with_label_values(&[&**namespace, &**tier, *share]).set(*count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24T00:00:00Z, and its month.
    const NOW: u64 = 1_795_478_400_000_000;
    const NOVEMBER: u16 = 56 * 12 + 10;
    const WEEK: u64 = 7 * 86_400_000_000;

    fn record(consumers: &QuotaMetrics, client: u128, tier: &str, monthly: Option<Cost>, used: Cost) {
        consumers.record("n", ClientId(client.to_le_bytes()), &tier.into(), monthly, NOVEMBER, used);
    }

    fn counts(consumers: &QuotaMetrics, now: UnixMicros, tier: &str) -> [i64; SHARES.len()] {
        let metrics = Metrics::new().unwrap();
        consumers.count(now, &metrics);
        SHARES.map(|(_, share)| metrics.quota_consumers.with_label_values(&["n", tier, share]).get())
    }

    #[test]
    fn a_consumer_counts_once_at_every_share_that_it_has_reached() {
        let consumers = QuotaMetrics::default();
        record(&consumers, 1, "pro", Some(Cost(1_000)), Cost(0));
        record(&consumers, 2, "pro", Some(Cost(1_000)), Cost(499));
        record(&consumers, 3, "pro", Some(Cost(1_000)), Cost(500));
        record(&consumers, 4, "pro", Some(Cost(1_000)), Cost(899));
        record(&consumers, 4, "pro", Some(Cost(1_000)), Cost(900));
        record(&consumers, 5, "pro", Some(Cost(1_000)), Cost(1_000));
        record(&consumers, 6, "pro", Some(Cost(0)), Cost(0));
        record(&consumers, 7, "enterprise", None, Cost(1_000));
        assert_eq!(counts(&consumers, UnixMicros(NOW), "pro"), [6, 4, 3, 3, 2]);
        assert_eq!(counts(&consumers, UnixMicros(NOW), "enterprise"), [0; 5]);
    }

    #[test]
    fn another_quota_or_tier_moves_it() {
        let consumers = QuotaMetrics::default();
        record(&consumers, 1, "free", Some(Cost(1_000)), Cost(950));
        assert_eq!(counts(&consumers, UnixMicros(NOW), "free"), [1, 1, 1, 1, 0]);
        record(&consumers, 1, "pro", Some(Cost(10_000)), Cost(950));
        assert_eq!(counts(&consumers, UnixMicros(NOW), "free"), [0; 5]);
        assert_eq!(counts(&consumers, UnixMicros(NOW), "pro"), [1, 0, 0, 0, 0]);
        record(&consumers, 1, "pro", None, Cost(950));
        assert_eq!(counts(&consumers, UnixMicros(NOW), "pro"), [0; 5]);
    }

    #[test]
    fn a_month_that_is_over_is_forgotten_and_its_gauges_say_0() {
        let consumers = QuotaMetrics::default();
        let metrics = Metrics::new().unwrap();
        record(&consumers, 1, "free", Some(Cost(1_000)), Cost(1_000));
        consumers.count(UnixMicros(NOW), &metrics);
        let full = metrics.quota_consumers.with_label_values(&["n", "free", "100"]);
        assert_eq!(full.get(), 1);
        consumers.count(UnixMicros(NOW + WEEK), &metrics);
        assert_eq!(full.get(), 0);
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let consumers = QuotaMetrics::default();
        // They are all in one shard, because their first byte is 0.
        for client in 0..MAX_CONSUMERS as u128 + 10 {
            record(&consumers, client << 8, "free", Some(Cost(1_000)), Cost(1));
        }
        assert_eq!(counts(&consumers, UnixMicros(NOW), "free")[0], MAX_CONSUMERS as i64);
    }
}
