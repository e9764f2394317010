//! Tokio's clock, which the store's code reads. Only the simulator moves it.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::time::TrueTime;

/// Moves Tokio's clock, which has to be paused, in the runtime that was entered.
#[derive(Debug)]
pub struct Clock(Cell<TrueTime>);

impl Clock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn at(now: TrueTime) -> Self {
        Self(Cell::new(now))
    }

    /// Moves the clock to `now`.
    pub fn advance_to(&self, now: TrueTime) {
        let elapsed = now - self.0.replace(now);
        if elapsed == 0 {
            return;
        }
        // The clock moves at the first poll. After that it would only wait for other tasks to run.
        let advance = pin!(tokio::time::advance(Duration::from_nanos(elapsed)));
        let _ = advance.poll(&mut Context::from_waker(Waker::noop()));
    }
}
