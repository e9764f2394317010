//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use crate::interrupt;

/// The time between two looks at a condition.
const GLANCE: Duration = Duration::from_millis(10);

/// Looks every 10 ms until `look` yields a value.
///
/// # Errors
/// If `limit` passes, with `what` was waited for, or if this process was asked to end.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        anyhow::ensure!(!interrupt::came(), "interrupted while waiting for {what}");
        pass(GLANCE);
    }
}

/// [`until`] on a tokio runtime, for conditions that are awaited.
///
/// # Errors
/// As [`until`].
pub async fn until_async<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        anyhow::ensure!(!interrupt::came(), "interrupted while waiting for {what}");
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until this process is asked to end ([`interrupt::expect`]), or `look` yields a value.
pub fn until_interrupted<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    while !interrupt::came() {
        if let found @ Some(_) = look() {
            return found;
        }
        pass(GLANCE * 10);
    }
    None
}

/// Lets time pass, for tests whose condition is time itself: a stated wait, a bucket's refill.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that sleeps; every caller waits for a stated time"
)]
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}
