//! Whether a request may pass the filter twice. If so, the first pass marks it, and the second lets it through.
//!
//! The mark costs two calls into the host per request, so it is made only where it can matter: where this instance has
//! several root contexts. Kong makes one for each entry (a service's and a route's), and Envoy one for each policy. Two
//! entries with the same name and policy in one Envoy chain share a root, look like one, and charge twice; the docs say so.

use std::cell::{Cell, RefCell};

use tollgate_node::engine::Ruling;

use super::abi;
use super::host::HostKind;

thread_local! {
    static CONFIGURED: Cell<u32> = const { Cell::new(0) };
    /// Whether Envoy has taken a request away from any root of this instance.
    static HAS_LOST_ONE: Cell<bool> = const { Cell::new(false) };
}

/// A root context of this instance that has a policy; it counts for as long as this value lives.
pub struct Configured(());

impl Configured {
    /// Counts one more.
    pub fn start() -> Self {
        CONFIGURED.set(CONFIGURED.get().saturating_add(1));
        Self(())
    }

    /// Whether another filter on a request's route may be Tollgate too.
    pub fn is_one_of_several() -> bool {
        CONFIGURED.get() > 1
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        CONFIGURED.set(CONFIGURED.get().saturating_sub(1));
    }
}

/// Declares to Envoy that the mark lives as long as the client's request: its message `DeclarePropertyArguments` in binary
/// form (name = 1, span = 5: DownstreamRequest = 1).
const DECLARED: &[u8] = b"\x0a\x10tollgate_charged\x28\x01";
const CHARGED: &[u8] = b"tollgate_charged";

/// The most requests that are remembered; forgotten ones pass without Tollgate's headers.
const MAX_KEPT: usize = 64;

/// The requests that Envoy took away from the filter before a response came, and may start again: for an internal redirect,
/// or because the route is known only now. They are charged once, by the path that the client asked for.
///
/// The mark is set when the request is taken away, not when it is charged, so other requests do not pay for it. It is a
/// number here, under which the ruling is kept for the response.
pub struct Recreated {
    /// Whether the headers for the upstream show that a request was charged.
    shows: bool,
    last: Cell<u64>,
    kept: RefCell<Vec<(u64, Option<Ruling>)>>,
}

impl Recreated {
    /// For `host`, and for a policy that tells the upstream something or not. Call it once per root context and policy.
    pub fn on(host: HostKind, tells_upstream: bool) -> Self {
        if host == HostKind::Envoy {
            abi::call_foreign("declare_property", DECLARED);
        }
        Self { shows: tells_upstream, last: Cell::default(), kept: RefCell::default() }
    }

    /// Whether a request without headers in Tollgate's name may have been charged before. Until a request is taken away,
    /// none has to be checked.
    pub fn may_come_unannounced(&self) -> bool {
        !self.shows && HAS_LOST_ONE.get()
    }

    /// Keeps `ruling` for the current request, which is taken away from the filter before a response.
    #[inline(never)]
    pub fn keep(&self, ruling: Option<Ruling>) {
        HAS_LOST_ONE.set(true);
        let number = self.last.get().wrapping_add(1);
        self.last.set(number);
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.push((number, ruling));
        abi::set_property(CHARGED, &number.to_le_bytes());
    }

    /// `None` if the current request was not decided before; else its ruling, if still known.
    #[inline(never)]
    pub fn take(&self) -> Option<Option<Ruling>> {
        let mark = abi::property(CHARGED)?;
        let number = mark.try_into().map(u64::from_le_bytes).ok();
        let mut kept = self.kept.borrow_mut();
        let place = kept.iter().position(|(other, _)| Some(*other) == number);
        Some(place.and_then(|place| kept.swap_remove(place).1))
    }
}
