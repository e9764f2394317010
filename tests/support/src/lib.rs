//! Real gateways and upstreams for tests, demo and benchmarks.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`http`] | a client that sends paths and headers as given |
//! | [`upstream`] | the sample upstream, which answers with what it received |
//! | [`envoy`] | an Envoy of a test's own, from `envoy/envoy.yaml` with changes |
//! | [`store`] | a `tollgate store` of a test's own |
//! | [`audit`] | what a store's audit log says of changes of customers |
//! | [`chaos`] | a bad network between gateways and store |
//! | [`redis`] | Redis servers of a test's own: single, guarded by TLS and ACL, watched by Sentinels, clustered |
//! | [`sample`] | the sample consumers' credentials |
//! | [`process`] | child processes that do not outlive their owner |
//! | [`wait`] | conditions with a deadline; the only place that sleeps |
//! | [`interrupt`] | Ctrl-C |
//! | [`workspace`] | where the repository's files are |

pub mod audit;
pub mod chaos;
pub mod envoy;
pub mod http;
pub mod interrupt;
pub mod process;
pub mod redis;
pub mod sample;
pub mod store;
pub mod upstream;
pub mod wait;
pub mod workspace;
