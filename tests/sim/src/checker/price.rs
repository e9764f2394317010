//! Requests cost the store no more than promised: calls that they wait for, and accounts that it reads and writes.

use super::Evidence;
use crate::log::Violation;

/// See the [module](self).
pub fn check(evidence: &Evidence<'_>) -> Option<Violation> {
    let price = evidence.plan.claims.price?;
    let counts = evidence.log.counts.get();
    let shots = evidence.by_client.values().flatten();
    let admitted = shots.filter(|shot| shot.verdict.is_admitted()).count() as u64;
    let is_dear = |spent: u64, a_thousand: u64| spent * 1_000 > admitted * a_thousand;
    if !is_dear(counts.asks, price.asks) && !is_dear(counts.entries, price.entries) {
        return None;
    }
    let what = format!(
        "{admitted} requests were let through, {} have asked for themselves, and the store was told of {} clients",
        counts.asks, counts.entries
    );
    let at = evidence.plan.start + evidence.plan.length;
    Some(Violation { check: "price", client: None, at, what })
}
