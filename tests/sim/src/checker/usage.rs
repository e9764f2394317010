//! Once everything is mended and leases have gone back, the store says that every consumer has used what it was let through,
//! and what gateways held when they died.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Evidence;
use super::calendar::{month_of, start_of, start_of_day};
use super::limits::{is_charged, tiers};
use crate::log::{Incident, Shot, Turn, Verdict, Violation};

/// A request this near to the end of a day may count on either day, because gateways know the store's time only as well as
/// its answers arrive.
const NEAR: u64 = 2_000_000_000;

/// Longest delay before the usage of a consumer without limits is reported.
const REPORT: u64 = 1_500_000_000;

/// Longest delay before the usage of a consumer is reported that comes now and then.
const REPORT_LATE: u64 = 32_000_000_000;

/// See the [module](self).
pub fn check(evidence: &Evidence<'_>) -> Option<Violation> {
    let usage = evidence.log.usage.borrow();
    if usage.is_empty() {
        return None;
    }
    let mut by_client: BTreeMap<u32, Vec<(u16, u64)>> = BTreeMap::new();
    for ((client, month), used) in usage.iter() {
        by_client.entry(*client).or_default().push((*month, *used));
    }
    let (none, by_wall) = (Vec::new(), by_wall(evidence));
    by_client.iter().find_map(|(client, months)| {
        if has_month_reset(evidence, *client) {
            return None;
        }
        let shots = evidence.by_client.get(client).unwrap_or(&none);
        of_client(evidence, *client, shots, months, &by_wall)
    })
}

fn of_client(
    evidence: &Evidence<'_>,
    client: u32,
    shots: &[Shot],
    months: &[(u16, u64)],
    by_wall: &[ByWall],
) -> Option<Violation> {
    let violation = |check, what: String| {
        let at = shots.last().map_or(evidence.plan.start, |shot| shot.at);
        Some(Violation { check, client: Some(client), at, what })
    };
    let admitted = |shots: &mut dyn Iterator<Item = &Shot>| -> u64 {
        shots.filter(|shot| shot.verdict.is_admitted()).map(Shot::spent).sum()
    };
    let all = admitted(&mut shots.iter());
    let used: u64 = months.iter().map(|(_, used)| used).sum();
    let (less, more) = (unreported(evidence, client, shots), lost_with_nodes(evidence, client));
    if used + less < all {
        return violation(
            "usage_lost",
            format!("the store says {used} thousandths, {all} were let through, {less} of them may be lost"),
        );
    }
    let more = more + counted_twice(evidence, client, shots);
    let more = more
        + lost_settlements(evidence, shots).map(|shot| shot.cost.saturating_sub(shot.spent())).sum::<u64>();
    if used > all + more {
        return violation(
            "usage_invented",
            format!(
                "the store says {used} thousandths, {all} were let through, {more} may have died with gateways"
            ),
        );
    }
    let was_set = |(_, incident): &(u64, Incident)| matches!(incident, Incident::StoreClock(_));
    if evidence.log.incidents.borrow().iter().any(was_set) {
        return None;
    }
    let days = days(evidence, client);
    for (month, used) in months {
        let sum: u64 =
            days.iter().filter(|(from, ..)| month_of(*from) == *month).map(|(.., used)| used).sum();
        if sum != *used {
            return violation(
                "usage_days",
                format!("the store says {used} thousandths of month {month}, and {sum} of its days"),
            );
        }
    }
    let months = months.iter().map(|(month, used)| (start_of(*month), start_of(*month + 1), *used));
    for (from, to, used) in months.chain(days.iter().copied()) {
        let near = |shot: &&Shot| {
            [from, to].into_iter().any(|turn| {
                let is_settled_after =
                    shot.settled.is_some_and(|(_, moment)| (shot.at..moment + NEAR).contains(&turn));
                shot.at.abs_diff(turn) < NEAR
                    || is_settled_after
                    || by_wall.iter().any(|spell| spell.may_confuse(shot, turn))
            })
        };
        let within = admitted(&mut shots.iter().filter(|shot| (from..to).contains(&shot.at)));
        // What a request costs more or less than at first may count in the time in which that is known.
        let around = admitted(&mut shots.iter().filter(near));
        let around = around + shots.iter().filter(near).map(|shot| shot.cost).sum::<u64>();
        // In an outage, only the turn itself is known.
        if used + less + around < within || used > within + around + more {
            let days = (to - from) / start_of_day(1);
            return violation(
                "usage_period",
                format!(
                    "the store says {used} thousandths in {days} days from {from} ns, {within} were let through, {around} near \
                     its ends"
                ),
            );
        }
    }
    None
}

