//! Scenarios in which nothing breaks and all clients are of one kind, far below their limit. What their requests may cost the
//! store is a promise.

use super::parts::{consumer, plan};
use crate::plan::{Habit, MILLISECOND, Place, Plan, Price, Rate, SECOND};
use crate::random::Random;

/// Sixty clients with 100 a minute and a bucket of 150, at two gateways.
fn population(random: &Random, seed: u64, habit: Habit, price: Price) -> Plan {
    let mut plan = plan(random, seed);
    let first = plan.nodes[0].clone();
    plan.nodes.resize(2, first);
    for tier in &mut plan.tiers {
        tier.rates = vec![Rate { units: 100, seconds: 60, burst: 150 }];
    }
    for number in 0..60 {
        plan.clients.push(consumer(number, 0, habit, Place::Anywhere, &[1_000]));
    }
    plan.room = 256;
    plan.claims.price = Some(price);
    plan.claims.modest_are_served = true;
    plan
}

/// They come now and then, as most customers of an API do: every 3 to 8 seconds.
pub fn sparse(random: &Random, seed: u64) -> Plan {
    let every = random.between(3, 8) * SECOND;
    population(random, seed, Habit::Steady { every }, Price { asks: 220, entries: 1_000 })
}

/// They come in bursts of five to fifteen, every 20 to 40 seconds.
pub fn bursty(random: &Random, seed: u64) -> Plan {
    let (size, every) = (random.between(5, 15) as u32, random.between(20, 40) * SECOND);
    population(random, seed, Habit::Burst { size, every }, Price { asks: 1_200, entries: 1_600 })
}

/// They come all the time, at half of their rate.
pub fn steady(random: &Random, seed: u64) -> Plan {
    population(random, seed, Habit::Steady { every: 1_200 * MILLISECOND }, Price { asks: 20, entries: 1_050 })
}
