//! How much a client may spend.

mod gcra;

pub use gcra::{Level, Limit, LimitError, NotNow, Period};
