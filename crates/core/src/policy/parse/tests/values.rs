//! Values that are wrong by themselves, or in combination.

use serde_json::{Value, json};

use super::says;

#[test]
fn wrong_names_and_choices_are_explained() {
    says(&[
        (
            json!({ "namespace": "a b" }),
            "namespace: \"a b\" is not a namespace; write letters, digits, ., _ or -, 64 at most, the first a letter \
             or digit",
        ),
        (
            json!({ "enforcement": "enforced" }),
            "enforcement: \"enforced\" is unknown; write one of enforce, shadow, off",
        ),
        (json!({ "enforcement": true }), "enforcement: true is unknown; write one of enforce, shadow, off"),
        (
            json!({ "tiers": { "Free": { "rate": "1/day" } } }),
            "tiers.Free: \"Free\" is not a tier's name; write a lower-case letter, then lower-case letters, digits, _ \
             or -, 32 at most",
        ),
        (
            json!({ "tiers": { "anonymous": { "rate": "1/day" } } }),
            "tiers.anonymous: is the name of clients without a consumer; write their limits under `anonymous:` at the \
             top, and give this tier another name",
        ),
        (json!({ "default_tier": "pro" }), "default_tier: \"pro\" is not a tier; write one of free"),
        (
            json!({ "tiers": { "free": { "on_failure": "fail" } } }),
            "tiers.free.on_failure: \"fail\" is unknown; write one of local, ip, open, closed",
        ),
        (
            json!({ "anonymous": { "on_failure": null } }),
            "anonymous.on_failure: null is unknown; write one of local, ip, open, closed",
        ),
        (
            json!({ "headers": { "ietf": "yes" } }),
            "headers.ietf: \"yes\" is not a choice; write true or false",
        ),
        (
            json!({ "memory": { "clients": 63 } }),
            "memory.clients: 63 is not a number of client records; write a whole number from 64 to 1048576",
        ),
        (
            json!({ "memory": { "clients": "1e3" } }),
            "memory.clients: \"1e3\" is not a number of client records; write a whole number from 64 to 1048576",
        ),
    ]);
}

/// A policy whose only tier is `tier`.
fn tier(tier: Value) -> Value {
    json!({ "tiers": { "free": tier } })
}

/// A policy whose only tier has `rate`.
fn rate(rate: Value) -> Value {
    tier(json!({ "rate": rate }))
}

#[test]
fn wrong_rates_are_explained() {
    let not_a_rate = |shown: &str| {
        format!(
            "tiers.free.rate: {shown} is not a rate; write N/second, N/minute, N/hour or N/day with N from 1 to \
             1000000000, or unlimited"
        )
    };
    let texts = [
        "1000/mnth",
        "0/minute",
        "1000000001/day",
        "07/day",
        "+7/day",
        "1.5/day",
        "7 / day",
        "/day",
        "7",
        "",
    ];
    for text in texts {
        says(&[(rate(json!(text)), &not_a_rate(&format!("{text:?}")))]);
    }
    says(&[
        (rate(json!(100)), &not_a_rate("100")),
        (rate(json!(null)), &not_a_rate("null")),
        (rate(json!({ "rate": "1/day" })), &not_a_rate("a mapping")),
    ]);
}

#[test]
fn wrong_lists_of_rates_are_explained() {
    says(&[
        (rate(json!([])), "tiers.free.rate: a list of 0 rates is not a rate; write 1 to 3"),
        (
            rate(json!(["1/day", "1/day", "1/day", "1/day"])),
            "tiers.free.rate: a list of 4 rates is not a rate; write 1 to 3",
        ),
        (
            rate(json!(["1/day", "unlimited"])),
            "tiers.free.rate[1]: unlimited takes no part in a list; write rate: unlimited alone, or remove this entry",
        ),
        (
            rate(json!([{ "rate": "unlimited" }])),
            "tiers.free.rate[0].rate: unlimited takes no part in a list; write rate: unlimited alone, or remove this \
             entry",
        ),
        (
            rate(json!([{ "rate": "1/day", "brust": 2 }])),
            "tiers.free.rate[0].brust: is not a field; write one of rate, burst, or remove it",
        ),
        (rate(json!([{ "burst": 2 }])), "tiers.free.rate[0].rate: is missing; write rate: 100/minute"),
        (
            rate(json!([{ "rate": "1/day", "burst": 0 }])),
            "tiers.free.rate[0].burst: 0 is not a burst; write a number from 1 to 1000 with two decimals at most, like \
             1.5",
        ),
    ]);
}

