//! Whether a request may meet the filter twice: then the first marks it, and the second lets it pass.
//!
//! The mark costs two calls into the host a request, so it is made only where it can matter: where this instance has
//! several root contexts. Kong makes one for each entry (a service's and a route's), and so does Envoy for each policy.
//! Two entries of the very same name and policy in one chain of Envoy's share a root, cannot be told from one, and
//! charge twice; the docs say so.

use std::cell::{Cell, RefCell};

use super::abi;
use super::host::HostKind;
use tollgate_node::engine::Ruling;

thread_local! {
    static CONFIGURED: Cell<u32> = const { Cell::new(0) };
    /// Whether Envoy has taken a request away from any root of this instance.
    static HAS_LOST_ONE: Cell<bool> = const { Cell::new(false) };
}

/// A root context of this instance that has a policy, for as long as this lives.
pub struct Configured(());

impl Configured {
    /// One more.
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

/// What Envoy is told of the mark's name: that it lives as long as the client's request, in the binary form of its message
/// `DeclarePropertyArguments` (name = 1, span = 5: DownstreamRequest = 1).
const DECLARED: &[u8] = b"\x0a\x10tollgate_charged\x28\x01";
const CHARGED: &[u8] = b"tollgate_charged";

/// So many of them are remembered; what is forgotten is let through without its headers.
const MAX_KEPT: usize = 64;

/// The requests that Envoy took away from the filter before a response came, and may start anew: for an internal redirect, or
/// because a route is only now known. They are charged once, by the path that the client asked for.
///
/// The mark is made when the request is taken away, not when it is charged: so it costs nothing otherwise. It is a number
/// here, under which the ruling is kept for the response.
pub struct Recreated {
    /// Whether a request that was charged shows it by what the upstream is told.
    shows: bool,
    last: Cell<u64>,
    kept: RefCell<Vec<(u64, Option<Ruling>)>>,
}

impl Recreated {
    /// On `host`, for a policy that tells the upstream something, or does not. Once a root context and policy.
    pub fn on(host: HostKind, tells_upstream: bool) -> Self {
        if host == HostKind::Envoy {
            abi::call_foreign("declare_property", DECLARED);
        }
        Self { shows: tells_upstream, last: Cell::default(), kept: RefCell::default() }
    }

    /// Whether a request whose headers say nothing in Tollgate's name may have been charged before. As long as no request
    /// was taken away, none has to be asked.
    pub fn may_come_unannounced(&self) -> bool {
        !self.shows && HAS_LOST_ONE.get()
    }

    /// The request at hand is taken away from the filter, after `ruling` and without a response.
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

    /// Whether the request at hand was decided about before, and the ruling.
    #[inline(never)]
    pub fn take(&self) -> Option<Option<Ruling>> {
        let mark = abi::property(CHARGED)?;
        let number = mark.try_into().map(u64::from_le_bytes).ok();
        let mut kept = self.kept.borrow_mut();
        let place = kept.iter().position(|(other, _)| Some(*other) == number);
        Some(place.and_then(|place| kept.swap_remove(place).1))
    }
}
