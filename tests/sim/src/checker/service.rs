//! Clients get all of their limit if they ask for more, everything if they ask for little, and the store's decision again soon
//! after it is back.

use super::Evidence;
use super::limits::tiers;
use crate::log::{Shot, Verdict, Violation};
use crate::plan::{Habit, MILLISECOND, OnFailure, Place, SECOND};

/// After this long without trouble, every root uses the store again. It is two seconds, and the time of a call.
const RECOVERY: u64 = 3 * SECOND;

/// See the [module](self).
pub fn check(evidence: &Evidence<'_>) -> Option<Violation> {
    evidence
        .by_client
        .iter()
        .find_map(|(client, shots)| {
            waits(evidence, *client, shots)
                .or_else(|| recovery(evidence, *client, shots))
                .or_else(|| modest(evidence, *client, shots))
        })
        .or_else(|| used_up(evidence))
}

/// No request waits longer than a call and a tick may take. If it was answered meanwhile, it may wait that long again each time.
fn waits(evidence: &Evidence<'_>, client: u32, shots: &[Shot]) -> Option<Violation> {
    let store = evidence.plan.store;
    let longest = 16 * (store.timeout + store.sync_interval) * MILLISECOND;
    let late = shots.iter().find(|shot| shot.waited > longest)?;
    let what = format!("it waited {} ms", late.waited / MILLISECOND);
    Some(Violation { check: "waits_long", client: Some(client), at: late.at, what })
}

/// No request is decided without the store if that has been there for a while.
fn recovery(evidence: &Evidence<'_>, client: u32, shots: &[Shot]) -> Option<Violation> {
    let network = evidence.plan.network;
    // If the network is too slow, or bad all the time, the store is not there. A request's second call has only what is left of
    // its time.
    let is_slow = 4 * network.most + evidence.plan.redis.delay >= evidence.plan.store.timeout * MILLISECOND;
    if is_slow || network.loss + network.garbled + network.straggles > 0 || evidence.plan.redis.crash > 0 {
        return None;
    }
    let planned = evidence.planned(client);
    let word = evidence.plan.tiers[planned.tier].on_failure.unwrap_or(evidence.plan.store.on_failure);
    // A client that may pass without the store also does so if others were faster to spend what the store has lent.
    let is_excused = |shot: &Shot| word == OnFailure::Open && !shot.was_away;
    let troubles = evidence.log.troubles.borrow();
    let is_quiet = |at: u64| troubles.iter().all(|(from, until)| at < *from || at > until + RECOVERY);
    let late = shots
        .iter()
        .find(|shot| shot.verdict == Verdict::Fallback && is_quiet(shot.moment) && !is_excused(shot))?;
    let what = "it was decided without a store that is there".to_owned();
    Some(Violation { check: "recovery", client: Some(client), at: late.at, what })
}

/// A client that asks for less than half of its limit is never refused.
fn modest(evidence: &Evidence<'_>, client: u32, shots: &[Shot]) -> Option<Violation> {
    let planned = evidence.planned(client);
    let most = planned.costs.iter().max().copied().unwrap_or(0);
    let Habit::Steady { every } = planned.habit else { return None };
    let tiers = tiers(evidence, client);
    let rates = tiers.iter().flat_map(|tier| &tier.rates);
    // The habit's shortest interval is half of its mean.
    let is_modest = |units: u64, seconds: u64| {
        u128::from(most) * u128::from(seconds) * u128::from(SECOND) * 2
            < u128::from(units) * 1_000 * u128::from(every / 2)
    };
    let mut rates = rates.map(|rate| is_modest(rate.units, rate.seconds));
    if !evidence.plan.claims.modest_are_served || planned.name.is_none() || !rates.all(|is_modest| is_modest)
    {
        return None;
    }
    let refused = shots.iter().find(|shot| !shot.verdict.is_admitted())?;
    let what = format!("it asks for less than half of its limit: {:?}", refused.verdict);
    Some(Violation { check: "refused_below_half", client: Some(client), at: refused.at, what })
}

/// A client that asks for more than its limit gets 99 % of it.
fn used_up(evidence: &Evidence<'_>) -> Option<Violation> {
    if !evidence.plan.claims.is_used_up {
        return None;
    }
    for (number, planned) in evidence.plan.clients.iter().enumerate() {
        let tier = &evidence.plan.tiers[planned.tier];
        let Habit::Steady { every } = planned.habit else { continue };
        let (Some(shots), Some(rate)) = (evidence.by_client.get(&(number as u32)), tightest(tier)) else {
            continue;
        };
        // Requests after the quiet begins do not count.
        let end = evidence.plan.start + evidence.plan.length;
        let shots: Vec<&Shot> = shots.iter().filter(|shot| shot.moment < end).collect();
        if shots.is_empty() {
            continue;
        }
        let mean = planned.costs.iter().sum::<u64>() / planned.costs.len() as u64;
        let asks = u128::from(mean) * u128::from(rate.seconds) * u128::from(SECOND);
        let may = u128::from(rate.units) * 1_000 * u128::from(every);
        if asks < 2 * may || tier.monthly.is_some() || tier.rates.len() > 1 {
            continue;
        }
        let admitted: u128 =
            shots.iter().filter(|shot| shot.verdict == Verdict::Paid).map(|shot| u128::from(shot.cost)).sum();
        let (first, last) = (shots.first()?.at, shots.last()?.at);
        let allowed = u128::from(rate.holds())
            + u128::from(rate.units) * 1_000 * u128::from(last - first)
                / (u128::from(rate.seconds) * u128::from(SECOND));
        // A client that did not ask for all that there was from the beginning had no need of it.
        let asked: u128 = shots.iter().map(|shot| u128::from(shot.cost)).sum();
        if asked < allowed * 3 / 2 {
            continue;
        }
        let is_few = planned.costs.iter().any(|cost| cost * 3 > rate.holds());
        let percent = if matches!(planned.place, Place::Moving) { 95 } else { 99 - u128::from(is_few) };
        // The last requests may still be waiting.
        let crumbs = u128::from(*planned.costs.iter().max().unwrap_or(&0)) * 2;
        if admitted + crumbs < allowed * percent / 100 {
            let what = format!("{admitted} thousandths were let through of {allowed}: not {percent} %");
            return Some(Violation { check: "used_up", client: Some(number as u32), at: last, what });
        }
    }
    None
}

fn tightest(tier: &crate::plan::Tier) -> Option<crate::plan::Rate> {
    tier.rates.first().copied()
}
