//! Ctrl-C and its kin, as something to wait for.

use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::wait;

/// Signals that ask this process to end.
#[derive(Debug)]
pub struct Interrupt(Signals);

/// From now on such a signal no longer ends the process, so that it can stop what it started.
///
/// # Errors
/// When the system does not let it.
pub fn expect() -> std::io::Result<Interrupt> {
    Ok(Interrupt(Signals::new([SIGINT, SIGTERM, SIGHUP])?))
}

impl Interrupt {
    /// Waits for one.
    pub fn wait(mut self) {
        let _ = self.0.forever().next();
    }

    /// Whether one came.
    pub fn came(&mut self) -> bool {
        self.0.pending().next().is_some()
    }

    /// Waits for one, or for `ended` to yield a value, and looks every tenth of a second.
    pub fn wait_or<T>(mut self, mut ended: impl FnMut() -> Option<T>) -> Option<T> {
        while !self.came() {
            if let Some(end) = ended() {
                return Some(end);
            }
            wait::pass(Duration::from_millis(100));
        }
        None
    }
}
