//! The ticks of a root in which it may not call the store yet.
//!
//! After a reload Kong's host has timers of old roots, which tick the new root too, and in their ticks a call traps until the
//! new root's own timer has ticked once. Whose tick it is cannot be told. But once the own timer is due, only old timers that
//! were due before it can still come first, all of them in one turn of the host's event loop. So the root lets some ticks
//! pass that are too far apart for one turn.

use tollgate_core::units::Millis;
use tollgate_node::clock::NodeNanos;

use super::abi;

/// The ticks since the root was configured, as far as that matters.
#[derive(Default)]
pub struct FirstTicks {
    /// A tick from then on counts, by the node's clock.
    next: NodeNanos,
    /// How many that count are still to come.
    left: u8,
}

/// Between two ticks of one turn there is a fraction of that, unless something blocks the worker.
const APART: Millis = Millis(10);

impl FirstTicks {
    /// Of a root whose own timer begins now, with `interval` between two ticks.
    pub fn from_now(interval: Millis) -> Self {
        // More than one: something may block the worker just between two ticks.
        const TICKS: u8 = 3;
        Self { next: abi::monotonic().after(interval), left: TICKS }
    }

    /// Asked once in every tick.
    pub fn are_over(&mut self) -> bool {
        if self.left > 0 {
            let now = abi::monotonic();
            if now >= self.next {
                self.next = now.after(APART);
                self.left = self.left.saturating_sub(1);
            }
        }
        self.left == 0
    }
}
