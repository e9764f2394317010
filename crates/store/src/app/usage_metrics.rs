//! What this replica has seen of leases. Only metrics use this; nothing is decided by it.
//!
//! A report says what a node has spent since its epoch began, so a message adds the difference to the one before. If
//! other replicas got the messages between, each of these messages counts for an equal part of the difference. So the
//! replicas' counters add up to what was spent. Clients beyond the memory's size are not counted.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use tollgate_core::units::{Cost, MILLI_PER_UNIT, Micros, UnixMicros};

use tollgate_core::client::ClientId;
use tollgate_core::wire::{Answer, Ask};

use super::quota_metrics::QuotaMetrics;
use crate::accounts::Decided;
use crate::backend::AccountEntry;
use crate::locks;
use crate::metrics::Metrics;

const SHARDS: usize = 16;

/// How many leases one shard remembers.
const MAX_LEASES: usize = 8_192;

/// How long an ended lease is remembered, because its node may still report.
const REMEMBERED: Micros = Micros(60_000_000);

/// How many pairs of namespace and tier have a counter of their own. All others share one.
pub(super) const MAX_LABELS: usize = 2_048;

/// The label of the shared counter.
pub(super) const OTHER: &str = "other";

/// What one node holds for one client.
struct Seen {
    epoch: u64,
    seq: u32,
    spent: Cost,
    hold: Cost,
    /// When the lease ends.
    ends: UnixMicros,
}

/// See the [module](self).
#[derive(Default)]
pub struct UsageMetrics {
    shards: [Mutex<HashMap<(ClientId, u64), Seen>>; SHARDS],
    labels: Mutex<HashSet<(String, Arc<str>)>>,
    /// The consumers by the used share of their month.
    pub quotas: QuotaMetrics,
}

/// The part of an entry that is needed after the backend has taken it.
pub struct UsageEntry {
    client: ClientId,
    node: u64,
    tier: Arc<str>,
    is_anonymous: bool,
    monthly: Option<Cost>,
    ask: Ask,
}

impl UsageEntry {
    /// The part of `entry`.
    #[must_use]
    pub fn of(entry: &AccountEntry) -> Self {
        Self {
            client: entry.client,
            node: entry.node,
            tier: Arc::clone(&entry.tier),
            is_anonymous: entry.is_anonymous,
            monthly: entry.terms.monthly,
            ask: entry.ask,
        }
    }

    /// A charge of `cost` to a consumer.
    #[must_use]
    pub fn charge(client: ClientId, tier: &Arc<str>, monthly: Option<Cost>, cost: Cost) -> Self {
        let (tier, ask) = (Arc::clone(tier), Ask::Charge { cost });
        Self { client, node: 0, tier, is_anonymous: false, monthly, ask }
    }
}

impl UsageMetrics {
    /// Counts the entries of a batch that was applied at `now`.
    pub fn record(
        &self,
        namespace: &str,
        entries: &[UsageEntry],
        answers: &[Answer],
        now: UnixMicros,
        metrics: &Metrics,
    ) {
        let mut by_tier: Vec<(&Arc<str>, Cost)> = Vec::new();
        for (entry, answer) in entries.iter().zip(answers) {
            let spent = self.spent(entry, answer, now);
            if let (Answer::Grant(grant), false) = (answer, entry.is_anonymous) {
                let (client, tier) = (entry.client, &entry.tier);
                let (month, used) = (grant.month, grant.month_used);
                self.quotas.record(namespace, client, tier, entry.monthly, month, used);
            }
            match by_tier.iter_mut().find(|(tier, _)| **tier == entry.tier) {
                Some((_, sum)) => *sum = sum.plus(spent),
                None => by_tier.push((&entry.tier, spent)),
            }
        }
        for (tier, spent) in by_tier.into_iter().filter(|(_, spent)| *spent > Cost(0)) {
            let labels = if self.has_label(namespace, tier) { [namespace, tier] } else { [OTHER; 2] };
            metrics.usage_units.with_label_values(&labels).inc_by(spent.0 as f64 / MILLI_PER_UNIT as f64);
        }
    }

    /// Counts a charge that was decided. What a request gets back once it is settled stays counted, because a counter only
    /// grows.
    pub fn record_one(&self, namespace: &str, entry: &UsageEntry, decided: &Decided, metrics: &Metrics) {
        let (entries, answers) = (std::slice::from_ref(entry), [Answer::Grant(decided.grant)]);
        self.record(namespace, entries, &answers, decided.at, metrics);
    }

    /// What is lent at `now` and was not reported as spent. Leases that ended long ago are forgotten.
    pub fn leased(&self, now: UnixMicros) -> Cost {
        let mut sum = Cost(0);
        for shard in &self.shards {
            let mut leases = locks::lock(shard);
            leases.retain(|_, seen| seen.ends.after(REMEMBERED) > now);
            let live = leases.values().filter(|seen| seen.ends > now);
            sum = live.fold(sum, |sum, seen| sum.plus(seen.hold));
        }
        sum
    }