#[test]
fn a_rate_that_cannot_be_kept_exactly_is_refused_with_one_that_can() {
    says(&[
        (
            rate(json!("1000003/day")),
            "tiers.free.rate: \"1000003/day\" with a burst of 1 is too fine to be kept exactly; write 1000000/day, or \
             a smaller burst",
        ),
        (
            json!({ "anonymous": { "rate": "999999937/hour", "burst": 12.5 } }),
            "anonymous.rate: \"999999937/hour\" with a burst of 12.5 is too fine to be kept exactly; write \
             999999000/hour, or a smaller burst",
        ),
    ]);
}

#[test]
fn wrong_bursts_are_explained() {
    says(&[(
        tier(json!({ "rate": "unlimited", "burst": 2 })),
        "tiers.free.burst: an unlimited rate has no bucket; remove burst, or write a rate",
    )]);
    for (burst, shown) in [
        (json!(0.99), "0.99"),
        (json!(1000.01), "1000.01"),
        (json!(1.005), "1.005"),
        (json!(-1), "-1"),
        (json!([]), "[]"),
    ] {
        let expected = format!(
            "tiers.free.burst: {shown} is not a burst; write a number from 1 to 1000 with two decimals at most, like 1.5"
        );
        says(&[(tier(json!({ "burst": burst })), &expected)]);
    }
}

#[test]
fn wrong_months_are_explained() {
    for (monthly, shown) in [
        (json!(0), "0"),
        (json!(-5), "-5"),
        (json!(100_000_000_001_u64), "100000000001"),
        (json!(1.5), "1.5"),
        (json!("none"), "\"none\""),
        (json!(null), "null"),
    ] {
        let expected = format!(
            "tiers.free.monthly: {shown} is not a monthly quota; write a whole number of cost units from 1 to \
             100000000000, or unlimited"
        );
        says(&[(tier(json!({ "monthly": monthly })), &expected)]);
    }
}

#[test]
fn wrong_paths_are_explained() {
    let path = |path: Value| json!({ "endpoints": [{ "path": path, "cost": 1 }] });
    says(&[
        (path(json!(1)), "endpoints[0].path: 1 is not a path; write /search, or /v1/* for all below it"),
        (path(json!("a")), "endpoints[0].path: \"a\" does not start with a slash; write \"/a\""),
        (
            path(json!("/a/*/b")),
            "endpoints[0].path: \"/a/*/b\" has a * inside; write it as the last segment alone: /v1/*",
        ),
        (
            path(json!("/a?b=1")),
            "endpoints[0].path: \"/a?b=1\" has a query or a fragment, which never matter; write \"/a\"",
        ),
        (
            path(json!("/a//b/*")),
            "endpoints[0].path: \"/a//b/*\" can match no request, as paths are normalised first; write \"/a/b/*\"",
        ),
    ]);
}

#[test]
fn a_price_that_is_listed_twice_is_refused() {
    says(&[
        (
            json!({ "endpoints": [{ "path": "/a", "cost": 1 }, { "path": "/a", "cost": 2 }] }),
            "endpoints[1]: /a has a price already, in endpoints[0]; keep one of them",
        ),
        (
            json!({ "endpoints": [
                { "path": "/a", "methods": ["GET", "PUT"], "cost": 1 },
                { "path": "/a", "cost": 1 },
                { "path": "/a", "methods": ["POST", "PUT"], "cost": 2 },
            ] }),
            "endpoints[2]: PUT /a has a price already, in endpoints[0]; keep one of them",
        ),
        (
            json!({ "endpoints": [{ "path": "/a", "methods": ["PUT", "PUT"], "cost": 1 }] }),
            "endpoints[0].methods: lists PUT twice; keep one of them",
        ),
    ]);
}

