//! A circuit breaker: requests do not ask a store that does not answer, so it adds no latency to them.
//!
//! While the breaker is closed, calls go out. [`Breaker::TRIPS_AT`] failures in a row open it. While it is open, requests do
//! without the store, and now and then a call from a tick tries whether the store is back. The intervals between these tries
//! grow, and are jittered so that not all nodes ask at once.

use tollgate_core::units::Millis;

use crate::clock::NodeMillis;

/// Whether to call the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    /// When an open breaker tries again.
    retry_at: NodeMillis,
}

/// How a call's end changes the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It stays as it was.
    None,
    /// The store has just been given up.
    Opened,
    /// The store is back.
    Closed,
}

impl Breaker {
    /// This many failed calls in a row open it.
    pub const TRIPS_AT: u32 = 3;
    /// The first wait before a try.
    const FIRST_WAIT: Millis = Millis(200);
    /// The longest wait: a store that is back is used again within two seconds.
    const LONGEST_WAIT: Millis = Millis(1_000);

    /// Whether requests do without the store.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.failures >= Self::TRIPS_AT
    }

    /// Whether a tick may call the store at `now`: always while closed, and once per wait while open.
    #[must_use]
    pub const fn may_try(&self, now: NodeMillis) -> bool {
        !self.is_open() || now.0 >= self.retry_at.0
    }

    /// Records a failed call. `random` spreads the next try.
    pub fn failed(&mut self, now: NodeMillis, random: u64) -> Transition {
        let was_open = self.is_open();
        self.failures = self.failures.saturating_add(1);
        if !self.is_open() {
            return Transition::None;
        }
        let doublings = self.failures.saturating_sub(Self::TRIPS_AT).min(8);
        let wait = Self::FIRST_WAIT.times(1 << doublings).min(Self::LONGEST_WAIT);
        // The next try comes between half of the wait and all of it.
        let half = Millis(wait.0 / 2);
        let spread = Millis(random.checked_rem(half.0.max(1)).unwrap_or(0));
        self.retry_at = now.after(half).after(spread);
        if was_open { Transition::None } else { Transition::Opened }
    }

    /// Records a call that was answered.
    pub fn worked(&mut self) -> Transition {
        let was_open = self.is_open();
        *self = Self::default();
        if was_open { Transition::Closed } else { Transition::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_open_it_and_one_success_closes_it() {
        let mut breaker = Breaker::default();
        assert_eq!(
            (breaker.failed(NodeMillis(0), 0), breaker.failed(NodeMillis(0), 0)),
            (Transition::None, Transition::None)
        );
        assert_eq!(breaker.worked(), Transition::None);
        assert_eq!(
            (breaker.failed(NodeMillis(0), 0), breaker.failed(NodeMillis(0), 0)),
            (Transition::None, Transition::None)
        );
        assert!(!breaker.is_open());
        assert_eq!(breaker.failed(NodeMillis(0), 0), Transition::Opened);
        assert_eq!(breaker.failed(NodeMillis(0), 0), Transition::None);
        assert!(breaker.is_open());
        assert_eq!(breaker.worked(), Transition::Closed);
        assert!(!breaker.is_open() && breaker.may_try(NodeMillis(0)));
    }

    #[test]
    fn waits_grow_are_spread_and_stay_within_a_second() {
        let mut breaker = Breaker::default();
        let mut waits = Vec::new();
        for random in 0..40_u64 {
            breaker.failed(NodeMillis(1_000), random.wrapping_mul(0x9E37_79B9));
            if breaker.is_open() {
                waits.push(breaker.retry_at.0 - 1_000);
                assert!(
                    !breaker.may_try(breaker.retry_at.before(Millis(1))) && breaker.may_try(breaker.retry_at)
                );
            }
        }
        assert!(waits[0] <= 200 && waits.iter().all(|wait| (100..=1_000).contains(wait)), "{waits:?}");
        waits.dedup();
        assert!(waits.len() > 30, "spread: {waits:?}");
    }
}
