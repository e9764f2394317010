//! Whole clusters of Tollgate in one thread, on a virtual clock, from one seed.
//!
//! 1. a [`scenario`] makes a [`plan`] from a seed: what there is, who asks, what breaks;
//! 2. a [`cluster`] runs it with the product's own code and keeps a [`log`];
//! 3. the [`checker`] says what in the log must not be;
//! 4. [`shrink`] takes from the plan whatever is not needed for that, and [`report`] prints what is left.
//!
//! [`run`] is that order. What a run does depends on its plan alone: no clock, no threads, no order of a hash map.

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
