//! The end-to-end suite, which tests a real gateway.
//!
//! | where | what it is |
//! | --- | --- |
//! | [`gateway`] | the gateway under test: an Envoy of the suite's own, or the one that `GATEWAY_URL` names |
//! | [`caller`] | a client that calls it: a sample consumer with a full bucket, or an anonymous client |
//! | [`spelled`] | whether a gateway charges what it lets through, however the path is spelled |
//! | [`standing`] | what a response's headers say about the caller |
//! | [`monitoring`] | the expressions of `monitoring/`, and a Prometheus, gateways and stores to ask |
//! | `tests/gateway/` | behaviors that every gateway with the sample policy must show |
//! | `tests/own_gateway/` | behaviors that need another policy, or a gateway to start and change |
//! | `tests/shared/` | what several gateways that share a store promise together, even while something is broken |
//! | `tests/monitoring/` | the expressions of rules and dashboards, asked of a Prometheus that scrapes gateways under load |
//! | `tests/gateway_files.rs` | the files for Kong and Envoy, compared |

pub mod caller;
pub mod gateway;
pub mod monitoring;
pub mod spelled;
pub mod standing;
