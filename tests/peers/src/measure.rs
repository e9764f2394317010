//! What was admitted over what is allowed: in total, and in the worst interval.

use crate::{CAPACITY, LIMIT, MINUTE, MINUTES};

/// What a bucket of the limit allows in `micros`, in millionths of a minute's units: capacity + rate · t.
const fn allowed_work(micros: u64) -> u64 {
    CAPACITY * MINUTE + LIMIT * micros
}

/// What is allowed over the whole run.
#[must_use]
pub const fn allowed() -> u64 {
    allowed_work(MINUTES * MINUTE) / MINUTE
}

/// The interval with the highest ratio of admitted to allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worst {
    /// Requests admitted in it.
    pub admitted: u64,
    /// Its length in microseconds.
    pub micros: u64,
}

impl Worst {
    /// Finds it among requests that were admitted at `moments`, in their order.
    ///
    /// A ratio *r* is exceeded somewhere if admitted − *r* · allowed is positive for some interval, and one pass finds the
    /// greatest of these differences. So this starts with any interval and goes on with the one that exceeds its ratio most,
    /// until none does (Dinkelbach 1967). It uses integers, so it is exact.
    #[must_use]
    pub fn of(moments: &[u64]) -> Option<Self> {
        let mut worst = Self { admitted: 1, micros: 0 };
        moments.first()?;
        while let Some(worse) = worst.worse(moments) {
            worst = worse;
        }
        Some(worst)
    }

    fn worse(&self, moments: &[u64]) -> Option<Self> {
        // This is admitted · q − p · allowed, where p / q is the ratio so far.
        let (p, q) = (i128::from(self.admitted), i128::from(allowed_work(self.micros)));
        let excess =
            |admitted: usize, micros: u64| admitted as i128 * q - p * i128::from(allowed_work(micros));
        let mut best: Option<(i128, Self)> = None;
        let mut start = 0;
        for (place, moment) in moments.iter().enumerate() {
            let from = |start: usize| {
                let first = moments.get(start).copied().unwrap_or_default();
                (excess(place + 1 - start, moment - first), moment - first)
            };
            if from(place).0 > from(start).0 {
                start = place;
            }
            let (excess, micros) = from(start);
            if excess > 0 && best.is_none_or(|(most, _)| excess > most) {
                best = Some((excess, Self { admitted: (place + 1 - start) as u64, micros }));
            }
        }
        best.map(|(_, worst)| worst)
    }

    /// What is allowed in it.
    #[must_use]
    pub fn allowed(&self) -> f64 {
        allowed_work(self.micros) as f64 / MINUTE as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Dice;

    #[test]
    fn the_worst_interval_is_the_worst_of_all() {
        for seed in 0..50 {
            let mut dice = Dice(seed);
            let mut moments: Vec<u64> = (0..60).map(|_| dice.below(MINUTE / 2)).collect();
            moments.sort_unstable();
            let ratio = |worst: &Worst| worst.admitted as f64 / worst.allowed();
            let all =
                (0..moments.len()).flat_map(|start| (start..moments.len()).map(move |end| (start, end)));
            let worst = all
                .map(|(start, end)| {
                    ratio(&Worst {
                        admitted: (end - start + 1) as u64,
                        micros: moments[end] - moments[start],
                    })
                })
                .fold(0.0, f64::max);
            assert_eq!(ratio(&Worst::of(&moments).unwrap()), worst, "seed {seed}");
        }
    }

    #[test]
    fn a_bucket_that_is_kept_allows_as_much_as_it_admits() {
        // The burst comes at once, then each request as soon as its unit is there.
        let moments: Vec<u64> =
            (0..150).map(|_| 0).chain((1..600).map(|number| number * MINUTE / LIMIT)).collect();
        let worst = Worst::of(&moments).unwrap();
        assert!(worst.admitted as f64 <= worst.allowed());
        assert_eq!(allowed(), 150 + 100 * MINUTES);
    }
}
