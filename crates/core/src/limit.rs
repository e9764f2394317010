//! One rate: a [`Limit`], the [`Level`] of a bucket under it, and the calendar [`Month`] of quotas.

pub mod calendar;
mod gcra;
mod rate;

pub use calendar::{Day, Month};
pub(crate) use gcra::gcd;
pub use gcra::{Level, Limit, LimitError, NotNow, Period};
pub use rate::PackedRate;
