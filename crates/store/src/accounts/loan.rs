//! What a node has borrowed, and how its client comes there.

use serde::{Deserialize, Serialize};

use super::{CALM_TTL, LEASE_TTL};
use tollgate_core::terms::EXACT;
use tollgate_core::wire::LeaseRequest;

/// A node that has said nothing of a client for so long is calm about it, microseconds.
const CALM_AFTER: u64 = 4_000_000;

/// What one node has borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loan {
    /// Who.
    pub node: u64,
    /// See [`LeaseRequest::epoch`].
    pub epoch: u64,
    /// Of the last message.
    pub seq: u32,
    /// Of the last message.
    pub spent: u64,
    /// Lent and neither reported as spent nor given back.
    pub lent: u64,
    /// Was lent when the loan ended, and counts as spent.
    pub forfeited: u64,
    /// The month that `out` and `lost` belong to.
    pub month: u16,
    /// When `out` ends, microseconds; afterwards, when it ended.
    pub ends: u64,
}

impl Loan {
    /// How its client comes to the node, now that `lease` has come.
    pub(super) fn pace(&self, lease: &LeaseRequest, now: u64) -> Pace {
        // What ends later than any other lease is calm.
        let was_calm = self.ends > now.saturating_add(LEASE_TTL);
        let lasts = if was_calm { CALM_TTL } else { LEASE_TTL };
        let is_long_ago = self.ends > 0 && now.saturating_add(lasts) >= self.ends.saturating_add(CALM_AFTER);
        // Its client has let a lease lie until it went back, and comes again.
        let gave_back =
            self.ends > 0 && self.lent == 0 && lease.hold == 0 && lease.spent.min(EXACT) == self.spent;
        match lease.need {
            // What a request has just spent is reported: that does not make it less calm.
            0 if was_calm && is_long_ago => Pace::Patient,
            0 if was_calm || (is_long_ago && lease.hold > 0) => Pace::Calm,
            0 => Pace::Brisk,
            _ if was_calm && (is_long_ago || gave_back) => Pace::Patient,
            _ if is_long_ago || gave_back => Pace::Calm,
            // A request waits for more so soon: others come with it.
            _ => Pace::Brisk,
        }
    }
}

/// How a client comes to a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Often, or nothing is known of it.
    Brisk,
    /// The node has said nothing of it for a while.
    Calm,
    /// And that not for the first time.
    Patient,
}
