//! Scenarios in which responses say what their requests cost: less than they were charged at first, or more.

use super::faults;
use super::parts::{CONTENTION, consumer, costs, every, people, place, plan};
use crate::plan::{Habit, MILLISECOND, Plan, SECOND};
use crate::random::Random;

/// How long responses take at most.
fn slowest(random: &Random) -> Option<u64> {
    Some(*random.one_of(&[50 * MILLISECOND, 500 * MILLISECOND, 5 * SECOND, 30 * SECOND]))
}

/// Nothing breaks. Some clients ask for more than their limits.
pub fn settled(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    plan.settling = slowest(random);
    plan.store.is_strict = random.happens(200_000);
    plan.store.is_local = random.happens(200_000);
    if plan.store.is_local {
        plan.nodes.truncate(1);
    }
    people(random, &mut plan, 10);
    for number in 0..4 {
        let (tier, costs) = (random.index(4), costs(random));
        let every = every(&plan.tiers[tier], &costs, 400).max(5 * MILLISECOND);
        let place = place(random, plan.nodes.len());
        plan.clients.push(consumer(50 + number, tier, Habit::Steady { every }, place, &costs));
    }
    plan.memory = CONTENTION;
    plan
}

/// The store is away at times, the network is bad, and gateways go on by their `on_failure`.
pub fn away(random: &Random, seed: u64) -> Plan {
    let mut plan =
        if random.happens(500_000) { faults::outage(random, seed) } else { faults::network(random, seed) };
    plan.settling = slowest(random);
    plan.store.is_strict = random.happens(300_000);
    plan
}

/// All faults together.
pub fn chaos(random: &Random, seed: u64) -> Plan {
    let mut plan = faults::chaos(random, seed);
    plan.settling = slowest(random);
    plan.store.is_strict = random.happens(200_000);
    plan
}
