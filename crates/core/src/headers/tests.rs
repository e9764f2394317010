use super::*;
use crate::account::{Refusal, Verdict, decide_all};
use crate::limit::{Month, Period};
use crate::units::Nanos;

/// 2026-11-24T00:00:00Z; November has 30 days.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);
const BOTH: HeaderFamilies = HeaderFamilies { x_ratelimit: true, ietf: true };

fn tier(limits: &[(u64, Period, u64)], monthly: Option<u64>) -> Tier {
    let limits = limits.iter().map(|(units, period, burst)| Limit::new(*units, *period, *burst).unwrap());
    Tier {
        name: "pro".into(),
        limits: limits.collect(),
        monthly: monthly.map(Cost::from_units),
        on_failure: None,
    }
}

fn spent(tier: &Tier, units: u64, now: UnixNanos) -> Account {
    let mut account = Account::default();
    for _ in 0..units {
        assert_eq!(decide_all(&mut account, tier, Cost::from_units(1), now), Verdict::Allowed);
    }
    account
}

fn lines(tier: &Tier, account: &Account, families: HeaderFamilies) -> Vec<String> {
    let mut lines = Vec::new();
    announce(tier, &TierHeaders::new(tier), account, NOW, families, &mut |name, value| {
        lines.push(match value {
            Some(value) => format!("{name}: {}", String::from_utf8_lossy(value)),
            None => format!("-{name}"),
        });
    });
    lines
}

#[test]
fn a_limited_tier_is_told_all_it_needs() {
    let tier = tier(&[(1_000, Period::Minute, 150)], Some(1_000_000));
    let account = spent(&tier, 513, NOW);
    assert_eq!(
        lines(&tier, &account, BOTH),
        [
            "X-RateLimit-Limit: 1000",
            "X-RateLimit-Remaining: 987",
            "X-RateLimit-Reset: 1795478431", // 513 of 1000 per minute: 30.78 s, rounded up
            "X-Quota-Tier: pro",
            "X-Quota-Monthly-Remaining: 999487",
            r#"RateLimit-Policy: "minute";q=1000;w=60, "month";q=1000000;w=2592000"#,
            r#"RateLimit: "minute";r=987;t=1"#,
        ]
    );
}

