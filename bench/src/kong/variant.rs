//! What Kong is configured to run.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::ensure;
use serde_json::{Value, json};
use tollgate_testkit::http;

use super::installed::name_of;
use crate::variant as envoy;

/// One thing to measure.
#[derive(Clone)]
pub struct Variant {
    pub name: Cow<'static, str>,
    pub about: &'static str,
    runs: Runs,
    /// A header of the answer that proves that the variant does its work.
    shows: Option<&'static str>,
}

#[derive(Clone)]
enum Runs {
    Nothing,
    Noop,
    /// Tollgate with the policy of the benchmarks on Envoy, changed.
    Tollgate(fn(&mut Value, &Peers)),
    /// Kong's own limiter.
    RateLimiting {
        on_redis: bool,
    },
    Build(String),
}

/// The other servers that take part.
pub struct Peers {
    pub upstream: SocketAddr,
    pub redis: SocketAddr,
    pub store: SocketAddr,
    pub store_on_redis: SocketAddr,
}

const TOLLGATE: Variant = Variant {
    name: Cow::Borrowed("tollgate"),
    about: "Tollgate alone; a rate and a month, all X- headers",
    runs: Runs::Tollgate(|_, _| {}),
    shows: Some("x-quota-monthly-remaining"),
};

/// All variants.
pub const VARIANTS: &[Variant] = &[
    Variant { name: Cow::Borrowed("bare"), about: "no plugin", runs: Runs::Nothing, shows: None },
    Variant {
        name: Cow::Borrowed("noop"),
        about: "a Wasm filter that does nothing",
        runs: Runs::Noop,
        shows: None,
    },
    Variant {
        name: Cow::Borrowed("rate-limiting"),
        about: "Kong's own, policy local, the same two limits",
        runs: Runs::RateLimiting { on_redis: false },
        shows: Some("x-ratelimit-remaining-second"),
    },
    Variant {
        name: Cow::Borrowed("rate-limiting-redis"),
        about: "the same, policy redis",
        runs: Runs::RateLimiting { on_redis: true },
        shows: Some("x-ratelimit-remaining-second"),
    },
    TOLLGATE,
    Variant {
        name: Cow::Borrowed("tollgate-quiet"),
        about: "the upstream is told nothing",
        runs: Runs::Tollgate(|policy, _| policy["headers"]["upstream"] = false.into()),
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("tollgate-ietf"),
        about: "both families of headers",
        runs: Runs::Tollgate(|policy, _| policy["headers"]["ietf"] = true.into()),
        shows: Some("ratelimit"),
    },
    Variant {
        name: Cow::Borrowed("tollgate-properties"),
        about: "consumer and tier asked for as properties first, as kong.yml does",
        runs: Runs::Tollgate(|policy, _| {
            policy["identity"] = json!({
                "consumer": [{ "property": "kong.ctx.shared.tollgate_caller" }, { "header": "x-consumer-username" }],
                "tier": [{ "property": "kong.ctx.shared.tollgate_caller" }, { "header": "x-consumer-groups" }],
            });
        }),
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("leased"),
        about: "with a store on memory",
        runs: Runs::Tollgate(|policy, peers| {
            policy["store"] = json!({ "upstream": peers.store.to_string() })
        }),
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("leased-redis"),
        about: "with a store on Redis",
        runs: Runs::Tollgate(|policy, peers| {
            policy["store"] = json!({ "upstream": peers.store_on_redis.to_string() });
        }),
        ..TOLLGATE
    },
];

impl Variant {
    /// Another build of Tollgate, named after its file.
    pub fn build(file: &Path) -> Self {
        let name = name_of(file);
        Self {
            name: name.clone().into(),
            about: "another build of Tollgate",
            runs: Runs::Build(name),
            ..TOLLGATE
        }
    }

    /// Kong's declarative configuration.
    pub fn configuration(&self, peers: &Peers) -> Value {
        let mut service = json!({
            "name": "bench",
            "url": format!("http://{}", peers.upstream),
            "routes": [{ "name": "all", "paths": ["/"], "strip_path": false }],
        });
        let chain = |name: &str, config: &Value| json!([{ "filters": [{ "name": name, "config": config }] }]);
        match &self.runs {
            Runs::Nothing => {}
            Runs::Noop => service["filter_chains"] = json!([{ "filters": [{ "name": "noop" }] }]),
            Runs::Tollgate(change) => {
                let mut policy = envoy::policy();
                change(&mut policy, peers);
                service["filter_chains"] = chain("tollgate", &policy);
            }
            Runs::Build(name) => service["filter_chains"] = chain(name, &envoy::policy()),
            Runs::RateLimiting { on_redis } => {
                let mut config = json!({
                    "second": 1_000_000, "month": 1_000_000_000, "limit_by": "header", "header_name": "x-consumer-username",
                    "policy": if *on_redis { "redis" } else { "local" },
                });
                if *on_redis {
                    config["redis"] =
                        json!({ "host": peers.redis.ip().to_string(), "port": peers.redis.port() });
                }
                service["plugins"] = json!([{ "name": "rate-limiting", "config": config }]);
            }
        }
        json!({ "_format_version": "3.0", "services": [service] })
    }

    /// Sends one request and checks that the answer is this variant's.
    pub fn prove(&self, gateway: SocketAddr) -> anyhow::Result<()> {
        let request = http::Request::get("/identify")
            .header("x-consumer-username", "consumer-000000")
            .header("x-consumer-groups", "pro");
        let answer = http::Client::to(gateway).send(&request)?;
        ensure!(answer.status == 200, "answers {answer:?}");
        match self.shows {
            Some(header) => ensure!(answer.header(header).is_some(), "sends no {header}: {answer:?}"),
            None => ensure!(answer.header("x-quota-tier").is_none(), "limits: {answer:?}"),
        }
        Ok(())
    }
}

/// Appends request `number`, by one of `consumers` consumers, whom headers name.
pub fn write(number: u64, consumers: u64, request: &mut Vec<u8>) {
    let consumer = number.wrapping_mul(7_919) % consumers;
    envoy::write(request, "/identify", number, Some((consumer, "pro")), 0x0A00_0001);
}
