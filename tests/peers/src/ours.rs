//! Tollgate itself in the same scenarios: the product's code in the simulator (`tests/sim`), three or ten gateways with a
//! store, in leased mode, without faults.
//!
//! The client is the simulator's, as near to [`workload`](crate::workload) as its habits allow: *at once* is bursts of a whole
//! minute's requests in one moment, half a minute to one and a half after the last.

use tollgate_sim::plan::{Client, Habit, Node, Personality, Place, Plan, Rate, SECOND, Tier};
use tollgate_sim::run::run;
use tollgate_sim::scenario::bench;

use crate::measure::allowed;
use crate::row::Measured;
use crate::workload::Scenario;
use crate::{CAPACITY, LIMIT, MINUTES, NODES, OVERLOAD, SEED};

/// The average time between two requests, in nanoseconds.
const EVERY: u64 = 60 * SECOND / (LIMIT * OVERLOAD);

/// Runs Tollgate in every scenario.
///
/// # Errors
/// Whatever the simulator's checker finds: nothing, unless Tollgate is wrong.
pub fn rows() -> Result<Vec<Measured>, String> {
    let cases = Scenario::ALL.into_iter().flat_map(|scenario| NODES.map(|nodes| (scenario, nodes)));
    cases
        .map(|(scenario, nodes)| {
            let outcome = run(&plan(scenario, nodes), false);
            match outcome.violation {
                Some(violation) => Err(format!("{}, {nodes} gateways: {violation:?}", scenario.name())),
                None => Ok(Measured {
                    scenario: scenario.name().to_owned(),
                    nodes,
                    admitted: outcome.tally.paid,
                    allowed: allowed(),
                }),
            }
        })
        .collect()
}

fn plan(scenario: Scenario, nodes: usize) -> Plan {
    let quiet = bench(SEED);
    let node = Node { personality: Personality::Envoy, workers: 2, ..quiet.nodes[0].clone() };
    let rate = Rate { units: LIMIT, seconds: 60, burst: 100 * CAPACITY / LIMIT };
    let tier =
        |name: &str| Tier { name: name.to_owned(), rates: vec![rate], monthly: None, on_failure: None };
    let client = |habit, place| Client {
        name: Some("consumer".to_owned()),
        tier: 0,
        addresses: 1,
        habit,
        place,
        costs: vec![1_000],
    };
    let steady = |every| Habit::Steady { every };
    let clients = match scenario {
        Scenario::Even => vec![client(steady(EVERY), Place::Anywhere)],
        Scenario::Moving => vec![client(steady(EVERY), Place::Moving)],
        Scenario::Skewed => vec![client(steady(EVERY), Place::Steep)],
        Scenario::AtOnce => {
            let size = LIMIT * OVERLOAD;
            let habit = Habit::Burst { size: size as u32, every: size * EVERY };
            vec![client(habit, Place::Anywhere)]
        }
    };
    Plan {
        scenario: scenario.name(),
        length: MINUTES * 60 * SECOND,
        tiers: vec![tier("free"), tier("anonymous")],
        nodes: vec![node; nodes],
        clients,
        ..quiet
    }
}
