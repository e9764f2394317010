//! The clocks of a node, and the one place that converts between them.
//!
//! A node has a monotonic clock that nobody sets and all of its workers share: [`NodeNanos`]. Most of the node reads it in
//! milliseconds, [`NodeMillis`], and records keep the lowest 32 bits of these, [`Tick`]. The time of day, [`UnixNanos`], is the
//! store's once the store has answered, and the gateway's until then.

use tollgate_core::units::{Millis, NANOS_PER_SECOND, Nanos, UnixNanos};

/// Nanoseconds in a millisecond.
const NANOS_PER_MILLI: u64 = 1_000_000;

/// A moment of the node's monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeNanos(pub u64);

impl NodeNanos {
    /// The moment `wait` later, or the end of the range.
    #[must_use]
    pub const fn after(self, wait: Millis) -> Self {
        Self(self.0.saturating_add(wait.nanos().0))
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / NANOS_PER_SECOND
    }

    /// The same moment in whole milliseconds, rounded down.
    #[must_use]
    pub const fn millis(self) -> NodeMillis {
        NodeMillis(self.0 / NANOS_PER_MILLI)
    }
}

/// A moment of the node's monotonic clock, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeMillis(pub u64);

impl NodeMillis {
    /// The end of the range: a moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `wait` later, or the end of the range.
    #[must_use]
    pub const fn after(self, wait: Millis) -> Self {
        Self(self.0.saturating_add(wait.0))
    }

    /// The moment `time` earlier, or the beginning of the range.
    #[must_use]
    pub const fn before(self, time: Millis) -> Self {
        Self(self.0.saturating_sub(time.0))
    }

    /// The time from `earlier` to `self`; zero when `earlier` lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// The lowest 32 bits, as a record keeps them.
    #[must_use]
    pub const fn tick(self) -> Tick {
        Tick((self.0 & 0xFFFF_FFFF) as u32)
    }
}

/// A moment of the node's monotonic clock: the lowest 32 bits of its milliseconds. Two moments can be compared if they are less
/// than 24 days apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// The moment `wait` later, at most 20 days.
    #[must_use]
    pub fn after(self, wait: Millis) -> Self {
        const MOST: u64 = 20 * 86_400_000;
        Self(self.0.wrapping_add(u32::try_from(wait.0.min(MOST)).unwrap_or(u32::MAX)))
    }

    /// Whether `self` has come when it is `now`.
    #[must_use]
    pub const fn has_come(self, now: Self) -> bool {
        now.0.wrapping_sub(self.0) < 1 << 31
    }

    /// The time from `earlier` to `self`; zero when `earlier` lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        let milli = self.0.wrapping_sub(earlier.0);
        Millis(if milli < 1 << 31 { milli as u64 } else { 0 })
    }
}

/// The moment of one step, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The time of day, for months and headers.
    pub unix: UnixNanos,
    /// The node's clock, for lengths of time: workers may disagree about the time of day.
    pub node: NodeNanos,
}

impl Now {
    /// The node's clock in milliseconds.
    #[must_use]
    pub const fn millis(self) -> NodeMillis {
        self.node.millis()
    }

    /// The moment of the node's clock that is `at` by the time of day.
    #[must_use]
    pub const fn to_node(self, at: UnixNanos) -> NodeNanos {
        let past = self.node.0.saturating_sub(self.unix.since(at).0);
        NodeNanos(past.saturating_add(at.since(self.unix).0))
    }

    /// The time of day that is `at` by the node's clock.
    #[must_use]
    pub const fn to_unix(self, at: NodeNanos) -> UnixNanos {
        let past = self.unix.0.saturating_sub(self.node.0.saturating_sub(at.0));
        UnixNanos(past.saturating_add(at.0.saturating_sub(self.node.0)))
    }
}

impl From<UnixNanos> for Now {
    /// For a gateway without a store, which has one clock.
    fn from(unix: UnixNanos) -> Self {
        Self { unix, node: NodeNanos(unix.0) }
    }
}

/// The difference of time of day and node's clock, which turns one into the other.
#[derive(Clone, Copy, Debug)]
pub struct Offset(u64);

impl Offset {
    /// The offset of a node whose clock shows `node` when the time of day is `unix`.
    #[must_use]
    pub const fn between(unix: UnixNanos, node: NodeNanos) -> Self {
        Self(unix.0.wrapping_sub(node.0))
    }

    /// The time of day when the node's clock shows `node`.
    #[must_use]
    pub const fn unix(self, node: NodeNanos) -> UnixNanos {
        UnixNanos(node.0.wrapping_add(self.0))
    }
}

/// The longest time that a message may have taken, since the node's milliseconds are rounded down.
#[must_use]
pub const fn at_most(took: Millis) -> Nanos {
    Nanos(took.0.saturating_add(1).saturating_mul(NANOS_PER_MILLI))
}
