//! What the client sends: five times its limit, spread over the gateways.

use crate::{LIMIT, MINUTE, MINUTES, OVERLOAD};

/// One request of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// Microseconds since the start, at which a minute starts as well.
    pub at: u64,
    /// The gateway that it comes to.
    pub gateway: usize,
}

/// When requests come, and to which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// They come at any moment, to any gateway.
    Even,
    /// They come at any moment: 90 % to one gateway, 9 % to another, 1 % to a third.
    Skewed,
    /// They come at any moment, all to one gateway, which changes every second.
    Moving,
    /// Every minute's requests come in its first tenth of a second, to any gateway.
    AtOnce,
}

impl Scenario {
    /// All scenarios, in the figure's order.
    pub const ALL: [Self; 4] = [Self::Even, Self::Skewed, Self::Moving, Self::AtOnce];

    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Skewed => "skewed",
            Self::Moving => "moving",
            Self::AtOnce => "at-once",
        }
    }

    /// Its name in the figure.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Even => "Even: each request to any gateway",
            Self::Skewed => "Skewed: 90 %, 9 % and 1 % of the requests to three gateways",
            Self::Moving => "Moving: all requests to one gateway, another one every second",
            Self::AtOnce => "At once: each minute's requests within 100 ms, to any gateway",
        }
    }

    /// Everything that the client sends, in order of time.
    #[must_use]
    pub fn arrivals(self, nodes: usize, seed: u64) -> Vec<Arrival> {
        let mut dice = Dice(seed);
        let count = LIMIT * OVERLOAD * MINUTES;
        let mut arrivals: Vec<Arrival> = (0..count)
            .map(|number| {
                let at = match self {
                    Self::AtOnce => number / (LIMIT * OVERLOAD) * MINUTE + dice.below(MINUTE / 600),
                    _ => dice.below(MINUTES * MINUTE),
                };
                let gateway = match self {
                    Self::Even | Self::AtOnce => dice.below(nodes as u64),
                    Self::Skewed => match dice.below(100) {
                        0..90 => 0,
                        90..99 => 1,
                        _ => 2,
                    },
                    Self::Moving => at / 1_000_000 % nodes as u64,
                };
                Arrival { at, gateway: gateway as usize }
            })
            .collect();
        arrivals.sort_unstable();
        arrivals
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): it uses only integers, so that every machine draws the same.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_offers_five_times_the_limit_in_the_order_of_time() {
        for scenario in Scenario::ALL {
            let arrivals = scenario.arrivals(10, 1);
            assert_eq!(arrivals.len() as u64, 5 * LIMIT * MINUTES);
            assert!(arrivals.is_sorted() && arrivals.iter().all(|arrival| arrival.at < MINUTES * MINUTE));
        }
    }

    #[test]
    fn a_seed_draws_the_same_again_and_another_one_something_else() {
        assert_eq!(Scenario::Even.arrivals(3, 1), Scenario::Even.arrivals(3, 1));
        assert_ne!(Scenario::Even.arrivals(3, 1), Scenario::Even.arrivals(3, 2));
    }

    #[test]
    fn skewed_is_90_9_and_1() {
        let arrivals = Scenario::Skewed.arrivals(10, 1);
        let share = |gateway| {
            arrivals.iter().filter(|arrival| arrival.gateway == gateway).count() * 1_000 / arrivals.len()
        };
        assert!(
            (895..905).contains(&share(0)) && (85..95).contains(&share(1)) && (5..15).contains(&share(2))
        );
    }
}
