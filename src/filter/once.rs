//! Whether a request may meet the filter twice: then the first marks it, and the second lets it pass.
//!
//! The mark costs two calls into the host a request, so it is made only where it can matter. Two entries of the filter
//! on one way show in one of two ways. Kong, and Envoy where their policies differ, make a root context for each. Envoy
//! gives two entries of the same name and policy one root; but then it makes their contexts of a request one after the
//! other, before either of them has seen it. (A request that another filter holds up looks the same: no harm.)

use std::cell::Cell;

thread_local! {
    /// Root contexts of this instance that have a policy.
    static CONFIGURED: Cell<u32> = const { Cell::new(0) };
    /// Requests whose contexts are there, but whose headers have not come yet.
    static WAITING: Cell<u32> = const { Cell::new(0) };
    /// Whether two of them have ever waited at once. For good: it costs little.
    static SEEN_TWO: Cell<bool> = const { Cell::new(false) };
}

/// Whether another filter on this request's way may be Tollgate too.
pub fn may_run_twice() -> bool {
    CONFIGURED.get() > 1 || SEEN_TWO.get()
}

/// A root context that has a policy, for as long as this lives.
pub struct Configured(());

impl Configured {
    pub fn start() -> Self {
        CONFIGURED.set(CONFIGURED.get().saturating_add(1));
        Self(())
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        CONFIGURED.set(CONFIGURED.get().saturating_sub(1));
    }
}

/// A request's context whose headers have not come yet, for as long as this lives.
pub struct Waiting(());

impl Waiting {
    pub fn start() -> Self {
        WAITING.set(WAITING.get().saturating_add(1));
        if WAITING.get() > 1 {
            SEEN_TWO.set(true);
        }
        Self(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.set(WAITING.get().saturating_sub(1));
    }
}
