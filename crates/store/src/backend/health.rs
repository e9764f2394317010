//! Whether the backend takes writes: one state that readiness, metric and log tell of alike.
//!
//! A probe decides, which writes what a charge writes. What becomes of real calls decides when one is due, and two things
//! besides: writes that fail again and again are believed more than probes, and the backend is back only when none has
//! failed for a moment.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::locks;
use tokio::time::Instant;

/// How many writes in a row have to fail for that to count whatever probes say, and for how long at the least: one hiccup
/// may fail many that are under way together.
const FAILED_WRITES: u32 = 3;

/// See [`FAILED_WRITES`]; also how long none may have failed before the backend is back.
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

/// Writes that have failed since the last one that was taken.
#[derive(Clone, Copy, Debug)]
struct Failed {
    first: Instant,
    last: Instant,
    count: u32,
}

/// That the backend is away now, or back, and was not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It takes no writes.
    Away,
    /// It takes writes again.
    Back,
}

impl Health {
    /// Of a backend that is taken to be up until it is not.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State { is_up: true, probed: None, failed: None }))
    }

    /// Whether it takes writes, as far as is known.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state().is_up
    }

    /// When the last probe ended.
    #[must_use]
    pub fn probed(&self) -> Option<Instant> {
        self.state().probed
    }

    /// A write was taken.
    pub fn write_taken(&self) {
        self.state().failed = None;
    }

    /// A write has failed at `now`.
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

    /// A probe has ended at `now`; whether it was taken.
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
        // Nor is one write an hour that fails.
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
        // One is taken: the next probe says that it is back.
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
