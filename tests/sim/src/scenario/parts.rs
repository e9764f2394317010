//! Parts of plans.

use crate::plan::{
    Claims, Client, Habit, MILLISECOND, Memory, Network, Node, OnFailure, Personality, Place, Plan, Rate,
    Redis, SECOND, Terms, Tier,
};
use crate::random::Random;

/// 2026-11-24T00:00:00Z.
const EPOCH: u64 = 1_795_478_400 * SECOND;

/// Ten minutes.
pub const LENGTH: u64 = 600 * SECOND;

/// A plan with gateways, a quiet network and a store, but without clients.
pub fn plan(random: &Random, seed: u64) -> Plan {
    let nodes = random.between(1, 3) as usize;
    let mixed = random.happens(200_000);
    let first = personality(random);
    Plan {
        scenario: "",
        seed,
        start: EPOCH + random.below(20 * 86_400) * SECOND + random.below(SECOND),
        length: LENGTH,
        tiers: tiers(random),
        store: Terms {
            is_strict: false,
            is_local: false,
            timeout: 50,
            sync_interval: 100,
            on_failure: OnFailure::Local,
        },
        room: *random.one_of(&[64, 96, 256]),
        nodes: (0..nodes).map(|_| node(random, if mixed { personality(random) } else { first })).collect(),
        replicas: random.between(1, 3) as usize,
        network: Network {
            least: 100_000,
            most: random.between(300_000, 3 * MILLISECOND),
            loss: 0,
            twice: 0,
            straggles: 0,
            garbled: 0,
        },
        redis: Redis { delay: 0, crash: 0, lag: 0 },
        memory: Memory::default(),
        clients: Vec::new(),
        faults: Vec::new(),
        impatience: 0,
        settling: None,
        claims: Claims::default(),
    }
}

fn personality(random: &Random) -> Personality {
    *random.one_of(&[Personality::Kong, Personality::Envoy])
}

fn node(random: &Random, personality: Personality) -> Node {
    /// The moment at which the lowest 32 bits of milliseconds begin anew.
    const TURN: u64 = (1 << 32) * MILLISECOND;
    let uptime = if random.happens(100_000) {
        TURN * random.between(1, 3) - random.below(700) * SECOND
    } else {
        random.between(1, 400 * 86_400) * SECOND + random.below(SECOND)
    };
    Node {
        personality,
        workers: random.between(1, 4) as usize,
        wall: random.below(40 * MILLISECOND) as i64 - 20 * MILLISECOND as i64,
        drift: random.below(400) as i64 - 200,
        uptime,
    }
}

/// Tiers of all kinds. The anonymous clients' comes last.
pub fn tiers(random: &Random) -> Vec<Tier> {
    let burst = || *random.one_of(&[100, 100, 150, 200, 300]);
    let tier =
        |name: &str, rates: Vec<Rate>| Tier { name: name.to_owned(), rates, monthly: None, on_failure: None };
    let rate = |units: u64, seconds: u64| Rate { units, seconds, burst: burst() };
    vec![
        tier("slow", vec![rate(random.between(6, 60), 60)]),
        tier("brisk", vec![rate(random.between(6, 20), 1)]),
        tier("hourly", vec![rate(random.between(100, 2_000), 3_600)]),
        tier("two", vec![rate(random.between(8, 20), 1), rate(random.between(100, 300), 60)]),
        tier("free", Vec::new()),
        tier("anonymous", vec![rate(random.between(6, 60), 60)]),
    ]
}

/// The time between requests of a client that asks for `percent` of its rate.
pub fn every(tier: &Tier, costs: &[u64], percent: u64) -> u64 {
    let mean = (costs.iter().sum::<u64>() / costs.len() as u64).max(1);
    let slowest =
        tier.rates.iter().map(|rate| rate.seconds * SECOND / rate.units).max().unwrap_or(SECOND / 5);
    (u128::from(slowest) * u128::from(mean) * 100 / 1_000 / u128::from(percent)) as u64
}

/// A consumer.
pub fn consumer(number: usize, tier: usize, habit: Habit, place: Place, costs: &[u64]) -> Client {
    Client {
        name: Some(format!("consumer-{number}")),
        tier,
        addresses: 1,
        habit,
        place,
        costs: costs.to_vec(),
    }
}

/// A random place for a client.
pub fn place(random: &Random, nodes: usize) -> Place {
    match random.below(5) {
        0 => Place::Moving,
        1 => Place::At(random.index(nodes)),
        2 => Place::Skewed,
        _ => Place::Anywhere,
    }
}

/// Random costs for a client.
pub fn costs(random: &Random) -> Vec<u64> {
    match random.below(6) {
        0 => vec![1_000, 2_000],
        1 => vec![500, 1_000],
        2 => vec![1_000, 5_000],
        3 => vec![0, 1_000],
        _ => vec![1_000],
    }
}

/// Consumers of all habits.
pub fn people(random: &Random, plan: &mut Plan, count: usize) {
    let nodes = plan.nodes.len();
    for number in 0..count {
        let tier = random.index(plan.tiers.len() - 1);
        let costs = costs(random);
        let percent = *random.one_of(&[20, 50, 100, 200, 400]);
        let every = every(&plan.tiers[tier], &costs, percent).max(20 * MILLISECOND);
        let habit = match random.below(5) {
            0 => {
                let size = random.between(2, 30);
                Habit::Burst { size: size as u32, every: every * size }
            }
            1 => Habit::Patient { every },
            _ => Habit::Steady { every },
        };
        plan.clients.push(consumer(number, tier, habit, place(random, nodes), &costs));
    }
}

/// Adds anonymous clients with `size` addresses, which together send a request `every` nanoseconds.
pub fn anonymous_clients(plan: &mut Plan, size: u32, every: u64) {
    let tier = plan.tiers.len() - 1;
    let (habit, place) = (Habit::Steady { every }, Place::Anywhere);
    plan.clients.push(Client { name: None, tier, addresses: size, habit, place, costs: vec![1_000] });
}

/// Memory in which workers get in each other's way.
pub const CONTENTION: Memory = Memory { meddling: 150_000, lost: 20_000, torn: 10_000 };
