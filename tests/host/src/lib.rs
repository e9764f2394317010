//! A Proxy-Wasm host that knows the rules of Kong's and Envoy's
