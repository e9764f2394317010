//! One run, from its plan to its outcome.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checker;
use crate::cluster::Cluster;
use crate::log::{Counts, Shot, Violation};
use crate::plan::Plan;

/// The outcome of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first violation, if there was one.
    pub violation: Option<Violation>,
    /// How much happened.
    pub counts: Counts,
    /// A number that differs if any request or its outcome does.
    pub digest: u64,
    /// The trace: moments, clients and texts.
    pub lines: Vec<(u64, Option<u32>, String)>,
    /// How many requests had which outcome.
    pub tally: Tally,
}

/// The outcomes of requests.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Tally {
    pub paid: u64,
    pub fallback: u64,
    pub refused: u64,
    pub undecided: u64,
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `plan`. Any panic is a violation.
#[must_use]
pub fn run(plan: &Plan, is_traced: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without anything to reserve");
    let _entered = runtime.enter();
    let cluster = Cluster::new(plan.clone(), is_traced);
    let ran = catch_unwind(AssertUnwindSafe(|| cluster.run()));
    let violation = match ran {
        Ok(()) => checker::check(plan, &cluster.log),
        Err(_) => Some(Violation {
            check: "panic",
            client: None,
            at: cluster.now().nanos(),
            what: LAST_PANIC.with_borrow(String::clone),
        }),
    };
    let shots = cluster.log.shots.borrow();
    Outcome {
        violation,
        counts: cluster.log.counts.get(),
        digest: shots.iter().fold(0, digest),
        tally: shots.iter().fold(Tally::default(), tally),
        lines: cluster.log.lines.take(),
    }
}

/// Keeps a panic's message for the report, instead of printing it.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| LAST_PANIC.set(info.to_string())));
}

fn digest(before: u64, shot: &Shot) -> u64 {
    let verdict = match shot.verdict {
        crate::log::Verdict::Refused(seconds) | crate::log::Verdict::RefusedMonth(seconds) => 10 + seconds,
        crate::log::Verdict::Paid => 1,
        crate::log::Verdict::Fallback => 2,
        crate::log::Verdict::Passed => 3,
        crate::log::Verdict::Undecided(status) => u64::from(status),
    };
    [shot.at, u64::from(shot.client), shot.waited, verdict]
        .into_iter()
        .fold(before, |sum, word| crate::random::mixed(sum ^ word))
}

fn tally(mut tally: Tally, shot: &Shot) -> Tally {
    use crate::log::Verdict;
    match shot.verdict {
        Verdict::Paid => tally.paid += 1,
        Verdict::Fallback | Verdict::Passed => tally.fallback += 1,
        Verdict::Refused(_) | Verdict::RefusedMonth(_) => tally.refused += 1,
        Verdict::Undecided(_) => tally.undecided += 1,
    }
    tally
}
