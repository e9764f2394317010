//! Removes from a plan what is not needed for its violation.

use std::time::{Duration, Instant};

use crate::plan::{Claims, MILLISECOND, Memory, Plan, SECOND};
use crate::run::run;

/// How long smaller plans are tried.
const PATIENCE: Duration = Duration::from_secs(20);

/// The smallest plan found that still violates the check called `check`. Clients keep their numbers: those that are not needed
/// ask no more.
#[must_use]
pub fn shrink(plan: &Plan, check: &'static str) -> Plan {
    let began = Instant::now();
    let mut best = plan.clone();
    let still_breaks =
        |plan: &Plan| run(plan, false).violation.is_some_and(|violation| violation.check == check);
    let mut is_better = true;
    while is_better {
        is_better = false;
        for smaller in smaller(&best) {
            if began.elapsed() > PATIENCE {
                return best;
            }
            if still_breaks(&smaller) {
                best = smaller;
                is_better = true;
                break;
            }
        }
    }
    best
}

/// Plans with less in them. Those with much less come first.
fn smaller(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        plan
    };
    if plan.length > 10 * SECOND {
        all.push(with(&|plan| plan.length /= 2));
        all.push(with(&|plan| plan.length = plan.length / 4 * 3));
    }
    let faults = plan.faults.len();
    for part in [2, 4] {
        if faults >= part {
            for at in 0..part {
                let (from, to) = (faults * at / part, faults * (at + 1) / part);
                all.push(with(&|plan| drop(plan.faults.drain(from..to))));
            }
        }
    }
    if faults <= 8 {
        all.extend((0..faults).map(|at| with(&|plan| drop(plan.faults.remove(at)))));
    }
    let active: Vec<usize> = (0..plan.clients.len()).filter(|at| !plan.clients[*at].is_silent()).collect();
    if active.len() > 1 {
        for half in active.chunks(active.len().div_ceil(2)) {
            all.push(with(&|plan| half.iter().for_each(|at| plan.clients[*at].fall_silent())));
        }
        if active.len() <= 8 {
            all.extend(active.iter().map(|at| with(&|plan| plan.clients[*at].fall_silent())));
        }
    }
    if plan.memory.meddling > 0 {
        all.push(with(&|plan| plan.memory = Memory::default()));
    }
    if plan.redis.crash > 0 || plan.redis.delay > MILLISECOND {
        all.push(with(&|plan| plan.redis.crash = 0));
    }
    let network = plan.network;
    if network.loss + network.twice + network.straggles + network.garbled > 0 {
        all.push(with(&|plan| {
            let network = &mut plan.network;
            (network.loss, network.twice, network.straggles, network.garbled) = (0, 0, 0, 0);
        }));
    }
    if plan.replicas > 1 && plan.faults.is_empty() {
        all.push(with(&|plan| plan.replicas = 1));
    }
    all.retain(|smaller| smaller.claims_make_sense());
    all
}

impl Plan {
    /// Whether the run is long enough for its claims.
    fn claims_make_sense(&self) -> bool {
        let Claims { is_used_up, .. } = self.claims;
        !is_used_up || self.length > 60 * SECOND
    }
}
