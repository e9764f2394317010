//! What a response tells the client: what it has left, and why it was refused.
//!
//! Two families of headers carry the same numbers: `X-RateLimit-*` with `X-Quota-*`, and the IETF's `RateLimit` and
//! `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10). A refusal adds `Retry-After` (RFC 9110, 10.2.3) and a
//! problem document (RFC 9457).

mod document;

pub use document::{Document, is_grpc, never, refused, unavailable};

pub use crate::policy::decimal::cost_in;

use crate::account::Account;
use crate::limit::Limit;
use crate::policy::HeaderFamilies;
use crate::tier::Tier;
use crate::units::{Cost, Nanos, UnixNanos};

/// The response headers that only Tollgate may set. An upstream's copies never reach the client.
pub const X_RATELIMIT: [&str; 3] = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];
/// The tier, and what is left of its month.
pub const X_QUOTA: [&str; 2] = ["X-Quota-Tier", "X-Quota-Monthly-Remaining"];
/// The IETF's fields.
pub const IETF: [&str; 2] = ["RateLimit-Policy", "RateLimit"];

/// The request headers that tell the upstream who is calling.
pub const UPSTREAM_TIER: &str = "X-Quota-Tier";
/// See [`UPSTREAM_TIER`].
pub const UPSTREAM_CONSUMER: &str = "X-Quota-Consumer";

/// What was charged, in cost units. In a response the upstream may say by it what the request costs in the end.
pub const UPSTREAM_COST: &str = "X-Quota-Cost";
/// See [`UPSTREAM_COST`]: as it is looked for.
pub const UPSTREAM_COST_LOWER: &str = "x-quota-cost";

/// Hands `cost` to `take` as [`UPSTREAM_COST`] says it.
pub fn write_cost(cost: Cost, take: impl FnOnce(&[u8])) {
    let units = cost.whole_units();
    if cost == Cost::from_units(units) {
        // As almost always, and the way for all costs takes ten times as long.
        take(itoa::Buffer::new().format(units).as_bytes());
    } else {
        take(cost.to_string().as_bytes());
    }
}

/// Whether a request header is one that only Tollgate may send to the upstream.
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    // Every header of a request is checked here: three letters rule almost all of them out.
    let letter = |index: usize| name.get(index).map_or(0, |byte| byte | 0x20);
    let prefix: &[u8] = match (letter(0), letter(2), letter(3)) {
        (b'x', b'q', b'u') => b"x-quota-",
        (b'x', b'r', b'a') => b"x-ratelimit-",
        _ => return false,
    };
    // `x_quota_tier` is the same name to an application that gets headers as variables (RFC 3875, 4.1.18).
    let is_same =
        |(byte, wanted): (&u8, &u8)| byte.eq_ignore_ascii_case(wanted) || (*byte == b'_' && *wanted == b'-');
    name.get(..prefix.len()).is_some_and(|start| start.iter().zip(prefix).all(is_same))
}

/// Whether a response header is one that only Tollgate may send to the client, or might be taken for one.
#[must_use]
pub fn is_announced(name: &[u8]) -> bool {
    // Every header of a response is checked here, and few begin like this.
    let is_ietf = || name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"ratelimit"));
    is_reserved(name) || (name.first().is_some_and(|byte| byte | 0x20 == b'r') && is_ietf())
}

/// The names of the [reserved](is_reserved) headers that mean something, in all their spellings, for a host that cannot
/// list a request's headers.
pub fn reserved_names() -> impl Iterator<Item = Vec<u8>> {
    X_RATELIMIT.into_iter().chain(X_QUOTA).chain([UPSTREAM_CONSUMER, UPSTREAM_COST]).flat_map(spellings)
}

/// `name` with every choice of keeping each hyphen or writing it as an underscore.
fn spellings(name: &'static str) -> impl Iterator<Item = Vec<u8>> {
    let hyphens = u32::try_from(name.matches('-').count()).unwrap_or(0);
    (0..1_u32.wrapping_shl(hyphens)).map(move |mut underscores| {
        let spell = |byte| {
            if byte != b'-' {
                return byte;
            }
            let is_one = underscores & 1 == 1;
            underscores >>= 1;
            if is_one { b'_' } else { b'-' }
        };
        name.bytes().map(spell).collect()
    })
}

/// A tier with the parts of its headers that do not change.
#[derive(Clone, Debug)]
pub struct TierHeaders {
    /// The limits' names in the IETF fields, in the tier's order.
    names: Vec<String>,
    /// `"second";q=20;w=1, "minute";q=100;w=60`, without the month, whose window differs.
    policy: String,
    /// `, "month";q=50000;w=`, to which the month's seconds are added; empty without a monthly quota.
    month: String,
}

