//! What a node has borrowed, and how its client comes there.

use serde::{Deserialize, Serialize};

use super::{CALM_TTL, LEASE_TTL, exact};
use tollgate_core::units::{Cost, Micros, UnixMicros};
use tollgate_core::wire::LeaseRequest;

/// A node that has said nothing of a client for so long is calm about it.
pub(crate) const CALM_AFTER: Micros = Micros(4_000_000);

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
    pub spent: Cost,
    /// Lent and neither reported as spent nor given back.
    pub lent: Cost,
    /// Was lent when the loan ended, and counts as spent.
    pub forfeited: Cost,
    /// The month that `lent` and `forfeited` belong to.
    pub month: u16,
    /// When `lent` ends; afterwards, when it ended.
    pub ends: UnixMicros,
}

impl Loan {
    /// Whether the node was ever lent anything.
    pub(super) fn has_been(&self) -> bool {
        self.ends > UnixMicros(0)
    }

    /// How its client comes to the node, now that `lease` has come.
    pub(super) fn pace(&self, lease: &LeaseRequest, now: UnixMicros) -> Pace {
        // What ends later than any other lease is calm.
        let was_calm = self.ends > now.after(LEASE_TTL);
        let lasts = if was_calm { CALM_TTL } else { LEASE_TTL };
        let is_long_ago = self.has_been() && now.after(lasts) >= self.ends.after(CALM_AFTER);
        // Its client has let a lease lie until it went back, and comes again.
        let gave_back = self.has_been()
            && self.lent == Cost(0)
            && lease.hold == Cost(0)
            && exact(lease.spent) == self.spent;
        match lease.need.0 {
            // What a request has just spent is reported: that does not make it less calm.
            0 if was_calm && is_long_ago => Pace::Patient,
            0 if was_calm || (is_long_ago && lease.hold > Cost(0)) => Pace::Calm,
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