#[test]
fn wrong_methods_and_costs_are_explained() {
    says(&[
        (
            json!({ "endpoints": [{ "path": "/a", "methods": ["put"], "cost": 1 }] }),
            "endpoints[0].methods[0]: \"put\" is not a method; write it in capital letters, as requests have it: GET, \
             POST, M-SEARCH",
        ),
        (
            json!({ "endpoints": [{ "path": "/a", "methods": [], "cost": 1 }] }),
            "endpoints[0].methods: [] is not a list of methods; write [GET, POST], or leave methods out for all",
        ),
        (
            json!({ "endpoints": [{ "path": "/a", "cost": 0.0001 }] }),
            "endpoints[0].cost: 0.0001 is not a cost; write a number from 0 to 1000000 with three decimals at most, \
             like 1 or 0.5",
        ),
        (
            json!({ "default_cost": "one" }),
            "default_cost: \"one\" is not a cost; write a number from 0 to 1000000 with three decimals at most, like 1 or \
             0.5",
        ),
    ]);
}

#[test]
fn wrong_settlements_and_refunds_are_explained() {
    says(&[
        (
            json!({ "endpoints": [{ "path": "/a", "cost": 1, "settle": "yes" }] }),
            "endpoints[0].settle: \"yes\" is not a choice; write true or false",
        ),
        (
            json!({ "endpoints": [{ "path": "/a", "cost": 0, "settle": true }] }),
            "endpoints[0].settle: a request that costs 0 is never limited, so nothing would ever be refused; write the \
             cost that is charged when it comes",
        ),
        (
            json!({ "refund": "5xx" }),
            "refund: \"5xx\" is not a list; put each entry into its own line behind \"- \", or into [ ]",
        ),
        (
            json!({ "refund": [503, "6xx"] }),
            "refund[1]: \"6xx\" is not a status or a class of statuses; write 5xx, or a code such as 422",
        ),
    ]);
}

#[test]
fn too_many_endpoints_are_refused() {
    let many: Vec<Value> = (0..10_001).map(|i| json!({ "path": format!("/{i}"), "cost": 1 })).collect();
    says(&[(
        json!({ "endpoints": many }),
        "endpoints: there are 10001 endpoints; at most 10000 are allowed: write a prefix (/v1/*) for those that cost the same",
    )]);
}

#[test]
fn what_could_never_be_allowed_is_refused_at_load() {
    says(&[
        (
            json!({
                "tiers": { "free": { "rate": "10/minute", "burst": 1.5 } },
                "endpoints": [{ "path": "/a", "cost": 15 }, { "path": "/batch", "cost": 15.001 }],
            }),
            "tiers.free.rate: a full bucket of 10/minute holds 15, too little for a request to /batch, which \
             costs 15.001 (endpoints[1].cost); raise the rate or its burst to hold 15.001, or lower that cost",
        ),
        (
            json!({ "tiers": { "free": { "rate": ["100/minute", { "rate": "4/second", "burst": 2 }] } }, "default_cost": 9 }),
            "tiers.free.rate[1].rate: a full bucket of 4/second holds 8, too little for a request that no \
             endpoint matches, which costs 9 (default_cost); raise the rate or its burst to hold 9, or lower that cost",
        ),
        (
            json!({ "endpoints": [{ "path": "/a", "cost": 31 }] }),
            "anonymous.rate: a full bucket of 30/minute holds 30, too little for a request to /a, which \
             costs 31 (endpoints[0].cost); raise the rate or its burst to hold 31, or lower that cost",
        ),
        (
            json!({ "tiers": { "free": { "monthly": 2 } }, "endpoints": [{ "path": "/a", "cost": 2.5 }] }),
            "tiers.free.monthly: a month of 2 is too little for a request to /a, which costs 2.5 (endpoints[0].cost); \
             write at least 3, or lower that cost",
        ),
    ]);
}

