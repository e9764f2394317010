//! What `monitoring/` asks, and what it is asked of: a real Prometheus that scrapes real gateways and stores under load.
//! The tests of that are `tests/monitoring/`; `tollgate-pictures` draws the dashboards from it.
//!
//! | where | what it is |
//! | --- | --- |
//! | [`asked`] | every expression of rules, alerts and dashboards, and where it stands |
//! | [`prometheus`] | a Prometheus of one's own |
//! | [`kong`] | a stand-in for what only a real Kong has |
//! | [`stage`] | two Envoys, two stores on a Redis, the stand-in, and clients |

pub mod asked;
pub mod kong;
pub mod prometheus;
pub mod stage;