/// The days on which the store or the log has something: when they begin and end, and what the store says of them.
fn days(evidence: &Evidence<'_>, client: u32) -> Vec<(u64, u64, u64)> {
    let none = Vec::new();
    let shots = evidence.by_client.get(&client).unwrap_or(&none);
    let mut used: BTreeMap<u16, u64> =
        shots.iter().map(|shot| ((shot.at / start_of_day(1)) as u16, 0)).collect();
    let said = evidence.log.days.borrow();
    used.extend(said.range((client, 0)..=(client, u16::MAX)).map(|((_, day), used)| (*day, *used)));
    used.into_iter().map(|(day, used)| (start_of_day(day), start_of_day(day + 1), used)).collect()
}

/// A worker that the store has not answered yet. Its month begins by its gateway's wall clock, as docs/modes.md says.
struct ByWall {
    node: usize,
    /// When it has let requests through.
    spell: Range<u64>,
    /// The moments between its clock and the store's.
    confused: Range<u64>,
}

impl ByWall {
    /// Whether `shot` may count on the other side of `turn`, the end of a month.
    fn may_confuse(&self, shot: &Shot, turn: u64) -> bool {
        shot.node == self.node && self.spell.contains(&shot.at) && self.confused.contains(&turn)
    }
}

fn by_wall(evidence: &Evidence<'_>) -> Vec<ByWall> {
    let mut spells: BTreeMap<(usize, u64), ByWall> = BTreeMap::new();
    let shots = evidence.by_client.values().flatten();
    for (shot, wall) in shots.filter_map(|shot| Some((shot, shot.by_wall?))) {
        let now = shot.at..shot.at + NEAR;
        let fresh = ByWall { node: shot.node, spell: now.clone(), confused: now };
        let one = spells.entry((shot.node, shot.root)).or_insert(fresh);
        one.spell = one.spell.start.min(shot.at)..one.spell.end.max(shot.at + NEAR);
        let (first, last) = (shot.at.min(wall), shot.at.max(wall) + NEAR);
        one.confused = one.confused.start.min(first)..one.confused.end.max(last);
    }
    spells.into_values().collect()
}

/// What may never have been reported: what a gateway let through without a lease before it died, or before the record was spoiled
/// or evicted.
fn unreported(evidence: &Evidence<'_>, client: u32, shots: &[Shot]) -> u64 {
    let incidents = evidence.log.incidents.borrow();
    let is_unlimited =
        tiers(evidence, client).iter().any(|tier| tier.rates.is_empty() && tier.monthly.is_none());
    let is_charged = is_charged(evidence, client);
    let is_lost = |shot: &&Shot| {
        incidents.iter().any(|(at, incident)| match incident {
            Incident::NodeDied(node) | Incident::Spoiled(node)
                if *node == shot.node && shot.moment <= *at =>
            {
                match shot.verdict {
                    Verdict::Fallback | Verdict::Passed => true,
                    // Since its last report.
                    Verdict::Paid => is_unlimited && unreported_since(evidence, *at) <= shot.moment,
                    _ => false,
                }
            }
            // Charges are not repeated, but spending is, with the gateway's next report.
            Incident::FailedOver(since) if evidence.plan.store.is_strict => {
                shot.moment >= *since && shot.moment <= *at
            }
            Incident::FailedOver(since) if is_charged && (*since..=*at).contains(&shot.moment) => true,
            Incident::FailedOver(since) => {
                (unreported_since(evidence, since.saturating_sub(REPORT_LATE))..=*at).contains(&shot.moment)
                    && !is_told_again(&incidents, shots, shot.node, *at)
            }
            _ => false,
        })
    };
    let lost = shots.iter().filter(|shot| shot.verdict.is_admitted()).filter(is_lost);
    let evicted = evidence.plan.claims.may_evict;
    let owed = shots.iter().filter(|shot| evicted && matches!(shot.verdict, Verdict::Fallback));
    let lost: u64 = lost.chain(owed).map(|shot| shot.cost.max(shot.spent())).sum();
    // What a request cost beyond its first charge was let through without a lease.
    lost + lost_settlements(evidence, shots).map(|shot| shot.spent().saturating_sub(shot.cost)).sum::<u64>()
}

