//! Waiting for a condition, with an end to it.

use std::time::{Duration, Instant};

/// Time between two looks at a condition.
const GLANCE: Duration = Duration::from_millis(10);

/// Looks every 10 ms until `look` yields a value.
///
/// # Errors
/// After `limit`, with `what` was waited for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        pass(GLANCE);
    }
}

/// Lets time pass. For tests in which the time itself is the condition: a stated wait, a bucket's refill.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that sleeps; every caller waits for a stated time"
)]
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}
