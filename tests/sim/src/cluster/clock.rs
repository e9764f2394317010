//! Tokio's clock, which the store's code reads: it stands still but for the simulator.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

/// Moves Tokio's clock. It has to stand, and its runtime to be entered.
#[derive(Debug)]
pub struct Clock(Cell<u64>);

impl Clock {
    /// It is `now`.
    #[must_use]
    pub const fn at(now: u64) -> Self {
        Self(Cell::new(now))
    }

    /// It becomes `now`.
    pub fn advance_to(&self, now: u64) {
        let elapsed = now - self.0.replace(now);
        if elapsed == 0 {
            return;
        }
        // It moves at the first poll; what it would wait for is that others have a turn.
        let advance = pin!(tokio::time::advance(Duration::from_nanos(elapsed)));
        let _ = advance.poll(&mut Context::from_waker(Waker::noop()));
    }
}
