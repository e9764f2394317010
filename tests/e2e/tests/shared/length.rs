//! The length of the long scenarios.

use std::time::Duration;

/// Whether they run in full, as `TOLLGATE_SOAK=1` says, or shortened.
pub fn is_full() -> bool {
    std::env::var_os("TOLLGATE_SOAK").is_some_and(|value| value == "1")
}

/// How long a scenario runs whose full length is a minute.
pub fn of_a_minute() -> Duration {
    Duration::from_secs(if is_full() { 60 } else { 12 })
}

/// One of two amounts: that of the full run or that of the shortened one.
pub fn full_or<T>(full: T, shortened: T) -> T {
    if is_full() { full } else { shortened }
}
