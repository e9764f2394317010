//! How gateways, proxies and servers read a path, and spellings that they read differently.
//!
//! The filter prices the dearest reading of a request's target. What it is compared with stands here: each server's own
//! steps one after the other, as simple as they can be written, with nothing of the filter's. Tests of the filter, of
//! whole gateways and the fuzz target `path` use it.

pub mod gateways;
pub mod generator;
pub mod servers;
mod steps;

/// Every path that some server may serve for a request that the gateway has routed by `target`.
#[must_use]
pub fn readings(target: &[u8]) -> Vec<Vec<u8>> {
    let path = steps::until(target, b'?');
    // Kong may be this gateway or the next; each may be followed by a proxy of its own ideas.
    let sent = [Some(path.to_vec()), gateways::kong(path)];
    let mut handed_on: Vec<Vec<u8>> = sent.into_iter().flatten().collect();
    for path in handed_on.clone() {
        handed_on.extend([gateways::envoy(&path), gateways::nginx(&path)].into_iter().flatten());
    }
    handed_on.iter().flat_map(|path| servers::ALL.map(|(_, read)| read(path))).collect()
}
