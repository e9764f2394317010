//! In any calendar month, a client gets at most its quota.

use std::collections::BTreeMap;

use super::Evidence;
use super::calendar::month_of;
use super::limits::tiers;
use crate::log::{Incident, Turn, Verdict, Violation};

/// See the [module](self).
pub fn check(evidence: &Evidence<'_>) -> Option<Violation> {
    for (client, shots) in &evidence.by_client {
        let tiers = tiers(evidence, *client);
        let Some(quota) = tiers.iter().map(|tier| tier.monthly).collect::<Option<Vec<u64>>>() else {
            continue;
        };
        let quota = quota.into_iter().max().unwrap_or(0) * 1_000;
        let mut used: BTreeMap<u16, u64> = BTreeMap::new();
        for shot in shots.iter().filter(|shot| shot.verdict == Verdict::Paid) {
            let month = month_of(shot.at);
            let used = used.entry(month).or_default();
            *used += shot.kept();
            let allowed = quota * (1 + resets(evidence, *client, month)) + lost(evidence, *client, month);
            if *used > allowed {
                let what = format!("{used} thousandths in month {month}, of which {allowed} were allowed");
                return Some(Violation { check: "month_over", client: Some(*client), at: shot.at, what });
            }
        }
    }
    None
}

/// How often a client's month was reset.
fn resets(evidence: &Evidence<'_>, client: u32, month: u16) -> u64 {
    let turns = evidence.log.turns.borrow();
    let all = turns.get(&client).into_iter().flatten();
    all.filter(|(at, turn)| matches!(turn, Turn::Reset(_, true)) && month_of(*at) == month).count() as u64
}

/// What Redis may have lent once more.
fn lost(evidence: &Evidence<'_>, client: u32, month: u16) -> u64 {
    let incidents = evidence.log.incidents.borrow();
    let failovers = incidents
        .iter()
        .filter(|(at, incident)| matches!(incident, Incident::FailedOver(_)) && month_of(*at) == month)
        .count() as u64;
    let holds = tiers(evidence, client).iter().flat_map(|tier| &tier.rates).map(|rate| rate.holds()).max();
    failovers * holds.unwrap_or(0)
}
