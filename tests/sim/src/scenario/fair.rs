//! Scenarios in which nothing breaks, and a client that keeps to its limit has to get what it asks for, even from a bucket that
//! holds few requests.

use super::parts::{consumer, every, plan};
use crate::plan::{Habit, MILLISECOND, Place, Plan, Rate, SECOND};
use crate::random::Random;

/// A cost that the smallest bucket holds few times, or many times. Every bucket of a policy has to hold every cost.
fn cost(random: &Random, plan: &Plan) -> u64 {
    let times = *random.one_of(&[1, 1, 2, 3, 5, 8, 13, 21, 34]);
    let rates = plan.tiers.iter().flat_map(|tier| &tier.rates);
    let least = rates.map(Rate::holds).min().unwrap_or(1_000);
    (least / times).max(1_000) / 1_000 * 1_000
}

/// Some clients ask at one gateway, with any habit, and are refused only if their bucket has no room. Others move between
/// gateways at 80 % of their rate.
pub fn fair(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    for rate in plan.tiers.iter_mut().flat_map(|tier| &mut tier.rates) {
        if random.happens(300_000) {
            rate.units = random.between(1, 5);
            rate.burst = 100;
        }
    }
    let nodes = plan.nodes.len();
    for number in 0..16 {
        let tier = random.index(4);
        let costs = vec![cost(random, &plan)];
        let every = |percent: u64| every(&plan.tiers[tier], &costs, percent).max(2 * MILLISECOND);
        let place = if random.happens(500_000) { Place::Anywhere } else { Place::At(random.index(nodes)) };
        let habit = match (place, random.below(4)) {
            (Place::Anywhere, _) => Habit::Paced { every: every(80) },
            (_, 0) => Habit::Paced { every: every(95) },
            (_, 1) => Habit::Steady { every: every(*random.one_of(&[50, 90, 200])) },
            _ => {
                let size = random.between(2, 30);
                Habit::Burst { size: size as u32, every: every(*random.one_of(&[40, 90, 150])) * size }
            }
        };
        plan.clients.push(consumer(number, tier, habit, place, &costs));
    }
    plan.claims.who_keeps_to_it_is_served = true;
    plan
}

/// All clients ask for more than their limits, with requests that cost half of a bucket or all of it.
pub fn few(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    let rate = plan.tiers[*random.one_of(&[0, 1, 1])].rates[0];
    plan.tiers.iter_mut().for_each(|tier| tier.rates = vec![rate]);
    for number in 0..6 {
        let tier = random.index(5);
        let costs = vec![rate.holds() / random.between(1, 2)];
        // They ask so often that little of the limit is left unused between two requests.
        let every = every(&plan.tiers[tier], &costs, 30_000).clamp(2 * MILLISECOND, SECOND);
        let place = if random.happens(300_000) { Place::Skewed } else { Place::Anywhere };
        plan.clients.push(consumer(number, tier, Habit::Steady { every }, place, &costs));
    }
    plan.claims.is_used_up = true;
    plan
}
