//! Scenarios in which nothing breaks. Clients have to get what they were promised.

use super::parts::{CONTENTION, anonymous_clients, consumer, costs, every, people, place, plan, tiers};
use crate::plan::{Claims, Habit, MILLISECOND, Node, Personality, Place, Plan, SECOND};
use crate::random::Random;

/// Clients of all habits.
pub fn calm(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    people(random, &mut plan, 20);
    anonymous_clients(&mut plan, 50, 500 * MILLISECOND);
    plan.memory = CONTENTION;
    plan.claims.modest_are_served = true;
    plan
}

/// All clients ask for more than their limits.
pub fn overload(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    for number in 0..6 {
        let tier = random.index(3);
        let costs: &[u64] = if random.happens(300_000) { &[1_000, 2_000] } else { &[1_000] };
        let every = every(&plan.tiers[tier], costs, *random.one_of(&[300, 500, 1_000])).max(5 * MILLISECOND);
        let nodes = plan.nodes.len();
        plan.clients.push(consumer(number, tier, Habit::Steady { every }, place(random, nodes), costs));
    }
    plan.claims.is_used_up = true;
    plan
}

/// No client asks for more than half of its limit.
pub fn modest(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    for number in 0..20 {
        let tier = random.index(4);
        let every = every(&plan.tiers[tier], &[1_000], *random.one_of(&[5, 10, 20])).max(20 * MILLISECOND);
        let nodes = plan.nodes.len();
        plan.clients.push(consumer(number, tier, Habit::Steady { every }, place(random, nodes), &[1_000]));
    }
    plan.memory = CONTENTION;
    plan.claims.modest_are_served = true;
    plan
}

/// All clients come again when they were told to, and have their limits to themselves. Each comes to one gateway, because what
/// other gateways hold goes back after a while, at a moment that nobody can tell in advance.
pub fn patient(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    for number in 0..15 {
        let tier = random.index(4);
        let costs = if random.happens(500_000) { vec![1_000] } else { costs(random) };
        let every =
            every(&plan.tiers[tier], &costs, *random.one_of(&[200, 1_000, 5_000])).max(2 * MILLISECOND);
        let nodes = plan.nodes.len();
        plan.clients.push(consumer(
            number,
            tier,
            Habit::Patient { every },
            Place::At(random.index(nodes)),
            &costs,
        ));
    }
    plan.claims.waits_are_true = true;
    plan
}

/// Up to a million anonymous clients, and some consumers.
pub fn anonymous(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    people(random, &mut plan, 5);
    anonymous_clients(
        &mut plan,
        *random.one_of(&[100, 10_000, 1_000_000]),
        random.between(10, 40) * MILLISECOND,
    );
    plan.claims.may_evict = true;
    plan.memory = CONTENTION;
    plan
}

/// A few clients ask hundreds of times as often as they may.
pub fn flood(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    people(random, &mut plan, 4);
    for number in 0..2 {
        let habit = Habit::Steady { every: random.between(2, 10) * MILLISECOND };
        let (tier, place) = (random.index(4), place(random, plan.nodes.len()));
        plan.clients.push(consumer(50 + number, tier, habit, place, &[1_000]));
    }
    plan
}

/// Some clients have no limit, but their usage counts.
pub fn unlimited(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    for number in 0..6 {
        let every = random.between(10, 200) * MILLISECOND;
        let habit = if random.happens(300_000) {
            Habit::Burst { size: 20, every: 20 * every }
        } else {
            Habit::Steady { every }
        };
        let nodes = plan.nodes.len();
        plan.clients.push(consumer(number, 4, habit, place(random, nodes), &costs(random)));
    }
    plan.memory = CONTENTION;
    plan
}

/// A month ends, with quotas that are nearly used up.
pub fn month(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    /// 2026-12-01T00:00:00Z.
    const TURN: u64 = 1_796_083_200 * SECOND;
    // In some, only a day ends.
    let turn = if random.happens(300_000) { TURN - 5 * 86_400 * SECOND } else { TURN };
    plan.start = turn - random.between(30, 500) * SECOND - random.below(SECOND);
    for tier in plan.tiers.iter_mut().take(4) {
        let a_minute = tier.rates.iter().map(|rate| rate.units * 60 / rate.seconds).min().unwrap_or(60);
        tier.monthly = random.happens(800_000).then(|| (a_minute * random.between(1, 6)).max(20));
    }
    people(random, &mut plan, 12);
    plan.clients.push(consumer(90, 4, Habit::Steady { every: 50 * MILLISECOND }, Place::Anywhere, &[1_000]));
    plan.claims = Claims::default();
    plan
}

/// Three gateways of four workers, and a hundred clients that ask for about half of their limit.
pub fn bench(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    let node = Node { personality: Personality::Envoy, workers: 4, ..plan.nodes[0].clone() };
    plan.nodes = vec![node; 3];
    plan.replicas = 2;
    plan.room = 256;
    plan.tiers = tiers(random);
    for number in 0..100 {
        let habit = Habit::Steady { every: SECOND };
        plan.clients.push(consumer(number, number % 4, habit, Place::Anywhere, &[1_000]));
    }
    plan
}
