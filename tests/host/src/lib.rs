//! A Proxy-Wasm host (ABI 0.2.1) that behaves as Kong's or as Envoy's, with a clock that only tests move.
//!
//! It loads the real filter, so a test sees what a gateway would: [`Node::request`] takes a [`Request`] and returns an
//! [`Exchange`]. If a filter does what its host does not forgive, the test fails with the text of the [`RuleBroken`] rule. A
//! newly learned host rule goes into [`rules`], its check into the module of the host call that it is about.
//!
//! | in the order of a request | |
//! | --- | --- |
//! | [`setup`], [`node`] | workers that share one shared data; start, reload |
//! | [`thread`] | a worker: its instance, its roots, their ticks |
//! | [`passage`] | a request's way through the chain |
//! | [`vm`], [`world`] | an instance, and what it sees of its node |
//! | [`linker`], [`abi`] | what a module may import, and how bytes go in and out |
//! | [`headers`], [`properties`], [`shared_data`], [`zone`], [`metrics`], [`calls`], [`local_response`], [`wasi`] | the host calls |

pub mod abi;
pub mod calls;
pub mod clock;
pub mod exchange;
pub mod headers;
pub mod linker;
pub mod local_response;
pub mod metrics;
pub mod module;
pub mod node;
pub mod passage;
pub mod personality;
pub mod properties;
pub mod rules;
pub mod setup;
pub mod shared_data;
pub mod stream;
pub mod thread;
pub mod vm;
pub mod wasi;
pub mod world;
pub mod zone;

pub use calls::Reply;
pub use exchange::{Exchange, Request, Response, Upstream};
pub use headers::Headers;
pub use module::Module;
pub use node::Node;
pub use personality::Personality;
pub use rules::{Rule, RuleBroken};
pub use setup::{Setup, StartError};
pub use zone::{Eviction, Zone};
