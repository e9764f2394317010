//! How much other ways to share one limit between gateways admit: simulated, for the figure of `docs/correctness.md`.
//!
//! ```text
//! workload ─▶ window    fixed window: read, decide, then increment ┐
//!             sync      fixed window: counters synced periodically ├▶ measure ─▶ row ─▶ figure
//!             divided   a token bucket of a part of the limit each ┘              docs/figures  docs/pictures
//! tests/sim ─▶ ours     Tollgate itself ────────────────────────────────────────▶ row
//! ```
//!
//! Each peer is written from the documentation that its module names; it contains none of the peer's code. What the
//! documentation leaves open is decided in the peer's favor, and the module says so. Everything here depends only on the seed:
//! the same program writes the same bytes everywhere, which a test checks. (Of Tollgate's own rows it checks that they keep
//! what Tollgate promises: they change whenever Tollgate does.)

pub mod divided;
pub mod draw;
pub mod measure;
pub mod ours;
pub mod row;
pub mod sync;
pub mod window;
pub mod workload;

/// Units per minute that the client may have: the tier `free`.
pub const LIMIT: u64 = 100;

/// The units in a full bucket: a burst of 1.5.
pub const CAPACITY: u64 = 150;

/// The client sends this multiple of its limit.
pub const OVERLOAD: u64 = 5;

/// How many minutes it does so. In so long a time the first burst no longer matters.
pub const MINUTES: u64 = 360;

/// A minute in microseconds, the unit of all moments here.
pub const MINUTE: u64 = 60_000_000;

/// The seed of all random numbers.
pub const SEED: u64 = 4;

/// The numbers of gateways in the figure.
pub const NODES: [usize; 2] = [3, 10];
