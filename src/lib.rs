//! Tollgate: rate limits and quotas for API gateways, as one Proxy-Wasm filter.

pub mod endpoint;
pub mod limit;
pub mod units;
