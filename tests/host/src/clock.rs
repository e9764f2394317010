//! Time that moves only when a test says so.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::personality::Personality;

/// 2026-11-15T12:00:00Z: the middle of a month of 30 days.
pub const START_SECONDS: u64 = 1_794_744_000;

/// The resolution of both hosts. Kong's monotonic clock shows less: see `wasi`.
const STEP_NANOS: u64 = 1_000;

/// A node's clock. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Rc<Cell<u64>>,
    monotonic: Rc<Cell<u64>>,
}

impl Clock {
    /// The clock of a host. An Envoy does not start at a whole millisecond, which is how the filter tells it from Kong.
    #[must_use]
    pub fn of(personality: Personality) -> Self {
        let start = if personality.is_kong() { 1_000_000_000 } else { 1_000_001_000 };
        Self { wall: Rc::new(Cell::new(START_SECONDS * 1_000_000_000)), monotonic: Rc::new(Cell::new(start)) }
    }

    /// Wall-clock nanoseconds since 1970, as the hosts show them.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        self.wall.get() / STEP_NANOS * STEP_NANOS
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.wall.get() / 1_000_000_000
    }

    /// Nanoseconds that never go back.
    #[must_use]
    pub fn monotonic_nanos(&self) -> u64 {
        self.monotonic.get() / STEP_NANOS * STEP_NANOS
    }

    /// Lets `time` pass without ticks: [`Node::advance`](crate::Node::advance) runs those.
    pub fn pass(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).expect("a test's time fits 584 years");
        self.wall.set(self.wall.get() + nanos);
        self.monotonic.set(self.monotonic.get() + nanos);
    }

    /// Sets the wall clock, forwards or back, as an administrator or NTP does.
    pub fn jump_to(&self, wall_nanos: u64) {
        self.wall.set(wall_nanos);
    }

    /// Moves the wall clock back by `time`.
    pub fn jump_back(&self, time: Duration) {
        self.wall.set(self.wall.get() - u64::try_from(time.as_nanos()).expect("fits"));
    }
}
