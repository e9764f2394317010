//! Scenarios in which something breaks.

use super::calm::month;
use super::parts::{CONTENTION, anonymous_clients, consumer, every, people, plan, tiers};
use crate::plan::{Fault, Habit, MILLISECOND, Network, OnFailure, Place, Plan, Rate, SECOND, Tier};
use crate::random::Random;

/// A network that loses, repeats, reorders and garbles all the time, and is worse at times.
pub fn network(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    people(random, &mut plan, 10);
    plan.network = bad(random);
    some(random, &mut plan, 6, |random, plan| match random.below(2) {
        0 => partition(random, plan),
        _ => Fault::BadNetwork { network: bad(random), length: a_while(random) },
    });
    plan
}

/// Replicas that die at any point of their work.
pub fn replicas(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    people(random, &mut plan, 10);
    plan.redis.delay = random.between(200_000, 4 * MILLISECOND);
    plan.redis.crash = random.between(100, 3_000) as u32;
    let replicas = plan.replicas;
    some(random, &mut plan, 8, |random, _| Fault::ReplicaCrash {
        replica: random.index(replicas),
        length: a_while(random),
    });
    plan
}

/// The store is away at times, and tiers go on without it by their `on_failure`.
pub fn outage(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    words(random, &mut plan);
    people(random, &mut plan, 12);
    anonymous_clients(&mut plan, 20, 300 * MILLISECOND);
    plan.impatience = random.below(100_000) as u32;
    some(random, &mut plan, 5, |random, plan| match random.below(3) {
        0 => partition(random, plan),
        1 => Fault::RedisAway { length: a_while(random), hangs: random.happens(500_000) },
        _ => Fault::RedisSlow { length: a_while(random), delay: random.between(10, 200) * MILLISECOND },
    });
    plan.memory = if random.happens(500_000) { CONTENTION } else { plan.memory };
    plan
}

/// Redis fails over, without its newest writes.
pub fn failover(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    words(random, &mut plan);
    people(random, &mut plan, 8);
    plan.redis.delay = random.between(100_000, MILLISECOND);
    plan.redis.lag = random.between(1, 2_000) * MILLISECOND;
    for _ in 0..random.between(1, 3) {
        let at = random.below(plan.length);
        let length = random.between(200, 8_000) * MILLISECOND;
        plan.faults.push((at, Fault::RedisAway { length, hangs: random.happens(500_000) }));
        let skew = random.below(40 * MILLISECOND) as i64 - 20 * MILLISECOND as i64;
        plan.faults.push((at + length, Fault::RedisFailsOver { skew }));
    }
    plan
}

/// Gateways die, workers lose their memory, clocks are set, and slots are overwritten.
pub fn gateways(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    people(random, &mut plan, 12);
    plan.memory = CONTENTION;
    some(random, &mut plan, 12, |random, plan| {
        let node = random.index(plan.nodes.len());
        match random.below(4) {
            0 => Fault::NodeCrash { node, length: a_while(random) },
            1 => wall(random, plan),
            2 => Fault::SpoiledSlot { node },
            _ => rebuild(random, plan),
        }
    });
    plan
}

/// The clocks of gateways and of the store are set.
pub fn clocks(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    people(random, &mut plan, 10);
    some(random, &mut plan, 8, |random, plan| match random.below(3) {
        0 => wall(random, plan),
        1 => Fault::StoreClockJumps { by: -(random.below(SECOND) as i64) },
        _ => {
            let by = random.below(7_000 * SECOND) as i64 - 3_500 * SECOND as i64;
            Fault::StoreClockJumps { by }
        }
    });
    plan
}

/// Overrides, resets and other policies.
pub fn admin(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    people(random, &mut plan, 10);
    some(random, &mut plan, 10, change);
    plan
}

/// Every request asks the store.
pub fn strict(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    plan.store.is_strict = true;
    words(random, &mut plan);
    people(random, &mut plan, 8);
    plan.redis.delay = random.between(0, 2 * MILLISECOND);
    if random.happens(500_000) {
        some(random, &mut plan, 4, |random, plan| match random.below(3) {
            0 => partition(random, plan),
            1 => Fault::RedisAway { length: a_while(random), hangs: random.happens(500_000) },
            _ => rebuild(random, plan),
        });
    }
    plan
}

