//! A plain check of the requests that were let through. It shares no code with what it checks.

use std::time::Duration;

use crate::load::Log;

/// A limit: units at once, and units per period.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub capacity: u64,
    pub units: u64,
    pub period: Duration,
}

/// A minute.
pub const MINUTE: Duration = Duration::from_secs(60);

/// A second.
pub const SECOND: Duration = Duration::from_secs(1);

impl Limit {
    pub const fn new(capacity: u64, units: u64, period: Duration) -> Self {
        Self { capacity, units, period }
    }

    /// What may be let through within a time, in billionths of a unit.
    fn nanos_within(&self, time: Duration) -> u128 {
        let refill = u128::from(self.units) * time.as_nanos() * 1_000_000_000 / self.period.as_nanos();
        u128::from(self.capacity) * 1_000_000_000 + refill
    }

    /// [`Self::nanos_within`], in units.
    pub fn within(&self, time: Duration) -> f64 {
        self.nanos_within(time) as f64 / 1e9
    }

    /// Checks that in no interval more was let through than the limit allows.
    ///
    /// Nobody knows when between sending and receiving a request was decided. An interval counts the requests that were sent
    /// and answered within it, so whatever exceeds the limit here has truly exceeded it.
    ///
    /// If more was let through.
    /// When more was let through.
    pub fn assert_never_over(&self, log: &Log, what: &str) {
        if let Some((from, to, cost)) = self.worst(log) {
            let allowed = self.within(to - from);
            panic!("{what}: {cost} units between {from:?} and {to:?}, where {self:?} allows {allowed:.3}");
        }
    }

    /// The first interval found in which too much was let through, and how much.
    fn worst(&self, log: &Log) -> Option<(Duration, Duration, u64)> {
        let mut shots = log.admitted().shots;
        shots.sort_unstable_by_key(|shot| shot.received);
        for first in &shots {
            let mut cost = 0;
            for last in shots.iter().filter(|shot| shot.sent >= first.sent) {
                cost += 1;
                let time = last.received - first.sent;
                if u128::from(cost) * 1_000_000_000 > self.nanos_within(time) {
                    return Some((first.sent, last.received, cost));
                }
            }
        }
        None
    }

    /// Checks that `percent` of what the limit allowed from the log's first request to its last was let through, except for
    /// `but` whole units.
    ///
    /// # Panics
    /// If less was let through.
    pub fn assert_used(&self, log: &Log, percent: f64, but: f64, what: &str) {
        let from = log.shots.iter().map(|shot| shot.received).min().unwrap_or_default();
        let to = log.shots.iter().map(|shot| shot.sent).max().unwrap_or_default();
        let allowed = self.within(to.saturating_sub(from));
        let admitted = log.admitted().count() as f64;
        let least = allowed * percent / 100.0 - but;
        println!("{what}: {admitted} of {allowed:.1} units, {:.2} %", admitted / allowed * 100.0);
        assert!(admitted >= least.floor(), "{what}: {admitted} of {allowed:.1} units, {least:.1} at least");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Shot;

    const LIMIT: Limit = Limit::new(3, 2, SECOND);

    fn log(times: &[(u64, u64)]) -> Log {
        let shot = |(sent, received)| Shot {
            gateway: 0,
            sent: Duration::from_millis(sent),
            received: Duration::from_millis(received),
            status: 200,
        };
        Log { shots: times.iter().copied().map(shot).collect() }
    }

    #[test]
    fn what_the_limit_allows_passes_and_one_more_does_not() {
        let full = [(0, 0), (0, 0), (0, 0), (500, 500), (1_000, 1_000)];
        assert_eq!(LIMIT.worst(&log(&full)), None);
        let more = [full.as_slice(), &[(1_499, 1_499)]].concat();
        let zero = Duration::ZERO;
        assert_eq!(LIMIT.worst(&log(&more)), Some((zero, Duration::from_millis(1_499), 6)));
    }

    #[test]
    fn too_much_in_an_interval_within_is_found() {
        let quiet_then_many = [(0, 0), (9_000, 9_000), (9_001, 9_001), (9_002, 9_002), (9_003, 9_003)];
        assert!(LIMIT.worst(&log(&quiet_then_many)).is_some());
    }

    #[test]
    fn a_request_that_may_have_been_decided_later_is_no_evidence() {
        assert_eq!(LIMIT.worst(&log(&[(0, 0), (0, 0), (0, 0), (0, 500)])), None);
        assert!(LIMIT.worst(&log(&[(0, 0), (0, 0), (0, 0), (0, 499)])).is_some());
    }
}
