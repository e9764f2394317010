//! The rows of `docs/figures/*.json`.

use serde::{Deserialize, Serialize};

use crate::measure::{Worst, allowed};
use crate::workload::Scenario;
use crate::{LIMIT, MINUTES, NODES, OVERLOAD, SEED, divided, sync, window};

/// A way to share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Tollgate's way, in the simulator of the product's own code.
    Tollgate,
    /// The way in [`window`].
    ReadThenIncrement,
    /// The way in [`sync`].
    PeriodicSync,
    /// The way in [`divided`].
    Divided,
}

impl Algorithm {
    /// All ways, in the figure's order.
    pub const ALL: [Self; 4] = [Self::Tollgate, Self::ReadThenIncrement, Self::PeriodicSync, Self::Divided];

    /// Its name in the figure.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Tollgate => "Tollgate, leased",
            Self::ReadThenIncrement => "fixed window, read then increment",
            Self::PeriodicSync => "fixed window, synced every second",
            Self::Divided => "token bucket, limit divided by N",
        }
    }
}

/// What one way admitted in one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The way.
    pub algorithm: Algorithm,
    /// [`Scenario::name`].
    pub scenario: &'static str,
    /// How many gateways.
    pub nodes: usize,
    /// Units that the client asked for.
    pub offered: u64,
    /// Units that it got.
    pub admitted: u64,
    /// Units that the limit allows in that time: capacity + rate · t.
    pub allowed: u64,
    /// Units admitted in the interval with the greatest share of admitted over allowed.
    pub worst_admitted: u64,
    /// Its length.
    pub worst_seconds: f64,
    /// Allowed in it: capacity + rate · t.
    pub worst_allowed: f64,
    /// The seed of the workload.
    pub seed: u64,
}

/// A row of `docs/figures/tollgate.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// [`Scenario::name`].
    pub scenario: String,
    /// How many gateways.
    pub nodes: usize,
    /// Units that the client got.
    pub admitted: u64,
    /// Units that the limit allows in that time.
    pub allowed: u64,
}

/// Every peer in every scenario.
#[must_use]
pub fn peers() -> Vec<Row> {
    let mut rows = Vec::new();
    for scenario in Scenario::ALL {
        for nodes in NODES {
            let arrivals = scenario.arrivals(nodes, SEED);
            for (algorithm, moments) in [
                (Algorithm::ReadThenIncrement, window::admitted(&arrivals, SEED)),
                (Algorithm::PeriodicSync, sync::admitted(&arrivals, nodes)),
                (Algorithm::Divided, divided::admitted(&arrivals, nodes)),
            ] {
                rows.extend(Worst::of(&moments).map(|worst| Row {
                    algorithm,
                    scenario: scenario.name(),
                    nodes,
                    offered: LIMIT * OVERLOAD * MINUTES,
                    admitted: moments.len() as u64,
                    allowed: allowed(),
                    worst_admitted: worst.admitted,
                    worst_seconds: worst.micros as f64 / 1e6,
                    worst_allowed: (worst.allowed() * 1e3).round() / 1e3,
                    seed: SEED,
                }));
            }
        }
    }
    rows
}

/// Writes the rows as a file.
///
/// # Errors
/// Never: numbers and names have a JSON form.
pub fn to_json(rows: &[impl Serialize]) -> serde_json::Result<String> {
    let lines: Vec<String> = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    Ok(format!("[\n  {}\n]\n", lines.join(",\n  ")))
}
