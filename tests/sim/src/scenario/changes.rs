//! Limits change while clients ask: without a store, with one, and while it is away.

use super::parts::{consumer, every, place, plan};
use crate::plan::{Fault, Habit, MILLISECOND, Plan, Rate, SECOND, Tier};
use crate::random::Random;

/// Limits go up and down, and get other units, another number of rates, or a month, by policy, by tier or by override.
pub fn limits(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    plan.store.is_local = random.happens(400_000);
    if plan.store.is_local || random.happens(600_000) {
        plan.nodes.truncate(1);
    }
    let periods: &[u64] = if random.happens(600_000) { &[60] } else { &[1, 60, 60, 3_600] };
    plan.tiers = tiers(random, periods);
    for number in 0..6 {
        let tier = random.index(plan.tiers.len() - 1);
        let every = every(&plan.tiers[tier], &[1_000], *random.one_of(&[50, 100, 300, 1_000]));
        let every = every.clamp(20 * MILLISECOND, 10 * SECOND);
        let habit = match random.below(4) {
            0 => Habit::Burst { size: 10, every: every * 10 },
            _ => Habit::Steady { every },
        };
        let nodes = plan.nodes.len();
        plan.clients.push(consumer(number, tier, habit, place(random, nodes), &[1_000]));
    }
    let mut at = random.below(20 * SECOND);
    while at < plan.length {
        let client = random.index(plan.clients.len());
        let fault = match random.below(10) {
            0..7 => Fault::Move { client, tier: random.index(plan.tiers.len() - 1) },
            7 | 8 => Fault::Policy { tiers: tiers(random, periods), pace: random.below(5 * SECOND) },
            _ if plan.store.is_local => Fault::Move { client, tier: 0 },
            _ => {
                let own = tiers(random, periods).swap_remove(1);
                let limits = random.happens(700_000).then(|| Tier { name: "own".into(), ..own });
                Fault::Override { client, limits }
            }
        };
        plan.faults.push((at, fault));
        at += random.between(1, 20) * SECOND;
    }
    if !plan.store.is_local && random.happens(400_000) {
        let (at, length) = (random.below(plan.length / 2), random.between(5, 120) * SECOND);
        plan.faults.push((at, Fault::RedisAway { length, hangs: false }));
    }
    plan
}

/// Tiers whose limits have these periods. The anonymous clients' comes last.
fn tiers(random: &Random, periods: &[u64]) -> Vec<Tier> {
    let rate = |seconds: u64| {
        let units = random.between(6, 120) * if seconds == 3_600 { 10 } else { 1 };
        Rate { units, seconds, burst: *random.one_of(&[100, 100, 150, 200]) }
    };
    let tier = |name: &str, is_double: bool| {
        let first = is_double.then(|| Rate { units: random.between(6, 20), seconds: 1, burst: 100 });
        let rates = first.into_iter().chain([rate(*random.one_of(periods))]).collect();
        let monthly = random.happens(300_000).then(|| random.between(20, 2_000));
        Tier { name: name.to_owned(), rates, monthly, on_failure: None }
    };
    vec![
        tier("mini", false),
        tier("midi", false),
        tier("maxi", false),
        tier("double", random.happens(500_000)),
        Tier { monthly: None, ..tier("anonymous", false) },
    ]
}
