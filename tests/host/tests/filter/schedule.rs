//! The filter never over-admits: at any times, on any number of workers, with lost writes and torn reads.

use std::time::Duration;

use serde_json::json;
use tollgate_host::Personality;

use crate::{Gate, by, one_tier};

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

/// 60 per minute is one per second, with room for 90.
const UNITS_A_MINUTE: u64 = 60;
const CAPACITY: u64 = 90;

#[test]
fn what_is_admitted_in_any_interval_is_capacity_and_refill_at_most() {
    for seed in 1..=4 {
        for personality in Personality::ALL {
            let mut dice = Dice(seed);
            let mut gate = Gate::new(personality, 4, &one_tier(json!({ "rate": "60/minute", "burst": 1.5 })));
            let mut admitted: Vec<u64> = Vec::new();
            for _ in 0..1_500 {
                match dice.below(20) {
                    0 => gate.wait(Duration::from_millis(dice.below(30_000))),
                    1..=6 => gate.wait(Duration::from_micros(dice.below(900_000))),
                    7 => gate.node.shared_data().lose_next_writes(dice.below(4) as u32),
                    8 => gate.node.shared_data().tear_next_reads(dice.below(3) as u32),
                    9 => gate.turn = dice.below(4) as usize,
                    _ => {
                        if gate.status(by("fay")) == 200 {
                            admitted.push(gate.node.clock().nanos());
                        }
                    }
                }
            }
            assert!(admitted.len() > 300, "{} were admitted: the schedule shows nothing", admitted.len());
            check(&admitted, &format!("{personality}, seed {seed}"));
        }
    }
}

/// Checks every interval between two admitted requests, both included.
fn check(admitted: &[u64], what: &str) {
    for (first, start) in admitted.iter().enumerate() {
        for (last, end) in admitted.iter().enumerate().skip(first) {
            // The unit is a nanosecond's refill, so that nothing is rounded.
            let count = (last - first + 1) as u128 * 60_000_000_000;
            let allowed =
                u128::from(CAPACITY) * 60_000_000_000 + u128::from(end - start) * u128::from(UNITS_A_MINUTE);
            assert!(count <= allowed, "{what}: {} requests in {} ns", last - first + 1, end - start);
        }
    }
}

#[test]
fn under_steady_overload_nothing_is_stranded() {
    for personality in Personality::ALL {
        let mut gate = Gate::new(personality, 4, &one_tier(json!({ "rate": "60/minute", "burst": 1.5 })));
        let mut admitted = 0;
        for _ in 0..1_200 {
            admitted += gate.passed(&by("fay"), 2);
            gate.wait(Duration::from_millis(250));
        }
        // Five minutes admit 90 and 300.
        assert!((386..=390).contains(&admitted), "{personality}: {admitted}");
    }
}

#[test]
fn lost_writes_are_decided_anew_and_charge_once() {
    for personality in Personality::ALL {
        let mut gate = Gate::new(personality, 4, &one_tier(json!({ "rate": "60/minute", "burst": 1.5 })));
        // If an Envoy loses the first write of a slot, another request has charged the slot as well.
        let mut passed = gate.passed(&by("fay"), 1);
        for _ in 0..120 {
            gate.node.shared_data().lose_next_writes(3);
            passed += gate.passed(&by("fay"), 1);
            gate.node.shared_data().lose_next_writes(0);
        }
        assert_eq!(passed, 90, "{personality}");
    }
}

#[test]
fn endless_lost_writes_end_in_an_answer_that_is_no_failure() {
    for personality in Personality::ALL {
        let mut gate = Gate::new(personality, 1, &one_tier(json!({ "rate": "60/minute" })));
        gate.passed(&by("fay"), 1);
        gate.node.shared_data().lose_next_writes(1_000_000);
        let exchange = gate.ask(by("fay"));
        assert!(matches!(exchange.client.status, 200 | 429), "{}", exchange.client.status);
        assert!(exchange.host_calls("proxy_set_shared_data") <= 1_000, "tries are bounded");
        gate.node.shared_data().lose_next_writes(0);
        assert_eq!(gate.status(by("fay")), 200);
    }
}
