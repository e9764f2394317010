//! The first ticks of a root, in which it may not call the store yet.
//!
//! After a reload, Kong's host still has timers of old roots. They tick the new root too, and a call in such a tick traps
//! until the new root's own timer has ticked once. A tick does not say whose it is. But once the own timer is due, only old
//! timers that were due earlier can still come first, all in one turn of the host's event loop. So the root lets a few
//! ticks pass that are too far apart for one turn.

use tollgate_core::units::Millis;
use tollgate_node::clock::NodeNanos;

use super::abi;

/// Counts the ticks since the root was configured.
#[derive(Default)]
pub struct FirstTicks {
    /// Ticks count from this moment on.
    next: NodeNanos,
    /// How many more ticks have to count.
    left: u8,
}

/// Two ticks of one turn are closer together than this, unless something blocks the worker.
const APART: Millis = Millis(10);

impl FirstTicks {
    /// For a root whose own timer starts now, with `interval` between two ticks.
    pub fn from_now(interval: Millis) -> Self {
        // More than one, since something may block the worker between two ticks.
        const TICKS: u8 = 3;
        Self { next: abi::monotonic().after(interval), left: TICKS }
    }

    /// Has to be called once per tick.
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
