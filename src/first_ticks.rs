//! The ticks of a root in which it may not call the store yet.
//!
//! After a reload Kong's host has timers of old roots, which tick the new root too, and in their ticks a call traps until the
//! new root's own timer has ticked once. Whose tick it is cannot be told. But once the own timer is due, only old timers that
//! were due before it can still come first, all of them in one turn of the host's event loop. So the root lets some ticks
//! pass that are too far apart for one turn.

use super::abi;

/// The ticks since the root was configured, as far as that matters.
#[derive(Default)]
pub struct FirstTicks {
    /// A tick from then on counts, nanoseconds of the monotonic clock.
    next: u64,
    /// How many that count are still to come.
    left: u8,
}

const MILLISECOND: u64 = 1_000_000;

/// Between two ticks of one turn there is a fraction of that, unless something blocks the worker.
const APART: u64 = 10 * MILLISECOND;

impl FirstTicks {
    /// Of a root whose own timer begins now, with so many milliseconds between two ticks.
    pub fn from_now(interval: u32) -> Self {
        // More than one: something may block the worker just between two ticks.
        const TICKS: u8 = 3;
        let interval = u64::from(interval).saturating_mul(MILLISECOND);
        Self { next: abi::monotonic().saturating_add(interval), left: TICKS }
    }

    /// Asked once in every tick.
    pub fn are_over(&mut self) -> bool {
        if self.left > 0 {
            let now = abi::monotonic();
            if now >= self.next {
                self.next = now.saturating_add(APART);
                self.left = self.left.saturating_sub(1);
            }
        }
        self.left == 0
    }
}
