//! Random numbers from a seed, which are the same on every machine and in every release.

use std::cell::RefCell;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A stream of random numbers. Draws from one stream do not change the others.
#[derive(Debug)]
pub struct Random(RefCell<Pcg64Mcg>);

/// How many times in a million something happens.
pub type PerMillion = u32;

impl Random {
    /// The stream number `stream` of `seed`.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(RefCell::new(Pcg64Mcg::seed_from_u64(mixed(seed ^ mixed(stream.wrapping_add(1))))))
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }

    /// A place in a list of `length`.
    pub fn index(&self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// Whether it happens this time.
    pub fn happens(&self, chance: PerMillion) -> bool {
        chance > 0 && self.below(1_000_000) < u64::from(chance)
    }

    /// One of `all`.
    ///
    /// # Panics
    /// When there is none.
    pub fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.index(all.len())]
    }
}

/// SplitMix64's finaliser: neighbours among seeds have nothing in common.
#[must_use]
pub const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_never_changes_between_releases() {
        let random = Random::new(7, 3);
        let drawn: Vec<u64> = (0..3).map(|_| random.between(10, 1_000)).collect();
        assert_eq!(drawn, GOLDEN);
    }

    const GOLDEN: [u64; 3] = [285, 838, 276];

    #[test]
    fn numbers_stay_within_their_bounds() {
        let random = Random::new(1, 1);
        assert!((0..1_000).all(|_| (5..=7).contains(&random.between(5, 7))));
        assert_eq!(random.below(0), 0);
        assert!((0..1_000).all(|_| !random.happens(0) && random.happens(1_000_000)));
    }
}