/// A gateway is cut off again and again, for longer than leases last, while its clients ask at the others.
pub fn cut(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    plan.nodes.resize(random.between(2, 3) as usize, plan.nodes[0].clone());
    words(random, &mut plan);
    for number in 0..8 {
        let tier = random.index(2);
        let percent = *random.one_of(&[60, 100, 200]);
        let every = every(&plan.tiers[tier], &[1_000], percent).max(20 * MILLISECOND);
        let habit = if random.happens(300_000) {
            let size = random.between(2, 12);
            Habit::Burst { size: size as u32, every: every * size }
        } else {
            Habit::Steady { every }
        };
        let place = if random.happens(700_000) { Place::Skewed } else { Place::Anywhere };
        plan.clients.push(consumer(number, tier, habit, place, &[1_000]));
    }
    let mut at = random.below(20 * SECOND);
    while at < plan.length {
        let (node, length) = (random.index(plan.nodes.len()), random.between(12, 40) * SECOND);
        let is_refused = random.happens(500_000);
        plan.faults.push((at, Fault::Partition { node, replica: None, length, is_refused }));
        at += length + random.between(5, 30) * SECOND;
    }
    plan
}

/// Policies are rolled out slowly, one gateway after the other, so that a tier allows different things at different gateways.
pub fn rollout(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    plan.nodes.resize(random.between(2, 3) as usize, plan.nodes[0].clone());
    for number in 0..8 {
        let tier = random.index(4);
        let every =
            every(&plan.tiers[tier], &[1_000], *random.one_of(&[50, 200, 1_000])).max(20 * MILLISECOND);
        let habit = match random.below(4) {
            0 => Habit::Burst { size: 10, every: every * 10 },
            _ => Habit::Steady { every },
        };
        let place = if random.happens(500_000) { Place::Anywhere } else { Place::Moving };
        plan.clients.push(consumer(number, tier, habit, place, &[1_000]));
    }
    let mut at = random.below(100 * SECOND);
    while at < plan.length {
        let mut new = tiers(random);
        // A limit by the minute replaces one by the second, and the other way round.
        let (one, other) = (random.index(3), random.index(3));
        let rates = (new[one].rates.clone(), new[other].rates.clone());
        (new[other].rates, new[one].rates) = rates;
        let pace = random.between(1, 120) * SECOND;
        plan.faults.push((at, Fault::Policy { tiers: new, pace }));
        // The next rollout begins when this one is everywhere.
        at += plan.nodes.len() as u64 * pace + random.between(35, 200) * SECOND;
    }
    plan
}

/// Clients that go away while they wait, and a store that makes them wait.
pub fn impatient(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    plan.store.is_strict = random.happens(300_000);
    people(random, &mut plan, 12);
    plan.impatience = random.between(100_000, 900_000) as u32;
    plan.redis.delay = random.between(1, 10) * MILLISECOND;
    some(random, &mut plan, 4, |random, plan| match random.below(3) {
        0 => partition(random, plan),
        1 => Fault::RedisSlow { length: a_while(random), delay: random.between(10, 200) * MILLISECOND },
        _ => rebuild(random, plan),
    });
    plan
}

/// A month ends while the store is away, while clocks are set, and at gateways whose clocks are early or late.
pub fn turn(random: &Random, seed: u64) -> Plan {
    let mut plan = month(random, seed);
    for node in &mut plan.nodes {
        node.wall += random.below(7_200 * SECOND) as i64 - 3_600 * SECOND as i64;
    }
    some(random, &mut plan, 6, |random, plan| match random.below(4) {
        0 => wall(random, plan),
        1 => partition(random, plan),
        2 => Fault::RedisAway { length: a_while(random), hangs: random.happens(500_000) },
        _ => rebuild(random, plan),
    });
    plan
}

