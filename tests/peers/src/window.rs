//! A fixed window with one counter for all gateways: a request reads it, is decided, and only then counted.
//!
//! - Kong's `rate-limiting` with `policy: cluster`: "each request forces a read and a write on the data store"
//!   (<https://developer.konghq.com/gateway/rate-limiting/strategies>); the window is a calendar minute of the gateway.
//!
//! Kong's own article describes what that costs as the race of "get-then-set"
//! (<https://konghq.com/blog/how-to-design-a-scalable-rate-limiting-algorithm>).
//!
//! This is not Kong's `redis` policy without a `sync_rate`, which now counts and reads in one step.
//!
//! Assumptions in its favor: the store is one millisecond away and never slow, no message is lost, and all gateways agree on
//! when a minute begins.

use crate::workload::{Arrival, Dice};
use crate::{LIMIT, MINUTE};

/// The shortest and the longest way between gateway and store, with the store's own work, in microseconds.
const WAY: (u64, u64) = (500, 1_500);

/// What happens at the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The counter is read for the request with this index.
    Read(usize),
    /// An admitted request is counted.
    Increment,
}

/// The times of the admitted requests.
#[must_use]
pub fn admitted(arrivals: &[Arrival], seed: u64) -> Vec<u64> {
    let mut dice = Dice(seed);
    let mut way = move || WAY.0 + dice.below(WAY.1 - WAY.0);
    let mut admitted = Vec::new();
    for window in arrivals.chunk_by(|one, next| one.at / MINUTE == next.at / MINUTE) {
        // A step may create another one, so this always takes the earliest of all.
        let reads = window.iter().enumerate();
        let mut steps: std::collections::BinaryHeap<_> = reads
            .map(|(place, request)| std::cmp::Reverse((request.at + way(), Step::Read(place))))
            .collect();
        let mut counter = 0;
        while let Some(std::cmp::Reverse((now, step))) = steps.pop() {
            match step {
                Step::Increment => counter += 1,
                Step::Read(place) if counter < LIMIT => {
                    admitted.extend(window.get(place).map(|request| request.at));
                    // The answer goes to the gateway, and the increment comes back.
                    steps.push(std::cmp::Reverse((now + way() + way(), Step::Increment)));
                }
                Step::Read(_) => {}
            }
        }
    }
    admitted.sort_unstable();
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(micros: u64, count: u64) -> Vec<Arrival> {
        (0..count).map(|number| Arrival { at: number * micros, gateway: 0 }).collect()
    }

    #[test]
    fn requests_that_come_one_by_one_are_counted_exactly() {
        assert_eq!(admitted(&every(100_000, 1_200), 1).len() as u64, 2 * LIMIT);
    }

    #[test]
    fn requests_that_come_together_all_read_the_same() {
        assert_eq!(admitted(&every(1, 400), 1).len(), 400);
    }
}
