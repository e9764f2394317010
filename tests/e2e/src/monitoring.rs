//! The expressions of `monitoring/`, and a real Prometheus that scrapes real gateways and stores under load to ask them of.
//! Their tests are `tests/monitoring/`; `tollgate-pictures` draws the dashboards from it.
//!
//! | where | what it is |
//! | --- | --- |
//! | [`asked`] | every expression of rules, alerts and dashboards, and its place |
//! | [`prometheus`] | a Prometheus of a test's own |
//! | [`kong`] | a stand-in for the metrics that only a real Kong has |
//! | [`stage`] | two Envoys, two stores on a Redis, the stand-in, and clients |

pub mod asked;
pub mod kong;
pub mod prometheus;
pub mod stage;
