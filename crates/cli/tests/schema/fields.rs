//! Every field of a policy, with values at every edge that are allowed, and values that are not.

use serde_json::{Value, json};

/// Values of one field that schema and parser both accept, and that both refuse.
pub struct Field {
    /// Its place in the whole policy, as a JSON pointer.
    pub pointer: &'static str,
    /// Whether it is optional.
    pub may_be_absent: bool,
    /// The values that both accept.
    pub good: Value,
    /// The values that both refuse.
    pub bad: Value,
}

/// Every field of a policy.
pub fn fields() -> Vec<Field> {
    let rates = || {
        let good = json!([
            "1/second", "1000000000/hour", "7/day", "unlimited", ["1/minute"], [{ "rate": "1/minute" }],
            ["9/second", { "rate": "9/hour", "burst": 1000 }, "9/hour"],
        ]);
        let bad = json!([
            null, 1, true, "", "x", "0/day", "07/day", "1000000001/day", "9999999999/day", "1/week", "1/Day", "1.5/day",
            "-1/day", "+1/day", "1 /day", "unlimitd", {}, { "rate": "1/day" }, [], [null], ["unlimited"],
            ["1/day", "1/day", "1/day", "1/day"], [{}], [{ "burst": 1 }], [{ "rate": "unlimited" }],
            [{ "rate": "1/day", "x": 1 }], [{ "rate": "1/day", "burst": 0 }], [["1/day"]],
        ]);
        (good, bad)
    };
    let bursts = || {
        let good = json!([1, 1.0, 1.01, 1.25, 999.99, 1000, "1", "1.5", "1.50", "1000", "1000.0"]);
        let bad = json!([
            null,
            0,
            0.99,
            -1,
            1000.01,
            1001,
            1e300,
            true,
            "",
            "x",
            "0.5",
            "1000.01",
            "01",
            "1.",
            ".5",
            "+1",
            "1e1",
            [],
            [1],
            {},
        ]);
        (good, bad)
    };
    let costs = || {
        let good = json!([0, 0.001, 0.5, 1, 1.0, 29.999, "0", "0.125", "1.5000", "30"]);
        let bad = json!([
            null,
            -0.001,
            -1,
            1_000_000.001,
            1_000_001,
            true,
            "",
            "one",
            "-1",
            "1000001",
            "00",
            "1e0",
            [],
            [1],
            {},
        ]);
        (good, bad)
    };
    let on_failures =
        || (json!(["local", "ip", "open", "closed"]), json!([null, "", "Local", "deny", 1, false, [], {}]));
    let tier_names = || {
        (json!(["free", "pro", "all"]), json!([null, "", "Free", "free ", 1, true, [], {}, "a".repeat(33)]))
    };
    let lists = |entry: Value| {
        (json!([[], [entry]]), json!([null, 1, "x", true, { "a": 1 }, [null], [1], ["x"], [[]], [{}]]))
    };
    let sections = |good: Value| (good, json!([null, 1, true, "x", [], [1], { "x": 1 }]));
    let field = |pointer, may_be_absent, (good, bad)| Field { pointer, may_be_absent, good, bad };
    vec![
        field(
            "/namespace",
            true,
            (
                json!(["a", "9", "A.b_c-d", "x".repeat(64)]),
                json!([null, 1, true, "", "-a", ".a", "a b", "a/b", "é", "x".repeat(65), [], {}]),
            ),
        ),
        field(
            "/enforcement",
            true,
            (
                json!(["enforce", "shadow", "off", false]),
                json!([null, true, 0, "", "on", "Off", "enforced", [], {}]),
            ),
        ),
        field(
            "/tiers",
            false,
            (
                json!([{ "free": { "rate": "99/day" }, "all": { "rate": "99/day" } }]),
                json!([null, 1, "x", true, [], {}, { "free": null }, { "Free": { "rate": "1/day" } }, { "free": [] }]),
            ),
        ),
        field(
            "/tiers/all",
            false,
            sections(json!([{ "rate": "unlimited" }, { "rate": "1/day", "burst": 1 }])),
        ),
        field("/tiers/all/rate", false, rates()),
        field("/tiers/free/burst", true, bursts()),
        field(
            "/tiers/free/monthly",
            true,
            (
                json!([1, 1.0, 50_000, 100_000_000_000_u64, 1e6, "unlimited", "1", "5000000000", "7.0"]),
                json!([
                    null,
                    0,
                    -1,
                    0.5,
                    1.5,
                    100_000_000_001_u64,
                    1e300,
                    true,
                    "",
                    "none",
                    "0",
                    "-1",
                    "1.5",
                    "100000000001",
                    "07",
                    [],
                    [1],
                    {},
                ]),
            ),
        ),
        field("/tiers/free/on_failure", true, on_failures()),
        field("/default_tier", false, tier_names()),
        field(
            "/anonymous",
            false,
            sections(json!([{ "rate": "unlimited" }, { "rate": "1/day", "burst": 1 }])),
        ),
        field("/anonymous/rate", false, rates()),
        field("/anonymous/burst", true, bursts()),
        field("/anonymous/on_failure", true, on_failures()),
        field("/identity", true, sections(json!([{}, { "consumer": [] }, { "tier": [{ "header": "a" }] }]))),
        field("/identity/consumer", true, lists(json!({ "property": "a" }))),
        field("/identity/tier", true, lists(json!({ "header": "a" }))),
        field("/identity/tier/0", false, sections(json!([{ "header": "a" }, { "property": "a.b" }]))),
        field(
            "/identity/tier/0/header",
            false,
            (
                json!(["a", "X-Consumer-Groups", "a!#$%&'*+-.^_`|~9", "h".repeat(128)]),
                json!([null, 1, true, "", ":path", "a b", "a:b", "a,b", "é", "h".repeat(129), [], {}]),
            ),
        ),
        field(
            "/identity/consumer/0/property",
            false,
            (
                json!(["a", "a.b", "kong.ctx.shared.x", "metadata.a-b.c_d/e", "p".repeat(512)]),
                json!([null, 1, true, "", ".", "a.", ".a", "a..b", "a b", "é", "p".repeat(513), [], {}]),
            ),
        ),
        field("/endpoints", true, lists(json!({ "path": "/a", "cost": 1 }))),
        field("/endpoints/0", false, sections(json!([{ "path": "/a", "cost": 0 }]))),
        field(
            "/endpoints/0/path",
            false,
            (
                json!(["/", "/a", "/a/*", "/*", "/a.b/c_d-e~f"]),
                json!([null, 1, true, "", "a", "*", "a/*", "/a?b", "/a#b", [], {}]),
            ),
        ),
        field(
            "/endpoints/0/methods",
            true,
            (
                json!([["GET"], ["GET", "M-SEARCH", "X_1"], ["M".repeat(32)]]),
                json!([
                    null,
                    1,
                    "GET",
                    [],
                    {},
                    [1],
                    [""],
                    ["get"],
                    ["GET", "GET"],
                    ["-X"],
                    ["M".repeat(33)],
                    ["GET "]
                ]),
            ),
        ),
        field("/endpoints/0/cost", false, costs()),
        field("/default_cost", true, costs()),
        field("/overrides", true, lists(json!({ "consumer": "a", "tier": "pro" }))),
        field("/overrides/0", false, sections(json!([{ "consumer": "a", "tier": "pro" }]))),
        field(
            "/overrides/0/consumer",
            false,
            (
                json!(["a", " ", "a b", "münchen", "c".repeat(256)]),
                json!([null, 1, true, "", "a\nb", "a\u{0}", "\u{7f}", "c".repeat(257), [], {}]),
            ),
        ),
        field("/overrides/0/tier", false, tier_names()),
        field("/headers", true, sections(json!([{}, { "ietf": true }]))),
        field("/headers/x_ratelimit", true, (json!([true, false]), json!([null, 0, 1, "true", "", [], {}]))),
        field("/headers/ietf", true, (json!([true, false]), json!([null, 0, 1, "true", "", [], {}]))),
        field("/store", true, sections(json!([{ "upstream": "a" }]))),
        field(
            "/store/upstream",
            false,
            (
                json!(["a", "127.0.0.1:7600", "[::1]:7600", "u".repeat(255)]),
                json!([null, 1, true, "", "a b", "é", "u".repeat(256), [], {}]),
            ),
        ),
        field(
            "/store/mode",
            true,
            (json!(["leased", "strict"]), json!([null, "", "lease", 1, true, [], {}])),
        ),
        field(
            "/store/timeout",
            true,
            (
                json!(["1ms", "50ms", "9999ms", "10000ms", "1s", "10s"]),
                json!([
                    null,
                    50,
                    "",
                    "0ms",
                    "0s",
                    "10001ms",
                    "11s",
                    "01s",
                    "1.5s",
                    "1 s",
                    "1m",
                    "s",
                    "50",
                    "-1s",
                    [],
                    {}
                ]),
            ),
        ),
        field(
            "/store/sync_interval",
            true,
            (
                json!(["10ms", "100ms", "10000ms", "1s", "10s"]),
                json!([null, 50, "", "0ms", "9ms", "10001ms", "11s", "01s", "1.5s", "1m", [], {}]),
            ),
        ),
        field(
            "/store/token",
            true,
            (
                json!(["0123456789abcdef", "!~".repeat(256), { "env": "A" }, { "env": "_a9" }]),
                json!([
                    null, 1, true, "", "short", "with a space in it", "!~".repeat(257), "0123456789abcdeé", [], {},
                    { "env": "" }, { "env": "9" }, { "env": "A-B" }, { "env": 1 }, { "env": "A", "x": 1 }, { "x": "A" },
                ]),
            ),
        ),
        field("/store/on_failure", true, on_failures()),
        field("/memory", true, sections(json!([{}, { "clients": 64 }]))),
        field(
            "/memory/clients",
            true,
            (
                json!([64, 64.0, 65_536, 1_048_576, "64", "65536.0"]),
                json!([null, 0, 63, 64.5, 1_048_577, -64, true, "", "many", "064", "64.5", [], {}]),
            ),
        ),
    ]
}