#[test]
fn remaining_is_never_above_the_limit_though_the_bucket_is() {
    let tier = tier(&[(100, Period::Minute, 150)], None);
    let lines = lines(&tier, &spent(&tier, 1, NOW), BOTH);
    assert_eq!(lines[1], "X-RateLimit-Remaining: 100");
    assert_eq!(lines[4], "-X-Quota-Monthly-Remaining");
    assert_eq!(lines[6], r#"RateLimit: "minute";r=100;t=1"#);
}

#[test]
fn an_unlimited_tier_is_told_only_its_name() {
    assert_eq!(
        lines(&tier(&[], None), &Account::default(), BOTH),
        [
            "-X-RateLimit-Limit",
            "-X-RateLimit-Remaining",
            "-X-RateLimit-Reset",
            "X-Quota-Tier: pro",
            "-X-Quota-Monthly-Remaining",
            "-RateLimit-Policy",
            "-RateLimit",
        ]
    );
}

#[test]
fn a_family_that_is_off_is_not_touched() {
    let tier = tier(&[(100, Period::Minute, 100)], None);
    let only = |x_ratelimit, ietf| lines(&tier, &spent(&tier, 1, NOW), HeaderFamilies { x_ratelimit, ietf });
    assert_eq!(only(false, false), [""; 0]);
    assert!(only(true, false).iter().all(|line| line.contains("X-")));
    assert!(only(false, true).iter().all(|line| line.starts_with("RateLimit")));
}

#[test]
fn of_several_limits_the_one_nearest_to_refusing_speaks() {
    let tier = tier(&[(20, Period::Second, 100), (100, Period::Minute, 100)], Some(50_000));
    let mut account = spent(&tier, 5, NOW);
    assert_eq!(lines(&tier, &account, BOTH)[1], "X-RateLimit-Remaining: 15");
    assert_eq!(lines(&tier, &account, BOTH)[0], "X-RateLimit-Limit: 20");
    account.levels[1] = tier.limits[1].charged(account.levels[1], Cost::from_units(85)).unwrap();
    let now = lines(&tier, &account, BOTH);
    assert_eq!(now[..2], ["X-RateLimit-Limit: 100", "X-RateLimit-Remaining: 10"]);
    assert_eq!(
        now[5],
        r#"RateLimit-Policy: "second";q=20;w=1, "minute";q=100;w=60, "month";q=50000;w=2592000"#
    );
    assert_eq!(now[6], r#"RateLimit: "minute";r=10;t=1"#);
    account.used = Cost::from_units(49_997);
    let seconds_left = Month::of(NOW).end().since(NOW).seconds_rounded_up();
    assert_eq!(lines(&tier, &account, BOTH)[6], format!(r#"RateLimit: "month";r=3;t={seconds_left}"#));
}

#[test]
fn two_limits_of_one_period_have_two_names() {
    let tier = tier(&[(20, Period::Second, 100), (10, Period::Second, 1_000)], None);
    let lines = lines(&tier, &spent(&tier, 1, NOW), BOTH);
    assert_eq!(lines[5], r#"RateLimit-Policy: "second";q=20;w=1, "second-2";q=10;w=1"#);
}

fn document(tier: &Tier, limits: u8, month: bool, wait: Nanos) -> Document {
    refused(tier, &TierHeaders::new(tier), &Refusal { limits, month, until: NOW.after(wait) }, NOW)
}

#[test]
fn a_refusal_is_the_problem_document_of_the_contract() {
    let tier = Tier { name: "free".into(), ..tier(&[(100, Period::Minute, 150)], Some(50_000)) };
    let refused = document(&tier, 1, false, Nanos(2_000_000_001));
    assert_eq!((refused.status, refused.retry_after), (429, 3));
    assert_eq!(
        refused.body,
        r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota exceeded","status":429,"detail":"Tier free allows 100 requests per minute; retry in 3 s.","violated-policies":["minute"],"tier":"free","retry_after":3}"#
    );
    let month = document(&tier, 1, true, Nanos::from_seconds(604_800));
    assert!(
        month.body.contains(r#""detail":"Tier free allows 50000 requests per month; retry in 604800 s.""#)
    );
    assert!(month.body.contains(r#""violated-policies":["minute","month"]"#));
    assert_eq!(document(&tier, 1, false, Nanos(1)).retry_after, 1);
}

#[test]
fn a_refusal_names_the_limit_that_takes_longest() {
    let tier = tier(&[(20, Period::Second, 100), (100, Period::Minute, 100)], None);
    assert!(document(&tier, 0b01, false, Nanos(1)).body.contains("20 requests per second"));
    assert!(document(&tier, 0b11, false, Nanos(1)).body.contains("100 requests per minute"));
    assert!(document(&tier, 0b11, false, Nanos(1)).body.contains(r#"["second","minute"]"#));
}

#[test]
fn every_document_is_json() {
    let tier = tier(&[(20, Period::Second, 100), (100, Period::Minute, 100)], Some(9));
    for document in [document(&tier, 0b11, true, Nanos(1)), unavailable(&tier, 503), unavailable(&tier, 429)]
    {
        let json: serde_json::Value = serde_json::from_str(&document.body).unwrap();
        assert_eq!(json["status"], document.status);
        assert_eq!(json["retry_after"], document.retry_after);
    }
}

#[test]
fn only_our_own_request_headers_are_reserved() {
    for name in ["x-quota-tier", "X-Quota-Consumer", "X-RATELIMIT-LIMIT", "x-quota-", "X_Quota-tier"] {
        assert!(is_reserved(name.as_bytes()), "{name}");
    }
    for name in
        ["x-quota", "x-request-id", "ratelimit", "quota-x-quota-", "x.quota-tier", "", "x-ratelimi\u{fe}"]
    {
        assert!(!is_reserved(name.as_bytes()), "{name}");
    }
}

#[test]
fn what_is_announced_is_known_by_its_name() {
    for name in X_RATELIMIT.into_iter().chain(X_QUOTA).chain(IETF) {
        assert!(is_announced(name.as_bytes()), "{name}");
        assert!(is_announced(name.to_ascii_lowercase().as_bytes()), "{name}");
    }
    for name in [
        "",
        "r",
        "rate",
        "ratelimi",
        "Retry-After",
        "content-length",
        ":status",
        "x-request-id",
        "X-Kong-Proxy-Latency",
    ] {
        assert!(!is_announced(name.as_bytes()), "{name}");
    }
}
