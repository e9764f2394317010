//! The machine's clock, for backends that have none of their own.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_core::units::UnixMicros;

/// A clock. Tests bring their own.
pub type Clock = Arc<dyn Fn() -> UnixMicros + Send + Sync>;

/// The machine's clock.
#[must_use]
pub fn system() -> Clock {
    Arc::new(now)
}

/// The time by the machine's clock.
#[expect(clippy::disallowed_methods, reason = "this is where the machine's clock enters")]
pub(super) fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
