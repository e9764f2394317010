//! Describes a violation, for those who have to mend it.

use std::fmt::Write as _;

use crate::log::Violation;
use crate::plan::{Plan, SECOND};
use crate::run::run;

/// The most lines of the trace.
const LINES: usize = 60;

/// Describes `violation`: the plan, and the trace up to it.
#[must_use]
pub fn describe(plan: &Plan, violation: &Violation) -> String {
    let mut text = String::new();
    let at = violation.at.saturating_sub(plan.start);
    let whom = violation.client.map_or_else(String::new, |client| format!(", client {client}"));
    let _ = writeln!(
        text,
        "{} at {}.{:03} s{whom}: {}",
        violation.check,
        at / SECOND,
        at % SECOND / 1_000_000,
        violation.what
    );
    let _ = writeln!(
        text,
        "  scenario {}, {} s, {} replicas",
        plan.scenario,
        plan.length / SECOND,
        plan.replicas
    );
    for (number, node) in plan.nodes.iter().enumerate() {
        let _ = writeln!(text, "  node {number}: {node:?}");
    }
    let _ = writeln!(text, "  store: {:?}", plan.store);
    let _ = writeln!(text, "  {:?}, {:?}, {:?}", plan.network, plan.redis, plan.memory);
    let asking = plan.clients.iter().enumerate().filter(|(_, client)| !client.is_silent());
    for (number, client) in asking {
        let tier = &plan.tiers[client.tier];
        let _ = writeln!(text, "  client {number}: {client:?}, {tier:?}");
    }
    for (at, fault) in &plan.faults {
        let _ = writeln!(text, "  at {}.{:03} s: {fault:?}", at / SECOND, at % SECOND / 1_000_000);
    }
    let mut lines = run(plan, true).lines;
    lines.retain(|(_, client, _)| {
        client.is_none() || violation.client.is_none() || *client == violation.client
    });
    // A node makes many calls. What they say about the client has lines of its own.
    lines.retain(|(_, _, line)| violation.client.is_none() || !line.starts_with("call "));
    // Lines after the violation do not matter.
    lines.retain(|(when, ..)| *when <= at + SECOND);
    let skipped = lines.len().saturating_sub(LINES);
    if skipped > 0 {
        let _ = writeln!(text, "  … {skipped} lines before");
    }
    for (at, _, line) in lines.into_iter().skip(skipped) {
        let _ = writeln!(text, "  {:>6}.{:06} {line}", at / SECOND, at % SECOND / 1_000);
    }
    text
}
