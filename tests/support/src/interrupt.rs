//! Ctrl-C and similar signals as a flag, so that a program stops what it has started before it ends.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static CAME: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on a signal that asks this process to end is only noted and no longer ends it. Every wait of [`crate::wait`] ends
/// when one comes.
///
/// # Errors
/// If the system does not allow it.
pub fn expect() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&CAME))?;
    }
    Ok(())
}

/// Whether such a signal came.
#[must_use]
pub fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}
