//! In any interval of length *t*, a client gets at most *capacity + rate·t*.
//!
//! If *S* is the sum of costs so far, the interval from request *i* to request *j* is within the limit if
//! *S*(*j*) − *S*(*i*−1) ≤ capacity + rate·(*t*(*j*) − *t*(*i*)). All numbers are whole, because they are multiplied by the period.

use super::Evidence;
use super::limits::{is_charged, refills, spells, tiers};
use crate::log::{Incident, Shot, Verdict, Violation};
use crate::plan::{Rate, SECOND, Tier};

/// An admitted cost, or an excuse, which is negative.
pub struct Entry {
    /// The moment, in nanoseconds.
    pub at: u64,
    /// The amount, in thousandths.
    pub cost: i128,
}

/// The first interval in which more was let through than `rate` and `more` thousandths allow: its ends, what was let through,
/// and what was allowed.
#[must_use]
pub fn worst(entries: &[Entry], rate: &Rate, more: i128) -> Option<(u64, u64, i128, i128)> {
    let period = i128::from(rate.seconds) * 1_000_000_000;
    let units = i128::from(rate.units) * 1_000;
    let capacity = i128::from(rate.holds()) * period + more * period;
    let mut sum = 0;
    // The lowest S(i−1)·period − units·t(i) so far, and its i.
    let mut least: Option<(i128, usize, i128)> = None;
    for (index, entry) in entries.iter().enumerate() {
        let time = units * i128::from(entry.at);
        let before = sum * period - time;
        if least.is_none_or(|(least, ..)| before < least) {
            least = Some((before, index, sum));
        }
        sum += entry.cost;
        if let Some((least, from, sum_before)) = least
            && sum * period - time - least > capacity
        {
            let start = entries[from].at;
            let allowed = (capacity + units * i128::from(entry.at - start)) / period;
            return Some((start, entry.at, sum - sum_before, allowed));
        }
    }
    None
}

/// See the [module](self).
pub fn check(evidence: &Evidence<'_>) -> Option<Violation> {
    evidence.by_client.iter().find_map(|(client, shots)| of_client(evidence, *client, shots))
}

fn of_client(evidence: &Evidence<'_>, client: u32, shots: &[Shot]) -> Option<Violation> {
    let is_paid = |shot: &&Shot| shot.verdict == Verdict::Paid && !was_clock_set(evidence, shot.at);
    let paid: Vec<&Shot> = shots.iter().filter(is_paid).collect();
    for spell in spells(evidence, client) {
        for rate in &spell.tier.rates {
            let excuses = excuses(evidence, client, rate, rate.holds());
            let within = |at: u64| (spell.from..spell.until).contains(&at);
            let entries = merged(&paid, &excuses, within);
            if let Some(found) = worst(&entries, rate, late(evidence, client, rate)) {
                return Some(violation(client, rate, found));
            }
        }
    }
    whole(evidence, client, &paid)
}

/// How much more may pass if the store decides each request, in strict mode or because a bucket or the month holds few. The
/// store charges when it is asked, but the request passes when the answer arrives, which may be late for one request and early
/// for the next.
fn late(evidence: &Evidence<'_>, client: u32, rate: &Rate) -> i128 {
    let store = evidence.plan.store;
    let within = if is_charged(evidence, client) { i128::from(store.timeout) } else { 0 };
    i128::from(rate.units) * 1_000 * within / (i128::from(rate.seconds) * 1_000) + i128::from(within > 0)
}

/// Whether the store's clock was set forward shortly before. Then leases that nodes still hold have ended for the store, and it
/// lends the same again.
fn was_clock_set(evidence: &Evidence<'_>, at: u64) -> bool {
    let incidents = evidence.log.incidents.borrow();
    incidents.iter().any(|(from, incident)| match incident {
        Incident::StoreClock(by) if *by > 0 => (*from..from + by.unsigned_abs() + 59 * SECOND).contains(&at),
        _ => false,
    })
}

/// Checks the whole run of a client whose limits change, for it alone or at one gateway after the other. It gets at most the
/// highest rate and the largest capacity if all its tiers have a limit of the same period, or else each capacity once. With a
/// store, it gets a capacity for each change, because what is lent under a larger limit may be reported under a smaller one.
fn whole(evidence: &Evidence<'_>, client: u32, paid: &[&Shot]) -> Option<Violation> {
    let tiers = tiers(evidence, client);
    if tiers.len() < 2 || tiers.iter().any(|tier| tier.rates.is_empty()) {
        return None;
    }
    let per_day = |rate: &Rate| rate.units * (86_400 / rate.seconds);
    // A reset fills the bucket that the client has at that moment, which may be larger than that of its fastest limit.
    let largest = tiers.iter().flat_map(|tier| &tier.rates).map(Rate::holds).max()?;
    let common = common(&tiers);
    let rates = || common.as_deref().unwrap_or_default().iter().copied();
    let (fastest, holds) = if evidence.plan.store.is_local && common.is_some() {
        (rates().max_by_key(per_day)?, rates().map(|rate| rate.holds()).max()?)
    } else {
        let holds = if evidence.plan.store.is_local { distinct(&tiers) } else { tiers };
        let rates = || holds.iter().map(|tier| tier.rates[0]);
        (rates().max_by_key(per_day)?, rates().map(|rate| rate.holds()).sum())
    };
    let more = i128::from(holds) - i128::from(fastest.holds()) + late(evidence, client, &fastest);
    let entries = merged(paid, &excuses(evidence, client, &fastest, largest), |_| true);
    worst(&entries, &fastest, more).map(|found| violation(client, &fastest, found))
}

