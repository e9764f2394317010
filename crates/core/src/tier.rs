//! A [`Tier`]: what a class of clients may spend.

use crate::limit::Limit;
use crate::units::Cost;

/// The most limits one tier may have; a client's record in the table has room for as many buckets.
pub const MAX_LIMITS: usize = 3;

/// The tier name under which clients without a consumer appear.
pub const ANONYMOUS: &str = "anonymous";

/// One tier's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// `[a-z][a-z0-9_-]*`, at most 32 characters; stands in headers, metrics and documents as it is.
    pub name: String,
    /// Checked and charged together; none: unlimited. At most [`MAX_LIMITS`].
    pub limits: Vec<Limit>,
    /// Cost units a calendar month (UTC); none: unlimited.
    pub monthly: Option<Cost>,
    /// What to do for this tier when the store cannot be asked; none: what [`Store::on_failure`] says.
    pub on_failure: Option<OnFailure>,
}

impl Tier {
    /// Whether nothing limits the tier.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.limits.is_empty() && self.monthly.is_none()
    }

    /// Whether a bucket of the tier, or its month, holds so few requests of `cost` that a few on each of some gateways are
    /// all of them. What one gateway was lent and does not spend would be missing at the others, so requests of such a
    /// cost are decided by the store, one by one.
    #[must_use]
    pub fn holds_few(&self, cost: Cost) -> bool {
        const FEW: u64 = 20;
        let few = cost.0.saturating_mul(FEW);
        self.limits.iter().any(|limit| limit.capacity().0 < few)
            || self.monthly.is_some_and(|quota| quota.0 < few)
    }
}

/// What to do when it cannot be told whether a request is within its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Each node goes on by itself with the tier's own bucket.
    #[default]
    Local,
    /// Consumers are limited as anonymous clients are, by address.
    Ip,
    /// Let everything through.
    Open,
    /// Refuse everything, 503.
    Closed,
}
