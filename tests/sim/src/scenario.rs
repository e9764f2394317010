//! Kinds of runs. Each makes a plan from a seed.

mod calm;
mod changes;
mod fair;
mod faults;
mod parts;
mod populations;
mod settled;

use crate::plan::Plan;
use crate::random::{Random, mixed};

/// Makes plans of one kind.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    make: fn(&Random, u64) -> Plan,
}

/// All scenarios.
pub const ALL: [Scenario; 30] = [
    Scenario { name: "calm", make: calm::calm },
    Scenario { name: "overload", make: calm::overload },
    Scenario { name: "fair", make: fair::fair },
    Scenario { name: "few", make: fair::few },
    Scenario { name: "modest", make: calm::modest },
    Scenario { name: "patient", make: calm::patient },
    Scenario { name: "anonymous", make: calm::anonymous },
    Scenario { name: "flood", make: calm::flood },
    Scenario { name: "unlimited", make: calm::unlimited },
    Scenario { name: "month", make: calm::month },
    Scenario { name: "sparse", make: populations::sparse },
    Scenario { name: "bursty", make: populations::bursty },
    Scenario { name: "steady", make: populations::steady },
    Scenario { name: "network", make: faults::network },
    Scenario { name: "replicas", make: faults::replicas },
    Scenario { name: "outage", make: faults::outage },
    Scenario { name: "cut", make: faults::cut },
    Scenario { name: "failover", make: faults::failover },
    Scenario { name: "gateways", make: faults::gateways },
    Scenario { name: "clocks", make: faults::clocks },
    Scenario { name: "admin", make: faults::admin },
    Scenario { name: "rollout", make: faults::rollout },
    Scenario { name: "limits", make: changes::limits },
    Scenario { name: "impatient", make: faults::impatient },
    Scenario { name: "turn", make: faults::turn },
    Scenario { name: "strict", make: faults::strict },
    Scenario { name: "chaos", make: faults::chaos },
    Scenario { name: "settled", make: settled::settled },
    Scenario { name: "settled_away", make: settled::away },
    Scenario { name: "settled_chaos", make: settled::chaos },
];

/// The scenario called `name`.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// The scenario of a seed, if none was asked for.
#[must_use]
pub fn of_seed(seed: u64) -> &'static Scenario {
    &ALL[(mixed(seed) % ALL.len() as u64) as usize]
}

impl Scenario {
    /// Its plan from `seed`.
    #[must_use]
    pub fn plan(&self, seed: u64) -> Plan {
        let plan = (self.make)(&Random::new(seed, 0), seed);
        Plan { scenario: self.name, ..plan }
    }
}

/// The plan by which the simulator's speed is measured, with three gateways of four workers and a hundred clients.
#[must_use]
pub fn bench(seed: u64) -> Plan {
    Plan { scenario: "bench", ..calm::bench(&Random::new(seed, 0), seed) }
}