impl TierHeaders {
    /// Builds the constant parts of `tier`'s headers.
    #[must_use]
    pub fn new(tier: &Tier) -> Self {
        let names = names(&tier.limits);
        let limits: Vec<String> = names
            .iter()
            .zip(&tier.limits)
            .map(|(name, limit)| format!("\"{name}\";q={};w={}", limit.units(), limit.period().seconds()))
            .collect();
        let policy = limits.join(", ");
        let separator = if policy.is_empty() { "" } else { ", " };
        let month = tier.monthly.map(|quota| format!("{separator}\"month\";q={};w=", quota.whole_units()));
        Self { names, policy, month: month.unwrap_or_default() }
    }

    /// The name of the tier's limit number `index`.
    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", String::as_str)
    }
}

/// `minute`; a tier with several limits per minute has `minute`, `minute-2`, `minute-3`.
fn names(limits: &[Limit]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(limits.len());
    for limit in limits {
        let period = limit.period().name();
        let same = names.iter().filter(|name| name.starts_with(period)).count();
        names.push(if same == 0 {
            period.to_owned()
        } else {
            format!("{period}-{}", same.saturating_add(1))
        });
    }
    names
}

/// Hands every response header of a decision to `emit`: a value to set, or `None` where Tollgate sets nothing and an
/// upstream's copy has to be removed. `account` is as of the decision's moment.
pub fn announce(
    tier: &Tier,
    texts: &TierHeaders,
    account: &Account,
    now: UnixNanos,
    families: HeaderFamilies,
    emit: &mut dyn FnMut(&'static str, Option<&[u8]>),
) {
    let nearest = nearest(tier, account);
    if families.x_ratelimit {
        let mut number = itoa::Buffer::new();
        let [limit, remaining, reset] = X_RATELIMIT;
        match &nearest {
            Some(near) => {
                emit(limit, Some(number.format(near.limit.units()).as_bytes()));
                emit(remaining, Some(number.format(near.remaining()).as_bytes()));
                emit(reset, Some(number.format(near.full_at.seconds_rounded_up()).as_bytes()));
            }
            None => X_RATELIMIT.into_iter().for_each(|name| emit(name, None)),
        }
        let [tier_name, month] = X_QUOTA;
        emit(tier_name, Some(tier.name.as_bytes()));
        match tier.monthly {
            Some(quota) => {
                emit(month, Some(number.format(quota.less(account.used).whole_units()).as_bytes()))
            }
            None => emit(month, None),
        }
    }
    if families.ietf {
        announce_ietf(tier, texts, account, now, nearest.as_ref(), emit);
    }
}

fn announce_ietf(
    tier: &Tier,
    texts: &TierHeaders,
    account: &Account,
    now: UnixNanos,
    nearest: Option<&Nearest<'_>>,
    emit: &mut dyn FnMut(&'static str, Option<&[u8]>),
) {
    let [policy, current] = IETF;
    if tier.is_unlimited() {
        emit(policy, None);
        emit(current, None);
        return;
    }
    let mut number = itoa::Buffer::new();
    let mut text = Vec::with_capacity(160);
    text.extend_from_slice(texts.policy.as_bytes());
    if !texts.month.is_empty() {
        text.extend_from_slice(texts.month.as_bytes());
        text.extend_from_slice(number.format(account.month.length().seconds_rounded_up()).as_bytes());
    }
    emit(policy, Some(&text));

    let of_month = tier.monthly.map(|quota| quota.less(account.used));
    let (name, remaining, wait) = match (nearest, of_month) {
        (Some(near), month) if month.is_none_or(|left| near.available <= left) => {
            (texts.name(near.index), near.remaining(), near.limit.until_more(near.level))
        }
        (_, left) => ("month", left.unwrap_or_default().whole_units(), account.month.end().since(now)),
    };
    text.clear();
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\";r=");
    text.extend_from_slice(number.format(remaining).as_bytes());
    text.extend_from_slice(b";t=");
    text.extend_from_slice(number.format(wait.seconds_rounded_up()).as_bytes());
    emit(current, Some(&text));
}

/// The limit that the fewest further units would exhaust.
struct Nearest<'a> {
    index: usize,
    limit: &'a Limit,
    level: crate::limit::Level,
    available: Cost,
    full_at: UnixNanos,
}

impl Nearest<'_> {
    /// Whole units that are left now, at most the rate's N, though a bucket may hold more.
    fn remaining(&self) -> u64 {
        self.available.whole_units().min(self.limit.units())
    }
}

/// The limit with the least left; on a tie, the slower to give more.
fn nearest<'a>(tier: &'a Tier, account: &Account) -> Option<Nearest<'a>> {
    let wait = |near: &Nearest<'_>| Nanos(u64::MAX.saturating_sub(near.limit.until_more(near.level).0));
    tier.limits
        .iter()
        .zip(account.levels)
        .enumerate()
        .map(|(index, (limit, level))| Nearest {
            index,
            limit,
            level,
            available: limit.available(level),
            full_at: limit.full_at(level, account.at),
        })
        .reduce(
            |one, other| {
                if (other.available, wait(&other)) < (one.available, wait(&one)) { other } else { one }
            },
        )
}

#[cfg(test)]
mod tests;
