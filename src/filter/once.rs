//! Whether a request may meet the filter twice: then the first marks it, and the second lets it pass.
//!
//! The mark costs two calls into the host a request, so it is made only where it can matter: where this instance has
//! several root contexts. Kong makes one for each entry (a service's and a route's), and so does Envoy for each policy.
//! Two entries of the very same name and policy in one chain of Envoy's share a root, cannot be told from one, and
//! charge twice; the docs say so.

use std::cell::Cell;

thread_local! {
    static CONFIGURED: Cell<u32> = const { Cell::new(0) };
}

/// A root context of this instance that has a policy, for as long as this lives.
pub struct Configured(());

impl Configured {
    /// One more.
    pub fn start() -> Self {
        CONFIGURED.set(CONFIGURED.get().saturating_add(1));
        Self(())
    }

    /// Whether another filter on a request's way may be Tollgate too.
    pub fn is_one_of_several() -> bool {
        CONFIGURED.get() > 1
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        CONFIGURED.set(CONFIGURED.get().saturating_sub(1));
    }
}