/// The requests that were settled when nobody may have learned of it: it was in the memory of a gateway that died, or in writes
/// that Redis has lost.
fn lost_settlements<'a>(evidence: &Evidence<'_>, shots: &'a [Shot]) -> impl Iterator<Item = &'a Shot> {
    let incidents = evidence.log.incidents.borrow();
    let spells: Vec<(u64, u64, Option<usize>)> = incidents
        .iter()
        .filter_map(|(at, incident)| match incident {
            Incident::NodeDied(node) | Incident::Spoiled(node) => {
                Some((unreported_since(evidence, *at), *at, Some(*node)))
            }
            Incident::FailedOver(since) => {
                Some((unreported_since(evidence, since.saturating_sub(REPORT_LATE)), *at, None))
            }
            Incident::StoreClock(_) => None,
        })
        .collect();
    shots.iter().filter(move |shot| {
        let Some((_, moment)) = shot.settled else { return false };
        spells.iter().any(|(from, to, node)| {
            (*from..=*to).contains(&moment) && node.is_none_or(|node| node == shot.node)
        })
    })
}
/// Whether a gateway has let the client through again after Redis lost writes at `at`, and has lived to report it.
fn is_told_again(incidents: &[(u64, Incident)], shots: &[Shot], node: usize, at: u64) -> bool {
    let is_end = |incident: &Incident| match incident {
        Incident::NodeDied(of) | Incident::Spoiled(of) => *of == node,
        _ => false,
    };
    let ends = incidents.iter().filter(|(when, incident)| *when > at && is_end(incident));
    let end = ends.map(|(when, _)| *when).min().unwrap_or(u64::MAX);
    shots
        .iter()
        .any(|shot| shot.node == node && shot.verdict.is_admitted() && (at..end).contains(&shot.moment))
}

/// The moment since which a gateway that died at `at` may not have reported: when the trouble began in which it could not.
fn unreported_since(evidence: &Evidence<'_>, at: u64) -> u64 {
    let mut since = at.saturating_sub(REPORT);
    let troubles = evidence.log.troubles.borrow();
    let mut all: Vec<(u64, u64)> = troubles.clone();
    all.sort_by_key(|(from, _)| std::cmp::Reverse(*from));
    for (from, until) in all {
        if from <= at && until + REPORT >= since {
            since = since.min(from.saturating_sub(REPORT));
        }
    }
    // What Redis has lost is reported again with the next report, if there is one.
    for (failed_over, incident) in evidence.log.incidents.borrow().iter() {
        if let Incident::FailedOver(lost) = incident
            && *failed_over <= at
        {
            since = since.min(*lost);
        }
    }
    since
}

/// What gateways may have held when they died or lost a record, and what they had given back before Redis lost that. It counts
/// as spent.
fn lost_with_nodes(evidence: &Evidence<'_>, client: u32) -> u64 {
    let incidents = evidence.log.incidents.borrow();
    let holds = tiers(evidence, client).iter().flat_map(|tier| &tier.rates).map(|rate| rate.holds()).max();
    let months =
        tiers(evidence, client).iter().filter_map(|tier| tier.monthly).max().map(|units| units * 1_000);
    let most = holds.or(months).unwrap_or(0);
    let deaths = incidents.len() as u64;
    let evictions = if evidence.plan.claims.may_evict { u64::MAX / 4 } else { 0 };
    deaths * most + evictions
}

/// If the store decides requests one by one, what it may have charged by calls whose answer was lost, so that the request was
/// decided without it, or whose client had gone away.
fn counted_twice(evidence: &Evidence<'_>, client: u32, shots: &[Shot]) -> u64 {
    if !is_charged(evidence, client) {
        return 0;
    }
    // A request whose call was lost has waited. And the network may repeat a call that charges.
    let abandoned = evidence.log.abandoned.borrow().get(&client).copied().unwrap_or(0);
    shots.iter().map(|shot| shot.cost).sum::<u64>() + abandoned
}

fn has_month_reset(evidence: &Evidence<'_>, client: u32) -> bool {
    let turns = evidence.log.turns.borrow();
    turns.get(&client).into_iter().flatten().any(|(_, turn)| matches!(turn, Turn::Reset(_, true)))
}
