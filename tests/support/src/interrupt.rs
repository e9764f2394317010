//! Ctrl-C and its kin, as something to look at: whoever started something stops it, then ends.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static CAME: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on a signal that asks this process to end is noted and no longer ends it. Every wait of
/// [`crate::wait`] ends when one comes.
///
/// # Errors
/// When the system does not let it.
pub fn expect() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&CAME))?;
    }
    Ok(())
}

/// Whether one came.
#[must_use]
pub fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}
