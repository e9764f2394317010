//! How much other ways to share one limit between gateways admit: simulated, for the figure of `docs/correctness.md`.
//!
//! ```text
//! workload ─▶ window    fixed window: read, decide, then increment ┐
//!             sync      fixed window: counters synced periodically ├▶ measure ─▶ row ─▶ figure
//!             divided   a token bucket of a part of the limit each ┘              docs/figures  docs/pictures
//! tests/sim ─▶ ours     Tollgate itself ────────────────────────────────────────▶ row
//! ```
//!
//! Each peer is written from its documentation, which its module names; nobody's code is in here. What the documentation
//! leaves open is decided in the peer's favour, and said so. Nothing here depends on anything but the seed: the same
//! program writes the same bytes everywhere, which a test checks. (Of Tollgate's own rows it checks that they keep what
//! Tollgate promises: they differ whenever Tollgate does.)

pub mod divided;
pub mod draw;
pub mod measure;
pub mod ours;
pub mod row;
pub mod sync;
pub mod window;
pub mod workload;

/// Units a minute that the client may have: the tier `free`.
pub const LIMIT: u64 = 100;

/// What a full bucket holds: a burst of 1.5.
pub const CAPACITY: u64 = 150;

/// What the client sends, as a multiple of its limit.
pub const OVERLOAD: u64 = 5;

/// How long it does, minutes. So long that the first burst is lost in it.
pub const MINUTES: u64 = 360;

/// A minute in microseconds, the unit of all moments here.
pub const MINUTE: u64 = 60_000_000;

/// What all numbers are drawn from.
pub const SEED: u64 = 4;

/// The numbers of gateways that are looked at.
pub const NODES: [usize; 2] = [3, 10];
