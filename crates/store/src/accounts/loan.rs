//! What a node has borrowed, and how often its client comes there.

use serde::{Deserialize, Serialize};

use super::{CALM_TTL, FIRST_DAY, LEASE_TTL, exact};
use tollgate_core::limit::Day;
use tollgate_core::units::{Cost, Micros, UnixMicros};
use tollgate_core::wire::LeaseRequest;

/// A node that reports nothing about a client for this long has a calm client.
pub(crate) const CALM_AFTER: Micros = Micros(4_000_000);

/// What one node has borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loan {
    /// The node.
    pub node: u64,
    /// See [`LeaseRequest::epoch`].
    pub epoch: u64,
    /// The number of the last message.
    pub seq: u32,
    /// What the last message reports as spent.
    pub spent: Cost,
    /// What is lent and was neither reported as spent nor given back.
    pub lent: Cost,
    /// What was lent when the loan ended. It counts as spent.
    pub forfeited: Cost,
    /// The day that `lent` and `forfeited` belong to, as in [`Usage::period`](super::Usage::period).
    pub period: u16,
    /// When `lent` ends, or when it ended.
    pub ends: UnixMicros,
}

impl Loan {
    /// Whether the node was ever lent anything.
    pub(super) fn has_been(&self) -> bool {
        self.ends > UnixMicros(0)
    }

    /// The day that `lent` and `forfeited` belong to. Stores once kept the month: then it is `today`.
    pub(super) const fn day(&self, today: Day) -> Day {
        if self.period < FIRST_DAY { today } else { Day(self.period) }
    }

    /// How often the client comes to the node, judged by `lease` and the loan.
    pub(super) fn pace(&self, lease: &LeaseRequest, now: UnixMicros) -> Pace {
        // Only a calm lease ends this late.
        let was_calm = self.ends > now.after(LEASE_TTL);
        let lasts = if was_calm { CALM_TTL } else { LEASE_TTL };
        let is_long_ago = self.has_been() && now.after(lasts) >= self.ends.after(CALM_AFTER);
        // The client let a lease lie idle until it was given back, and now comes again.
        let gave_back = self.has_been()
            && self.lent == Cost(0)
            && lease.hold == Cost(0)
            && exact(lease.spent) == self.spent;
        match lease.need.0 {
            // The node only reports what a request has just spent. That does not make the client less calm.
            0 if was_calm && is_long_ago => Pace::Patient,
            0 if was_calm || (is_long_ago && lease.hold > Cost(0)) => Pace::Calm,
            0 => Pace::Brisk,
            _ if was_calm && (is_long_ago || gave_back) => Pace::Patient,
            _ if is_long_ago || gave_back => Pace::Calm,
            // A request needs more so soon because other requests come with it.
            _ => Pace::Brisk,
        }
    }
}

/// How often a client comes to a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It comes often, or nothing is known.
    Brisk,
    /// The node has reported nothing about it for a while.
    Calm,
    /// The same, and not for the first time.
    Patient,
}