/// Each tier's limit of the shortest period that all tiers have.
fn common(tiers: &[Tier]) -> Option<Vec<Rate>> {
    [1, 60, 3_600, 86_400].into_iter().find_map(|seconds| {
        let of = |tier: &Tier| tier.rates.iter().find(|rate| rate.seconds == seconds).copied();
        tiers.iter().map(of).collect()
    })
}

fn distinct(tiers: &[Tier]) -> Vec<Tier> {
    let mut distinct: Vec<Tier> = Vec::new();
    for tier in tiers {
        if distinct.iter().all(|known| known.rates != tier.rates) {
            distinct.push(tier.clone());
        }
    }
    distinct
}

fn violation(client: u32, rate: &Rate, (from, to, admitted, allowed): (u64, u64, i128, i128)) -> Violation {
    let what = format!(
        "{admitted} thousandths in {} ms, of which {rate:?} allows {allowed}",
        (to - from) / 1_000_000
    );
    Violation { check: "never_over", client: Some(client), at: to, what }
}

/// What a client may get once more, as the docs say: a bucket that was reset, and leases from moments that Redis has lost.
/// Each is worth a bucket of `holds` thousandths.
fn excuses(evidence: &Evidence<'_>, client: u32, rate: &Rate, holds: u64) -> Vec<Entry> {
    let holds = i128::from(holds);
    let mut all: Vec<Entry> =
        refills(evidence, client).into_iter().map(|at| Entry { at, cost: -holds }).collect();
    for (at, incident) in evidence.log.incidents.borrow().iter() {
        let lag = match incident {
            Incident::FailedOver(_) => evidence.plan.redis.lag,
            // Leases have ended, and their nodes do not know it.
            Incident::StoreClock(by) if *by > 0 => 0,
            _ => continue,
        };
        let refill =
            i128::from(rate.units) * 1_000 * i128::from(lag) / (i128::from(rate.seconds) * 1_000_000_000);
        all.push(Entry { at: *at, cost: -(holds + refill) });
    }
    all.sort_by_key(|entry| entry.at);
    all
}

fn merged(paid: &[&Shot], excuses: &[Entry], within: impl Fn(u64) -> bool) -> Vec<Entry> {
    // The store may have charged a request before a reset that was answered after it.
    let charged = |shot: &Shot| {
        let came = shot.at.saturating_sub(shot.waited);
        let excuse = excuses.iter().find(|excuse| (came..=shot.at).contains(&excuse.at));
        excuse.map_or(shot.at, |excuse| excuse.at.saturating_sub(1).max(came))
    };
    let paid = paid.iter().map(|shot| Entry { at: charged(shot), cost: shot.kept().into() });
    let excuses = excuses.iter().map(|excuse| Entry { ..*excuse });
    // An excuse comes before costs of the same moment.
    let mut all: Vec<Entry> = excuses.chain(paid).filter(|entry| within(entry.at)).collect();
    all.sort_by_key(|entry| entry.at);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { units: 2, seconds: 1, burst: 150 };

    fn worst_of(times: &[u64]) -> Option<(u64, u64, i128, i128)> {
        let entries: Vec<Entry> =
            times.iter().map(|milli| Entry { at: milli * 1_000_000, cost: 1_000 }).collect();
        worst(&entries, &RATE, 0)
    }

    #[test]
    fn what_the_limit_allows_passes_and_one_more_does_not() {
        assert_eq!(worst_of(&[0, 0, 0, 500, 1_000]), None);
        assert!(worst_of(&[0, 0, 0, 500, 1_000, 1_499]).is_some());
        assert_eq!(worst_of(&[0, 0, 0, 500, 1_000, 1_500]), None);
    }

    #[test]
    fn too_much_in_an_interval_within_is_found() {
        assert_eq!(worst_of(&[0, 9_000, 9_001, 9_002]), None);
        assert!(worst_of(&[0, 9_000, 9_001, 9_002, 9_003]).is_some());
    }

    #[test]
    fn an_excuse_counts_for_intervals_around_it_alone() {
        let at = |milli: u64, cost| Entry { at: milli * 1_000_000, cost };
        let mut entries: Vec<Entry> = (0..3).map(|_| at(0, 1_000)).collect();
        entries.push(at(10, -3_000));
        entries.extend((0..3).map(|_| at(20, 1_000)));
        assert_eq!(worst(&entries, &RATE, 0), None);
        entries.push(at(30, 1_000));
        assert!(worst(&entries, &RATE, 0).is_some());
    }
}
