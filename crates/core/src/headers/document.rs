//! The response to a refused request.

use super::TierHeaders;
use crate::account::Refusal;
use crate::tier::Tier;
use crate::units::{Cost, UnixNanos};

/// A whole response of Tollgate's own. It is sent with `Cache-Control: no-store` and
/// `Content-Type: application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The HTTP status.
    pub status: u16,
    /// Whole seconds, rounded up, at least 1.
    pub retry_after: u64,
    /// The sentence for people in the document, which is all that a gRPC client gets.
    pub detail: String,
    /// JSON, a problem document.
    pub body: String,
}

impl Document {
    /// The status that a gRPC client gets instead ([its codes](https://grpc.io/docs/guides/status-codes/)). Clients retry
    /// `UNAVAILABLE` by themselves, but by custom not `RESOURCE_EXHAUSTED`.
    #[must_use]
    pub const fn grpc_status(&self) -> u8 {
        const RESOURCE_EXHAUSTED: u8 = 8;
        const UNAVAILABLE: u8 = 14;
        if self.status == 503 { UNAVAILABLE } else { RESOURCE_EXHAUSTED }
    }
}

/// Whether a request with this content type is a gRPC call.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// The response 429: what `tier` allows, and when to retry.
#[must_use]
pub fn refused(tier: &Tier, texts: &TierHeaders, refusal: &Refusal, now: UnixNanos) -> Document {
    let retry_after = refusal.until.since(now).seconds_rounded_up().max(1);
    let mut violated: Vec<String> = Vec::new();
    // The sentence names the limit that takes longest: the month, or else the limit of the longest period.
    let mut longest = None;
    for (index, limit) in tier.limits.iter().enumerate().filter(|(index, _)| refusal.by_limit(*index)) {
        violated.push(format!("\"{}\"", texts.name(index)));
        if longest.is_none_or(|(_, period)| limit.period() >= period) {
            longest = Some((limit.units(), limit.period()));
        }
    }
    let mut allowed = longest.map(|(units, period)| (units, period.name()));
    if let (true, Some(quota)) = (refusal.month, tier.monthly) {
        violated.push("\"month\"".to_owned());
        allowed = Some((quota.whole_units(), "month"));
    }
    let (units, period) = allowed.unwrap_or_default();
    let name = &tier.name;
    let violated = violated.join(",");
    let detail = format!("Tier {name} allows {units} requests per {period}; retry in {retry_after} s.");
    Document {
        status: 429,
        retry_after,
        body: format!(
            "{{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\
             \"title\":\"Quota exceeded\",\"status\":429,\
             \"detail\":\"{detail}\",\
             \"violated-policies\":[{violated}],\"tier\":\"{name}\",\"retry_after\":{retry_after}}}"
        ),
        detail,
    }
}

/// The problem document of a request whose `cost` is more than the tier called `tier` can ever allow. No time makes it fit, so
/// it says none.
#[must_use]
pub fn never(tier: &str, cost: Cost) -> String {
    format!(
        "{{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\
         \"title\":\"Quota exceeded\",\"status\":429,\
         \"detail\":\"A request of {cost} units is more than tier {tier} can ever allow.\",\
         \"tier\":\"{tier}\"}}"
    )
}

/// The response when nobody can tell whether a request is within its limit: 503 if the policy says `closed`, else 429.
/// Either way the client may retry after a second.
#[must_use]
pub fn unavailable(tier: &Tier, status: u16) -> Document {
    let name = &tier.name;
    let detail = format!("The limit of tier {name} cannot be checked right now; retry in 1 s.");
    Document {
        status,
        retry_after: 1,
        body: format!(
            "{{\"type\":\"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity\",\
             \"title\":\"Temporary reduced capacity\",\"status\":{status},\
             \"detail\":\"{detail}\",\
             \"tier\":\"{name}\",\"retry_after\":1}}"
        ),
        detail,
    }
}
