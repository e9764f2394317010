//! What is wrong with a policy, said so that one edit mends it.

use std::fmt;

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `tiers.pro.rate`, `endpoints[2].path`; empty for the document as a whole.
    pub path: String,
    /// What is wrong with the value there, and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    /// `tiers.pro.rate: "1000/mnth" is not a rate; write N/second, /minute, /hour or /day`
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return out.write_str(&self.message);
        }
        write!(out, "{}: {}", self.path, self.message)
    }
}
