//! Without the store, and with `on_failure: local`, each gateway lets at most *capacity + rate·t* through. With `ip`, the limit is
//! that of anonymous clients, and with `closed` nothing passes.

use std::collections::BTreeMap;

use super::Evidence;
use super::interval::{Entry, worst};
use super::limits::tiers;
use crate::log::{Incident, Shot, Turn, Verdict, Violation};
use crate::plan::OnFailure;

/// How far a gateway's idea of the store's time may be off: a tenth of a second, and drift since it last heard of the store.
const SLACK: u64 = 100_000_000;

/// See the [module](self).
pub fn check(evidence: &Evidence<'_>) -> Option<Violation> {
    let by_wall = by_wall(evidence);
    evidence.by_client.iter().find_map(|(client, shots)| of_client(evidence, *client, shots, &by_wall))
}

fn of_client(
    evidence: &Evidence<'_>,
    client: u32,
    shots: &[Shot],
    by_wall: &BTreeMap<usize, u64>,
) -> Option<Violation> {
    let planned = evidence.planned(client);
    let word = evidence.plan.tiers[planned.tier].on_failure.unwrap_or(evidence.plan.store.on_failure);
    // There is no formula for limits that change.
    if tiers(evidence, client).len() > 1 || has_reset(evidence, client) {
        return None;
    }
    let word = if word == OnFailure::Ip && planned.name.is_none() { OnFailure::Local } else { word };
    let tier = match word {
        OnFailure::Open => return None,
        OnFailure::Closed => {
            let passed =
                shots.iter().find(|shot| matches!(shot.verdict, Verdict::Fallback | Verdict::Passed));
            return passed.map(|shot| Violation {
                check: "closed",
                client: Some(client),
                at: shot.at,
                what: "let through without the store".to_owned(),
            });
        }
        OnFailure::Local => &evidence.plan.tiers[planned.tier],
        OnFailure::Ip => evidence.plan.tiers.last()?,
    };
    let mut by_node: BTreeMap<(usize, usize), Vec<&Shot>> = BTreeMap::new();
    let is_known = |shot: &Shot| by_wall.get(&shot.node).is_none_or(|since| shot.moment < *since);
    let is_judged = |shot: &&Shot| shot.verdict == Verdict::Fallback && is_known(shot);
    for shot in shots.iter().filter(is_judged) {
        by_node.entry((shot.node, lives(evidence, shot))).or_default().push(shot);
    }
    for ((node, _), shots) in by_node {
        for rate in &tier.rates {
            let entries: Vec<Entry> =
                shots.iter().map(|shot| Entry { at: shot.moment, cost: shot.kept().into() }).collect();
            let more = u128::from(rate.units) * 1_000 * u128::from(SLACK)
                / (u128::from(rate.seconds) * 1_000_000_000);
            if let Some((from, to, admitted, allowed)) = worst(&entries, rate, more as i128 + 1) {
                let what = format!(
                    "node {node} let {admitted} thousandths through without the store in {} ms, of which {rate:?} allows {allowed}",
                    (to - from) / 1_000_000
                );
                return Some(Violation { check: "outage_over", client: Some(client), at: to, what });
            }
        }
    }
    None
}

/// By gateway, the first moment at which it had a worker that the store had not answered yet, and that went by a wall clock which
/// differs from the store's. The docs give no formula for what buckets refill then.
fn by_wall(evidence: &Evidence<'_>) -> BTreeMap<usize, u64> {
    let mut since = BTreeMap::new();
    for shot in evidence.by_client.values().flatten().filter(|shot| shot.by_wall.is_some()) {
        let first: &mut u64 = since.entry(shot.node).or_insert(shot.moment);
        *first = shot.moment.min(*first);
    }
    since
}

/// How often a request's gateway had been killed before, or its table spoiled.
fn lives(evidence: &Evidence<'_>, shot: &Shot) -> usize {
    let incidents = evidence.log.incidents.borrow();
    let of_node = |incident: &Incident| match incident {
        Incident::NodeDied(node) | Incident::Spoiled(node) => *node == shot.node,
        // Then the gateways are told less than they knew.
        Incident::FailedOver(_) | Incident::StoreClock(_) => true,
    };
    incidents.iter().filter(|(at, incident)| *at <= shot.moment && of_node(incident)).count()
}

fn has_reset(evidence: &Evidence<'_>, client: u32) -> bool {
    let turns = evidence.log.turns.borrow();
    turns.get(&client).into_iter().flatten().any(|(_, turn)| matches!(turn, Turn::Reset(..)))
}
