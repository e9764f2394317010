//! How gateways, proxies and servers read a path, and spellings that they read differently.
//!
//! The filter prices the dearest reading of a request's target. This crate has the readings to compare it with: each server's
//! own steps, one after the other, written as simply as possible and sharing nothing with the filter. Tests of the filter and
//! of whole gateways use it, and so does the fuzz target `path`.

pub mod gateways;
pub mod generator;
pub mod servers;
mod steps;

/// Every path that some server may serve for a request that the gateway has routed by `target`.
#[must_use]
pub fn readings(target: &[u8]) -> Vec<Vec<u8>> {
    let path = steps::until(target, b'?');
    // Kong may be this gateway or the next; a proxy that reads paths differently may follow each.
    let sent = [Some(path.to_vec()), gateways::kong(path)];
    let mut handed_on: Vec<Vec<u8>> = sent.into_iter().flatten().collect();
    for path in handed_on.clone() {
        handed_on.extend([gateways::envoy(&path), gateways::nginx(&path)].into_iter().flatten());
    }
    handed_on.iter().flat_map(|path| servers::ALL.map(|(_, read)| read(path))).collect()
}
