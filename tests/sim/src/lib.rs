//! Simulates whole clusters of Tollgate in one thread, on a virtual clock, from one seed.
//!
//! Begin with [`run`], which has this order:
//!
//! 1. A [`scenario`] makes a [`plan`] from a seed: what the cluster is, which clients ask, and what breaks.
//! 2. A [`cluster`] runs the plan with the product's own code, and keeps a [`log`].
//! 3. The [`checker`] finds in the log what must not happen.
//! 4. [`shrink`] removes from the plan what is not needed for that, and [`report`] prints the rest.
//!
//! A run depends on its plan alone, and not on a clock, on threads or on the order of a hash map.

pub mod checker;
pub mod cluster;
pub mod log;
pub mod plan;
pub mod queue;
pub mod random;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod time;
