//! Benchmarks: CPU a request, requests a second, latency, against the same gateway without Tollgate
