//! A client whose limits change is not refused by a limit that no longer applies.
//!
//! What was let through fills a bucket that drains at the slowest rate that the client ever had. The product's buckets drain at
//! that rate or faster. So if even this bucket has room for a request under its present tier, a refusal is wrong. If several
//! gateways share a limit, what the others hold is lent out, so only a single gateway is judged. The first request after a change
//! gives back what was borrowed before it. Those that come together with it may be faster, so they are not judged.

use std::collections::BTreeMap;

use super::Evidence;
use super::calendar::month_of;
use super::limits::{Refusals, is_charged, spells, tiers};
use crate::log::{Shot, Turn, Verdict, Violation};
use crate::plan::{Fault, Rate, SECOND, Tier};

/// With a store, spending begins to drain when it is reported.
const REPORTED: u64 = SECOND;

/// A change rounds up to a thousandth of a unit, and up to one unit of a lease may be left.
const CRUMBS: u64 = 1_000;

/// See the [module](self).
pub fn check(evidence: &Evidence<'_>) -> Option<Violation> {
    let is_calm = |(_, fault): &(u64, Fault)| {
        matches!(
            fault,
            Fault::Policy { .. } | Fault::Move { .. } | Fault::Override { .. } | Fault::RedisAway { .. }
        )
    };
    let plan = evidence.plan;
    let is_changed = plan.faults.iter().any(|(_, fault)| !matches!(fault, Fault::RedisAway { .. }));
    if plan.nodes.len() > 1 || !is_changed || !plan.faults.iter().all(is_calm) {
        return None;
    }
    let network = plan.network;
    if network.loss + network.straggles + network.garbled + plan.impatience + plan.redis.crash > 0 {
        return None;
    }
    evidence.by_client.iter().find_map(|(client, shots)| of_client(evidence, *client, shots))
}

fn of_client(evidence: &Evidence<'_>, client: u32, shots: &[Shot]) -> Option<Violation> {
    let all = tiers(evidence, client);
    let slowest =
        all.iter().flat_map(|tier| &tier.rates).min_by_key(|rate| rate.units * 86_400 / rate.seconds)?;
    let (mut full, mut at) = (0_u128, 0);
    let mut refusals = Refusals::default();
    let mut months: BTreeMap<u16, u64> = BTreeMap::new();
    // If requests come together, some are refused before others have got their answer. So what passes counts from the moment
    // at which it came.
    let counts_from = |shot: &Shot| if shot.verdict.is_admitted() { shot.at - shot.waited } else { shot.at };
    let mut shots: Vec<&Shot> = shots.iter().collect();
    shots.sort_by_key(|shot| (counts_from(shot), !shot.verdict.is_admitted()));
    let decided: Vec<u64> = shots.iter().map(|shot| shot.at).collect();
    for shot in shots {
        full = full.saturating_sub(drained(slowest, counts_from(shot) - at));
        at = counts_from(shot);
        let month = months.entry(month_of(shot.at)).or_default();
        if shot.verdict.is_admitted() {
            full += u128::from(shot.cost) * scale(slowest);
            *month += shot.cost;
            refusals.was_right(at);
            continue;
        }
        let is_excused = refusals.excuse(at);
        refusals.refused(at);
        let Some(tier) = tier_of(evidence, client, shot) else { continue };
        let used = u64::try_from(full.div_ceil(scale(slowest))).unwrap_or(u64::MAX);
        let (by, is_right) = match shot.verdict {
            Verdict::Refused(_) => {
                ("its rate", tier.rates.iter().any(|rate| may_refuse(evidence, client, rate, used, shot)))
            }
            Verdict::RefusedMonth(_) => (
                "its month",
                tier.monthly.is_some_and(|monthly| *month + shot.cost > monthly * 1_000)
                    || tier.rates.iter().any(|rate| may_refuse(evidence, client, rate, used, shot)),
            ),
            _ => continue,
        };
        if is_right {
            refusals.was_right(at);
        } else if !is_excused && !is_first_since_change(evidence, client, &decided, shot) {
            let what = format!(
                "refused by {by}, though of {tier:?} at most {used} thousandths and {month} of the month are used"
            );
            return Some(Violation { check: "no_longer_applies", client: Some(client), at: shot.at, what });
        }
    }
    None
}

/// Whether no request was decided between the last change of the client's limits and the moment at which this one came.
fn is_first_since_change(evidence: &Evidence<'_>, client: u32, decided: &[u64], shot: &Shot) -> bool {
    let came = shot.at - shot.waited;
    let turns = evidence.log.turns.borrow();
    let changed = turns.get(&client).into_iter().flatten().map(|(at, _)| *at).filter(|at| *at <= came).max();
    changed.is_some_and(|changed| !decided.iter().any(|other| (changed..came).contains(other)))
}

fn may_refuse(evidence: &Evidence<'_>, client: u32, rate: &Rate, used: u64, shot: &Shot) -> bool {
    /// A lease is at most one part in this many of what is left, beyond what the request needs that asks for it.
    const SHARE: u64 = 4;
    // The store decides dear requests itself, while the node holds a lease for cheap ones.
    let costs = &evidence.planned(client).costs;
    let (least, dearest) = (costs.iter().min().copied(), costs.iter().max().copied().unwrap_or(0));
    let lent = match least.filter(|least| *least < dearest && is_charged(evidence, client)) {
        Some(_) => rate.holds() / SHARE + dearest,
        None => 0,
    };
    let late = if evidence.plan.store.is_local { 0 } else { REPORTED + unreported(evidence, rate, shot) };
    let refilled =
        u128::from(rate.units) * 1_000 * u128::from(late) / (u128::from(rate.seconds) * u128::from(SECOND));
    u128::from(used + lent + shot.cost + CRUMBS) + refilled > u128::from(rate.holds())
}

/// How long reports had to wait for Redis. What was spent meanwhile fills the bucket when Redis is back, and then has to drain.
fn unreported(evidence: &Evidence<'_>, rate: &Rate, shot: &Shot) -> u64 {
    let empties = rate.seconds * SECOND * rate.burst / 100;
    let outages = evidence.plan.faults.iter().filter_map(|(at, fault)| match fault {
        Fault::RedisAway { length, .. } => Some((evidence.plan.start + at, *length)),
        _ => None,
    });
    outages
        .filter(|(at, length)| (*at..at + length + REPORTED + empties).contains(&shot.moment))
        .map(|(at, length)| length.min(shot.moment - at))
        .sum()
}

/// The tier by which a request has to be decided; `None` if that is not known.
fn tier_of(evidence: &Evidence<'_>, client: u32, shot: &Shot) -> Option<Tier> {
    let turns = evidence.log.turns.borrow();
    let own = |(_, turn): &(u64, Turn)| match turn {
        Turn::Changing(tier) | Turn::Holds(tier) => tier.name == "own",
        _ => false,
    };
    if turns.get(&client).is_some_and(|turns| turns.iter().any(own)) {
        let is_within = |spell: &super::limits::Spell| (spell.from..spell.until).contains(&shot.at);
        return spells(evidence, client).into_iter().find(is_within).map(|spell| spell.tier);
    }
    evidence.log.tiers.borrow().get(shot.tier).cloned()
}

/// Parts of a thousandth of a unit, so that a whole number of them drains in a nanosecond.
fn scale(rate: &Rate) -> u128 {
    u128::from(rate.seconds) * u128::from(SECOND)
}

fn drained(rate: &Rate, elapsed: u64) -> u128 {
    u128::from(rate.units) * 1_000 * u128::from(elapsed)
}
