//! Which gateway the host behaves as.

use std::fmt;

/// A gateway's Wasm host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Personality {
    /// Kong Gateway 3.4 to 3.10: nginx worker processes with ngx_wasm_module.
    Kong,
    /// Envoy 1.40: worker threads and a main thread in one process.
    Envoy,
}

impl Personality {
    /// Both hosts.
    pub const ALL: [Self; 2] = [Self::Kong, Self::Envoy];

    /// Whether this is Kong.
    #[must_use]
    pub fn is_kong(self) -> bool {
        self == Self::Kong
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_kong() { "Kong" } else { "Envoy" })
    }
}
