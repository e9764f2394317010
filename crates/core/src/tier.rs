//! A [`Tier`]: what a class of clients may spend.

use crate::limit::Limit;
use crate::units::Cost;

/// The most limits that one tier may have, and the number of buckets that a client's record has room for.
pub const MAX_LIMITS: usize = 3;

/// The tier name for clients without a consumer.
pub const ANONYMOUS: &str = "anonymous";

/// One tier's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// `[a-z][a-z0-9_-]*`, at most 32 characters; headers, metrics and documents contain it unchanged.
    pub name: String,
    /// At most [`MAX_LIMITS`] limits, checked and charged together; an empty list means an unlimited rate.
    pub limits: Vec<Limit>,
    /// Cost units per calendar month (UTC); `None` if unlimited.
    pub monthly: Option<Cost>,
    /// What to do for this tier when the store cannot be asked; `None` to do what
    /// [`Store::on_failure`](crate::policy::Store::on_failure) says.
    pub on_failure: Option<OnFailure>,
}

impl Tier {
    /// Whether nothing limits the tier.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.limits.is_empty() && self.monthly.is_none()
    }

    /// Whether a bucket of the tier, or its month, holds so few requests of `cost` that some gateways with a few each would
    /// hold them all. Budget that one gateway was lent and does not spend is missing at the others, so the store decides
    /// requests of such a cost one by one.
    #[must_use]
    pub fn holds_few(&self, cost: Cost) -> bool {
        const FEW: u64 = 20;
        let few = cost.0.saturating_mul(FEW);
        self.limits.iter().any(|limit| limit.capacity().0 < few)
            || self.monthly.is_some_and(|quota| quota.0 < few)
    }
}

/// What to do when nobody can tell whether a request is within its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Each node goes on alone with the tier's own bucket.
    #[default]
    Local,
    /// Limit consumers by address, as anonymous clients are.
    Ip,
    /// Let everything through.
    Open,
    /// Refuse everything with status 503.
    Closed,
}