    fn spent(&self, entry: &UsageEntry, answer: &Answer, now: UnixMicros) -> Cost {
        let Answer::Grant(grant) = answer else { return Cost(0) };
        let lease = match entry.ask {
            Ask::Charge { cost } => return if grant.refusal.is_none() { cost } else { Cost(0) },
            Ask::Lease(lease) => lease,
        };
        let [first, ..] = entry.client.0;
        let Some(shard) = self.shards.get(usize::from(first) % SHARDS) else { return Cost(0) };
        let mut leases = locks::lock(shard);
        let key = (entry.client, entry.node);
        let before = leases.get(&key).filter(|seen| seen.epoch == lease.epoch);
        let added = match before {
            Some(seen) => {
                let messages = u64::from(lease.seq.saturating_sub(seen.seq));
                Cost(lease.spent.less(seen.spent).0.checked_div(messages).unwrap_or(0))
            }
            // This is the node's first message. Of a later one, nobody knows how much is new.
            None if lease.seq <= 1 => lease.spent.less(lease.acked),
            None => Cost(0),
        };
        let ends = now.after(grant.ttl.micros());
        let seen = Seen { epoch: lease.epoch, seq: lease.seq, spent: lease.spent, hold: grant.hold, ends };
        if leases.len() < MAX_LEASES || leases.contains_key(&key) {
            leases.insert(key, seen);
        }
        added
    }

    fn has_label(&self, namespace: &str, tier: &Arc<str>) -> bool {
        let mut labels = locks::lock(&self.labels);
        let label = (namespace.to_owned(), Arc::clone(tier));
        labels.contains(&label) || (labels.len() < MAX_LABELS && labels.insert(label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::units::Millis;
    use tollgate_core::wire::{Grant, LeaseRequest};

    fn usage_entries(client: ClientId, node: u64, ask: Ask) -> UsageEntry {
        UsageEntry { client, node, tier: "free".into(), is_anonymous: false, monthly: None, ask }
    }

    fn record(usage_metrics: &UsageMetrics, metrics: &Metrics, client: u8, seq: u32, spent: u64, hold: u64) {
        let ask = Ask::Lease(LeaseRequest { epoch: 5, seq, spent: Cost(spent), ..LeaseRequest::default() });
        let entry = usage_entries(ClientId([client; 16]), 1, ask);
        let answer = Answer::Grant(Grant { hold: Cost(hold), ttl: Millis(10_000), ..Grant::default() });
        usage_metrics.record("n", &[entry], &[answer], UnixMicros(0), metrics);
    }

    fn units(metrics: &Metrics) -> f64 {
        metrics.usage_units.with_label_values(&["n", "free"]).get()
    }

    #[test]
    fn a_report_counts_what_it_adds_and_a_repeated_one_nothing() {
        let (usage_metrics, metrics) = (UsageMetrics::default(), Metrics::new().unwrap());
        record(&usage_metrics, &metrics, 1, 1, 1_000, 9_000);
        record(&usage_metrics, &metrics, 1, 2, 3_500, 6_500);
        record(&usage_metrics, &metrics, 1, 2, 3_500, 6_500);
        assert_eq!(units(&metrics), 3.5);
        assert_eq!(usage_metrics.leased(UnixMicros(0)), Cost(6_500));
        assert_eq!(usage_metrics.leased(UnixMicros(10_000_000)), Cost(0), "it has ended");
    }

    #[test]
    fn two_replicas_that_take_turns_count_every_unit_once() {
        let (ours, theirs) = (UsageMetrics::default(), UsageMetrics::default());
        let (metrics, other) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        for seq in 1..=1_000_u32 {
            let (usage_metrics, metrics) = if seq % 2 == 1 { (&ours, &metrics) } else { (&theirs, &other) };
            record(usage_metrics, metrics, 1, seq, u64::from(seq) * 1_000, 0);
        }
        // The other replica cannot tell how much of its first message was new.
        assert_eq!(units(&metrics) + units(&other), 999.0);
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let (usage_metrics, metrics) = (UsageMetrics::default(), Metrics::new().unwrap());
        for node in 0..MAX_LEASES as u64 + 10 {
            let ask = Ask::Lease(LeaseRequest { epoch: 5, seq: 1, ..LeaseRequest::default() });
            let entry = usage_entries(ClientId([1; 16]), node, ask);
            let answer = Answer::Grant(Grant { hold: Cost(1), ttl: Millis(1), ..Grant::default() });
            usage_metrics.record("n", &[entry], &[answer], UnixMicros(0), &metrics);
        }
        assert_eq!(usage_metrics.leased(UnixMicros(0)), Cost(MAX_LEASES as u64));
        assert_eq!(usage_metrics.leased(UnixMicros(REMEMBERED.0 + 1_000)), Cost(0));
        record(&usage_metrics, &metrics, 1, 1, 0, 5);
        assert_eq!(usage_metrics.leased(UnixMicros(0)), Cost(5), "what has ended makes room");
    }
}
