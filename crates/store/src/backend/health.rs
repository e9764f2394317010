//! Whether the backend takes writes: one state for readiness, the metric and the log.
//!
//! Probes decide; they write what a charge writes. Real calls decide when a probe is due, with two exceptions. Writes
//! that keep failing are believed more than probes, and the backend is back only if no write has failed for a moment.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::locks;

/// How many writes in a row must fail to count against what probes say. They must also be spread over [`STEADY_AFTER`],
/// because one hiccup may fail many concurrent writes.
const FAILED_WRITES: u32 = 3;

/// See [`FAILED_WRITES`]. The backend is back only if no write has failed for this long.
const STEADY_AFTER: Duration = Duration::from_secs(1);

/// Failed writes that are further apart than this are not in a row.
const ROW_ENDS_AFTER: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug)]
pub struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    is_up: bool,
    /// When the last probe ended.
    probed: Option<Instant>,
    failed: Option<Failed>,
}

/// The writes that have failed since the last one that succeeded.
#[derive(Clone, Copy, Debug)]
struct Failed {
    first: Instant,
    last: Instant,
    count: u32,
}

/// A change of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The backend takes no writes any more.
    Away,
    /// The backend takes writes again.
    Back,
}

impl Health {
    /// The state of a backend that counts as up until it fails.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State { is_up: true, probed: None, failed: None }))
    }

    /// Whether the backend takes writes, as far as is known.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state().is_up
    }

    /// When the last probe ended.
    #[must_use]
    pub fn probed(&self) -> Option<Instant> {
        self.state().probed
    }

    /// Records a write that has succeeded.
    pub fn write_taken(&self) {
        self.state().failed = None;
    }

    /// Records a write that has failed at `now`.
    pub fn write_failed(&self, now: Instant) -> Option<Transition> {
        let mut state = self.state();
        let row = state.failed.filter(|failed| now.duration_since(failed.last) < ROW_ENDS_AFTER);
        let failed = row.map_or(Failed { first: now, last: now, count: 1 }, |failed| Failed {
            last: now,
            count: failed.count.saturating_add(1),
            ..failed
        });
        state.failed = Some(failed);
        let is_row = failed.count >= FAILED_WRITES && now.duration_since(failed.first) >= STEADY_AFTER;
        is_row.then(|| state.become_(false)).flatten()
    }

    /// Records a probe that has ended at `now`, and whether it succeeded.
    pub fn probe_ended(&self, was_taken: bool, now: Instant) -> Option<Transition> {
        let mut state = self.state();
        state.probed = Some(now);
        let is_steady = state.failed.is_none_or(|failed| now.duration_since(failed.last) >= STEADY_AFTER);
        match was_taken {
            true if is_steady => state.become_(true),
            true => None,
            false => state.become_(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locks::lock(&self.0)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn become_(&mut self, is_up: bool) -> Option<Transition> {
        let was_up = std::mem::replace(&mut self.is_up, is_up);
        (was_up != is_up).then_some(if is_up { Transition::Back } else { Transition::Away })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(300);

    #[test]
    fn a_probe_that_is_not_taken_is_away_at_once_and_one_that_is_taken_is_back() {
        let (health, now) = (Health::new(), Instant::now());
        assert_eq!(health.probe_ended(true, now), None);
        assert_eq!(health.probe_ended(false, now), Some(Transition::Away));
        assert!(!health.is_up());
        assert_eq!(health.probe_ended(false, now), None, "it is said once");
        assert_eq!(health.probe_ended(true, now), Some(Transition::Back));
    }

    #[test]
    fn a_hiccup_that_fails_many_writes_at_once_is_no_outage() {
        let (health, now) = (Health::new(), Instant::now());
        for _ in 0..500 {
            assert_eq!(health.write_failed(now), None);
        }
        health.write_taken();
        assert_eq!(health.write_failed(now + STEADY_AFTER), None);
        // One failed write per hour is no outage, either.
        for hour in 1..10 {
            assert_eq!(health.write_failed(now + hour * ROW_ENDS_AFTER), None);
        }
        assert!(health.is_up());
    }

    #[test]
    fn writes_that_fail_again_and_again_are_believed_more_than_probes() {
        let (health, mut now) = (Health::new(), Instant::now());
        let mut transitions = Vec::new();
        for _ in 0..100 {
            now += TICK;
            transitions.extend(health.write_failed(now));
            transitions.extend(health.probe_ended(true, now));
        }
        assert_eq!(transitions, [Transition::Away], "the log would flap");
        // One write succeeds, so the next probe says that the backend is back.
        health.write_taken();
        assert_eq!(health.probe_ended(true, now), Some(Transition::Back));
    }

    #[test]
    fn where_nobody_writes_it_is_back_a_moment_after_the_last_failure() {
        let (health, now) = (Health::new(), Instant::now());
        health.write_failed(now);
        health.probe_ended(false, now);
        assert_eq!(health.probe_ended(true, now + TICK), None);
        assert_eq!(health.probe_ended(true, now + STEADY_AFTER), Some(Transition::Back));
    }
}
