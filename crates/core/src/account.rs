//! What a client has spent: its [`Account`], and the one step that checks every limit of a tier and then charges all of
//! them.

mod carry;

use crate::limit::{Level, Month, NotNow, PackedRate};
use crate::tier::{MAX_LIMITS, Tier};
use crate::units::{Cost, Nanos, UnixNanos};

/// How far one worker's clock reading may lie behind another's on the same node: each reads the clock before it compares
/// and swaps. A greater step back means that somebody has set the clock.
const CLOCK_SKEW: Nanos = Nanos::from_seconds(1);

/// What one client has spent. The default is a client that was never seen: its buckets and its month are untouched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The moment that `levels` are of.
    pub at: UnixNanos,
    /// One bucket per limit of the tier, in the tier's order.
    pub levels: [Level; MAX_LIMITS],
    /// The rates in whose units `levels` are kept.
    pub rates: [PackedRate; MAX_LIMITS],
    /// The month that `used` belongs to.
    pub month: Month,
    /// What was spent in `month`.
    pub used: Cost,
}

/// What [`decide_all`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every limit allows the cost, and all of them have been charged.
    Allowed,
    /// At least one limit refuses for now; none has been charged.
    NotNow(Refusal),
    /// The cost is above what a limit or the month ever allows.
    Never,
}

/// Which limits refuse a request, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which limits of the tier refuse; bit 0 is the first.
    pub limits: u8,
    /// Whether the month's quota refuses.
    pub month: bool,
    /// The first moment at which the same request would be allowed if nothing else arrived.
    pub until: UnixNanos,
}

impl Refusal {
    /// Whether the tier's limit number `index` refuses.
    #[must_use]
    pub const fn by_limit(&self, index: usize) -> bool {
        index < MAX_LIMITS && self.limits & (1 << index) != 0
    }
}

impl Account {
    /// The account at `now`, with buckets drained and a new month begun.
    ///
    /// A clock that steps back neither refills a bucket twice nor locks a client out. A step of up to `CLOCK_SKEW` is
    /// another worker's earlier reading, and the account stays where it is; after a greater one it goes on from the new
    /// time as it is. A month never turns back. Levels written under other limits are carried over.
    #[must_use]
    pub fn at(self, now: UnixNanos, tier: &Tier) -> Self {
        let set_back = self.at.since(now) > CLOCK_SKEW;
        let moment = if set_back { now } else { self.at.max(now) };
        let elapsed = moment.since(self.at);
        let mut account = Self { at: moment, ..self };
        if account.is_of(tier) {
            for (level, limit) in account.levels.iter_mut().zip(&tier.limits) {
                *level = limit.drained(*level, elapsed);
            }
        } else {
            account = account.carried(tier, elapsed);
        }
        if tier.monthly.is_some() {
            let month = Month::of(moment);
            if month > account.month {
                account.month = month;
                account.used = Cost(0);
            }
        }
        account
    }

    /// When every bucket is full again.
    #[must_use]
    pub fn full_at(&self) -> UnixNanos {
        let levels = self.levels.iter().zip(&self.rates).filter(|(_, rate)| rate.units() > 0);
        levels.map(|(level, rate)| rate.full_at(*level, self.at)).max().unwrap_or(self.at)
    }

    /// Sets the account's levels, given in the units of `tier`'s limits.
    pub fn set_levels(&mut self, tier: &Tier, levels: [Level; MAX_LIMITS]) {
        self.levels = levels;
        self.rates = Default::default();
        for (rate, limit) in self.rates.iter_mut().zip(&tier.limits) {
            *rate = PackedRate::of(limit);
        }
    }
}

/// Checks `cost` against every limit and the month of `tier`, and then charges all of them or none: a refused request costs
/// nothing. Either way `account` becomes that of `now`.
pub fn decide_all(account: &mut Account, tier: &Tier, cost: Cost, now: UnixNanos) -> Verdict {
    let before = *account;
    *account = account.at(now, tier);
    let mut charged = *account;
    let mut refusal = Refusal { limits: 0, month: false, until: account.at };
    for (index, (level, limit)) in charged.levels.iter_mut().zip(&tier.limits).enumerate() {
        match limit.charged(*level, cost) {
            Ok(after) => *level = after,
            Err(NotNow::Wait(wait)) => {
                refusal.limits |= 1 << index;
                refusal.until = refusal.until.max(account.at.after(wait));
            }
            Err(NotNow::Never) => return Verdict::Never,
        }
    }
    if let Some(quota) = tier.monthly {
        if cost > quota {
            return Verdict::Never;
        }
        charged.used = account.used.plus(cost);
        if charged.used > quota {
            refusal.month = true;
            refusal.until = refusal.until.max(account.month.end());
        }
    }
    if refusal.limits != 0 || refusal.month {
        return Verdict::NotNow(refusal);
    }
    charged.charge_others(tier.limits.len(), cost, &before);
    *account = charged;
    Verdict::Allowed
}

#[cfg(test)]
mod tests;