#[test]
fn wrong_sources_are_explained() {
    let source = |source: Value| json!({ "identity": { "consumer": [source] } });
    says(&[
        (source(json!({})), "identity.consumer[0]: is empty; write { header: NAME } or { property: a.b.c }"),
        (
            source(json!({ "header": "a", "property": "b" })),
            "identity.consumer[0]: is both a property and a header; write two entries, the one to ask first above",
        ),
        (
            source(json!({ "header": "a b" })),
            "identity.consumer[0].header: \"a b\" is not a header's name; write one like x-consumer-username: letters, \
             digits and -, 128 at most",
        ),
        (
            source(json!({ "header": ":path" })),
            "identity.consumer[0].header: \":path\" is not a header but a part of the request line, which the client \
             writes; write a header that the gateway sets",
        ),
        (
            source(json!({ "property": "a..b" })),
            "identity.consumer[0].property: \"a..b\" is not a property; write its names with dots between them, like \
             kong.ctx.shared.tollgate_consumer",
        ),
        (
            json!({ "identity": { "tier": vec![json!({ "header": "a" }); 9] } }),
            "identity.tier: there are 9 sources; at most 8 are allowed",
        ),
    ]);
}

#[test]
fn wrong_overrides_are_explained() {
    says(&[
        (
            json!({ "overrides": [{ "consumer": "", "tier": "free" }] }),
            "overrides[0].consumer: \"\" is not a consumer's name; write it as the gateway says it: 1 to 256 bytes, no \
             control characters",
        ),
        (
            json!({ "overrides": [{ "consumer": 4711, "tier": "free" }] }),
            "overrides[0].consumer: 4711 is not a consumer's name; write it as the gateway says it: 1 to 256 bytes, no \
             control characters, in quotes",
        ),
        (
            json!({ "overrides": [{ "consumer": "a", "tier": "pro" }] }),
            "overrides[0].tier: \"pro\" is not a tier; write one of free",
        ),
        (
            json!({ "overrides": [{ "consumer": "a", "tier": "free" }, { "consumer": "a", "tier": "free" }] }),
            "overrides[1].consumer: \"a\" has a tier already, in overrides[0]; keep one of them",
        ),
    ]);
}

/// A policy whose store has `value` in `field`.
fn store(field: &str, value: Value) -> Value {
    json!({ "store": { "upstream": "s", field: value } })
}

#[test]
fn wrong_stores_are_explained() {
    says(&[
        (
            json!({
                "tiers": { "free": { "rate": "100001/day" } },
                "default_tier": "free",
                "store": { "upstream": "s" },
            }),
            "tiers.free.rate: is too fine for a store to keep exactly; write a rounder number, a smaller burst, or a rate \
             a shorter period",
        ),
        (
            store("upstream", json!("")),
            "store.upstream: \"\" is not an upstream; write host:port (Kong), or the name of a cluster (Envoy)",
        ),
        (store("mode", json!("lease")), "store.mode: \"lease\" is unknown; write one of leased, strict"),
        (
            store("timeout", json!("0ms")),
            "store.timeout: \"0ms\" is not a time that fits here; write 1ms to 10s, as a whole number and ms or s: \
             50ms, 1s",
        ),
        (
            store("timeout", json!(50)),
            "store.timeout: 50 is not a time that fits here; write 1ms to 10s, as a whole number and ms or s: 50ms, 1s",
        ),
        (
            store("sync_interval", json!("9ms")),
            "store.sync_interval: \"9ms\" is not a time that fits here; write 10ms to 10s, as a whole number and ms or \
             s: 50ms, 1s",
        ),
        (
            store("on_failure", json!("deny")),
            "store.on_failure: \"deny\" is unknown; write one of local, ip, open, closed",
        ),
    ]);
}

#[test]
fn wrong_tokens_are_explained() {
    let token = "write 16 to 512 printable ASCII characters without spaces, or { env: NAME }";
    says(&[
        (
            store("token", json!("geheim")),
            &format!("store.token: a token of 6 characters cannot be used; {token}"),
        ),
        (
            store("token", json!("sixteen or more with a space")),
            &format!("store.token: a token with spaces, control or other characters cannot be sent; {token}"),
        ),
        (store("token", json!({ "evn": "X" })), &format!("store.token: this is not a token; {token}")),
        (
            store("token", json!({ "env": "A-B" })),
            "store.token.env: \"A-B\" is not the name of an environment variable; write one like TOLLGATE_TOKEN: \
             letters, digits and _",
        ),
    ]);
}
