//! Real gateways and upstreams for tests, demo and benchmarks
