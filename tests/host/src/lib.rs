//! A Proxy-Wasm host (ABI 0.2.1) that behaves as Kong's or as Envoy's, with a clock that only tests move.
//!
//! It loads the real filter, so that a test sees what a gateway would: [`Node::request`] takes a [`Request`] and
//! gives an [`Exchange`]. Where a filter does what its host does not forgive, the test fails with the
//! [`RuleBroken`] rule's text. A newly learnt host rule goes into [`rules`], its check beside what it is about.
//!
//! | in the order of a request | |
//! | --- | --- |
//! | [`setup`], [`node`] | workers over one shared data; start, reload |
//! | [`thread`] | a worker: its instance, its roots, their ticks |
//! | [`passage`] | a request's way through the chain |
//! | [`vm`], [`world`] | an instance, and what it sees |
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