/// All faults together.
pub fn chaos(random: &Random, seed: u64) -> Plan {
    let mut plan = plan(random, seed);
    words(random, &mut plan);
    people(random, &mut plan, 10);
    plan.memory = CONTENTION;
    plan.redis.delay = random.between(0, 3 * MILLISECOND);
    plan.redis.lag = random.between(1, 500) * MILLISECOND;
    plan.redis.crash = random.between(0, 300) as u32;
    plan.impatience = 20_000;
    some(random, &mut plan, 20, |random, plan| {
        let node = random.index(plan.nodes.len());
        match random.below(9) {
            0 => partition(random, plan),
            1 => Fault::BadNetwork { network: bad(random), length: a_while(random) },
            2 => Fault::ReplicaCrash { replica: random.index(plan.replicas), length: a_while(random) },
            3 => Fault::RedisAway { length: a_while(random), hangs: random.happens(500_000) },
            4 => Fault::RedisSlow { length: a_while(random), delay: random.between(10, 200) * MILLISECOND },
            5 => Fault::NodeCrash { node, length: a_while(random) },
            6 => rebuild(random, plan),
            7 => change(random, plan),
            _ => Fault::RedisFailsOver { skew: 0 },
        }
    });
    plan
}

/// Up to `most` faults, at any time.
fn some(random: &Random, plan: &mut Plan, most: u64, fault: impl Fn(&Random, &Plan) -> Fault) {
    for _ in 0..random.between(1, most) {
        let at = random.below(plan.length);
        let fault = fault(random, plan);
        plan.faults.push((at, fault));
    }
}

/// A random length. Short ones are frequent.
fn a_while(random: &Random) -> u64 {
    match random.below(3) {
        0 => random.between(20, 500) * MILLISECOND,
        1 => random.between(500, 5_000) * MILLISECOND,
        _ => random.between(5, 90) * SECOND,
    }
}

fn bad(random: &Random) -> Network {
    let chance = |most: u64| if random.happens(500_000) { random.below(most) as u32 } else { 0 };
    Network {
        least: 100_000,
        most: random.between(1, 30) * MILLISECOND,
        loss: chance(100_000),
        twice: chance(100_000),
        straggles: chance(50_000),
        garbled: chance(50_000),
    }
}

fn partition(random: &Random, plan: &Plan) -> Fault {
    Fault::Partition {
        node: random.index(plan.nodes.len()),
        replica: random.happens(300_000).then(|| random.index(plan.replicas)),
        length: a_while(random),
        is_refused: random.happens(500_000),
    }
}

fn rebuild(random: &Random, plan: &Plan) -> Fault {
    let node = random.index(plan.nodes.len());
    let worker = random.index(plan.nodes[node].workers);
    Fault::Rebuild { node, worker, doubles: random.happens(400_000) }
}

fn wall(random: &Random, plan: &Plan) -> Fault {
    let by = random.below(7_200 * SECOND) as i64 - 3_600 * SECOND as i64;
    Fault::WallJumps { node: random.index(plan.nodes.len()), by }
}

/// Something that an admin does.
fn change(random: &Random, plan: &Plan) -> Fault {
    let client = random.index(plan.clients.len());
    let limits = |random: &Random| {
        let rate = Rate { units: random.between(6, 600), seconds: *random.one_of(&[1, 60]), burst: 150 };
        Tier { name: "own".into(), rates: vec![rate], monthly: None, on_failure: None }
    };
    match random.below(4) {
        0 => Fault::Override { client, limits: Some(limits(random)) },
        1 => Fault::Override { client, limits: None },
        2 => Fault::Reset { client, bucket: true, month: random.happens(300_000) },
        _ => {
            let mut new = tiers(random);
            new.iter_mut().zip(&plan.tiers).for_each(|(new, old)| new.on_failure = old.on_failure);
            Fault::Policy { tiers: new, pace: random.between(0, 2_000) * MILLISECOND }
        }
    }
}

/// What tiers do without the store.
fn words(random: &Random, plan: &mut Plan) {
    // With `ip`, every client has a bucket among those of anonymous clients, which must not be evicted.
    plan.room = 256;
    let all = [OnFailure::Local, OnFailure::Ip, OnFailure::Open, OnFailure::Closed];
    plan.store.on_failure = *random.one_of(&all);
    for tier in &mut plan.tiers {
        if random.happens(400_000) {
            tier.on_failure = Some(*random.one_of(&all));
        }
    }
}
