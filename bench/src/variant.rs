//! What the gateway is configured to run, and what its clients then send and get.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};
use tollgate_core::capability;
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http;

/// One thing to measure.
#[derive(Clone)]
pub struct Variant {
    pub name: Cow<'static, str>,
    pub about: &'static str,
    filter: Filter,
    /// The path that its clients ask for.
    path: &'static str,
    /// The group of its clients; `None` if the gateway does not know them.
    group: Option<&'static str>,
    /// The status of their answers.
    pub status: u16,
    /// Headers of the answer that prove that the variant does its work.
    shows: &'static [&'static str],
    hides: &'static [&'static str],
}

#[derive(Clone)]
enum Filter {
    None,
    Native,
    Noop,
    /// The filter that does nothing, granted what Tollgate is.
    RestrictedNoop,
    Tollgate(fn(&mut Value)),
    /// Tollgate on a gateway that cannot be told what to grant.
    Unrestricted,
    Build(PathBuf),
}

/// The filters that are compared, as files.
pub struct Modules<'a> {
    pub noop: &'a Path,
    pub tollgate: &'a Path,
}

/// Nothing listens here.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9));

const LIMIT: &str = "x-ratelimit-remaining";
const MONTH: &str = "x-quota-monthly-remaining";
const TIER: &str = "x-quota-tier";
const IETF: &str = "ratelimit";

const TOLLGATE: Variant = Variant {
    name: Cow::Borrowed("tollgate"),
    about: "Tollgate; a rate and a month, all X- headers",
    filter: Filter::Tollgate(|_| {}),
    path: "/identify",
    group: Some("pro"),
    status: 200,
    shows: &[LIMIT, MONTH, TIER],
    hides: &[IETF],
};

/// Tollgate, and what it is compared with.
pub const COMPARED: &[Variant] = &[
    Variant {
        name: Cow::Borrowed("bare"),
        about: "no filter",
        filter: Filter::None,
        hides: &[TIER],
        shows: &[],
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("noop"),
        about: "a Wasm filter that does nothing",
        filter: Filter::Noop,
        hides: &[TIER],
        shows: &[],
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("noop-restricted"),
        about: "the same without the callbacks that Tollgate leaves out",
        filter: Filter::RestrictedNoop,
        hides: &[TIER],
        shows: &[],
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("native"),
        about: "Envoy's own local_ratelimit: one bucket for all, no headers",
        filter: Filter::Native,
        hides: &[TIER],
        shows: &[],
        ..TOLLGATE
    },
    TOLLGATE,
    Variant {
        name: Cow::Borrowed("tollgate-unrestricted"),
        about: "every callback is made, as in Istio",
        filter: Filter::Unrestricted,
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("tollgate-ietf"),
        about: "both families of headers",
        filter: Filter::Tollgate(|policy| policy["headers"]["ietf"] = true.into()),
        shows: &[LIMIT, MONTH, TIER, IETF],
        hides: &[],
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("tollgate-refusing"),
        about: "every request refused: 429 and a problem document",
        // The first request uses a day's allowance; there is always one before the measured ones.
        path: "/compare",
        group: Some("trial"),
        status: 429,
        shows: &[LIMIT, MONTH, TIER, "retry-after"],
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("tollgate-unlimited"),
        about: "a tier without limits",
        group: Some("enterprise"),
        shows: &[TIER],
        hides: &[LIMIT, MONTH],
        ..TOLLGATE
    },
];

/// Where Tollgate's time goes: each leaves out, or adds, one thing.
pub const STEPS: &[Variant] = &[
    Variant {
        name: Cow::Borrowed("step-off"),
        about: "enforcement off",
        filter: Filter::Tollgate(|policy| policy["enforcement"] = "off".into()),
        shows: &[],
        hides: &[TIER],
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("step-free"),
        about: "a path that costs nothing: no table",
        path: "/health",
        shows: &[],
        hides: &[TIER],
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("step-silent"),
        about: "a rate and a month, no headers",
        filter: Filter::Tollgate(|policy| policy["headers"] = json!({ "x_ratelimit": false, "ietf": false })),
        shows: &[],
        hides: &[TIER],
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("step-properties"),
        about: "consumer and tier asked for as properties first",
        filter: Filter::Tollgate(|policy| {
            policy["identity"] = json!({
                "consumer": [{ "property": "auth.consumer" }, { "header": "x-consumer-username" }],
                "tier": [{ "property": "auth.tier" }, { "header": "x-consumer-groups" }],
            });
        }),
        ..TOLLGATE
    },
    Variant {
        name: Cow::Borrowed("step-anonymous"),
        about: "no consumer: limited by address",
        group: None,
        shows: &[LIMIT, TIER],
        hides: &[MONTH],
        ..TOLLGATE
    },
];

impl Variant {
    /// The variant with this name.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let found = COMPARED.iter().chain(STEPS).find(|variant| variant.name == name);
        found.cloned().with_context(|| format!("there is no variant {name}"))
    }

    /// Another build of Tollgate, named after its file.
    pub fn build(file: &Path) -> Self {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            name: name.into(),
            about: "another build of Tollgate",
            filter: Filter::Build(file.into()),
            ..TOLLGATE
        }
    }

    /// Starts a gateway with one worker that runs it.
    pub fn start(&self, modules: &Modules<'_>) -> anyhow::Result<Envoy> {
        self.start_under(modules, &[])
    }

    /// Starts it under another program.
    pub fn start_under(&self, modules: &Modules<'_>, runner: &[&str]) -> anyhow::Result<Envoy> {
        let filter = match &self.filter {
            Filter::None => None,
            Filter::Native => Some(native()),
            Filter::Noop => Some(wasm(modules.noop, &json!({}))),
            Filter::RestrictedNoop => Some(restricted(wasm(modules.noop, &json!({})))),
            Filter::Tollgate(change) => {
                let mut policy = policy();
                change(&mut policy);
                Some(tollgate(modules.tollgate, &policy))
            }
            Filter::Unrestricted => Some(wasm(modules.tollgate, &policy())),
            Filter::Build(file) => Some(tollgate(file, &policy())),
        };
        Envoy::start_under(&config(filter, NOWHERE)?, 1, runner)
    }

    /// Appends request `number`, by one of `consumers` consumers.
    pub fn write(&self, number: u64, consumers: u64, request: &mut Vec<u8>) {
        // The factor is odd: neighbors in time are not neighbors in the table.
        let consumer = number.wrapping_mul(7_919) % consumers;
        write(request, self.path, number, self.group.map(|group| (consumer, group)), 0x0A00_0001);
    }

    /// Sends one request and checks that the answer is this variant's.
    pub fn prove(&self, gateway: &Envoy) -> anyhow::Result<()> {
        let mut request = http::Request::get(self.path);
        if let Some(group) = self.group {
            request =
                request.header("x-consumer-username", "consumer-000000").header("x-consumer-groups", group);
        }
        let mut client = gateway.client();
        if self.status == 429 {
            client.send(&request)?;
        }
        let answer = client.send(&request)?;
        let name = &self.name;
        ensure!(answer.status == self.status, "{name} answers {answer:?}");
        for header in self.shows {
            ensure!(answer.header(header).is_some(), "{name} sends no {header}: {answer:?}");
        }
        for header in self.hides {
            ensure!(answer.header(header).is_none(), "{name} sends {header}: {answer:?}");
        }
        Ok(())
    }
}

/// Appends an ordinary API client's request, with what a gateway's authentication adds for a known consumer.
pub fn write(request: &mut Vec<u8>, path: &str, number: u64, known: Option<(u64, &str)>, address: u32) {
    use std::io::Write as _;
    let [a, b, c, d] = address.to_be_bytes();
    write!(
        request,
        "GET {path} HTTP/1.1\r\nhost: api.example.com\r\nuser-agent: example-client/4.2 (linux; x86_64)\r\n\
         accept: application/json\r\naccept-encoding: gzip, br\r\naccept-language: en-GB,en;q=0.8\r\n\
         content-type: application/json\r\nx-request-id: 6f1d2c9e-53a1-4b7e-9c40-{number:012x}\r\n\
         x-forwarded-for: {a}.{b}.{c}.{d}\r\n"
    )
    .expect("a vector takes everything");
    if let Some((consumer, group)) = known {
        write!(request, "x-consumer-username: consumer-{consumer:06}\r\nx-consumer-groups: {group}\r\n")
            .expect("a vector takes everything");
    }
    request.extend_from_slice(b"\r\n");
}

/// The policy of all variants, before their changes.
pub fn policy() -> Value {
    json!({
        "namespace": "bench",
        "tiers": {
            "trial": { "rate": "2/day", "monthly": 50_000 },
            "free": { "rate": "100/minute", "burst": 1.5, "monthly": 50_000 },
            "pro": { "rate": "1000000/second", "burst": 1.5, "monthly": 1_000_000_000 },
            "enterprise": { "rate": "unlimited", "monthly": "unlimited" },
        },
        "default_tier": "free",
        "anonymous": { "rate": "1000000/second" },
        "identity": {
            "consumer": [{ "header": "x-consumer-username" }],
            "tier": [{ "header": "x-consumer-groups" }],
        },
        "endpoints": [
            { "path": "/identify", "cost": 1 },
            { "path": "/compare", "cost": 2 },
            { "path": "/batch", "cost": 1 },
            { "path": "/health", "cost": 0 },
        ],
        "headers": { "x_ratelimit": true, "ietf": false },
        "memory": { "clients": 65_536 },
    })
}

/// Starts an Envoy that answers everything itself, behind one filter or none. A client's address is the one in its
/// `x-forwarded-for`.
pub fn start(filter: Option<Value>) -> anyhow::Result<Envoy> {
    start_with_store(filter, NOWHERE)
}

/// Starts one with a store that listens at `store`.
pub fn start_with_store(filter: Option<Value>, store: SocketAddr) -> anyhow::Result<Envoy> {
    Envoy::start(&config(filter, store)?, 1)
}

fn config(filter: Option<Value>, store: SocketAddr) -> anyhow::Result<Config> {
    let answer = json!({ "status": 200, "body": { "inline_string": "{\"answer\":42}" } });
    // Nothing is ever sent to the sample's upstream.
    let config = Config::without_filter(NOWHERE)?.with_store(store);
    Ok(routed(config, filter, "direct_response", answer))
}

/// `config` with only this filter, or none, and one route, which does `so` to every request.
pub fn routed(config: Config, filter: Option<Value>, does: &str, so: Value) -> Config {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let filters: Vec<Value> = filter.into_iter().chain([router]).collect();
    config.http(|http| {
        *http = json!({
            "@type": http["@type"],
            "stat_prefix": "bench",
            "http_filters": filters,
            "route_config": { "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, does: so }],
            }] },
        });
    })
}

/// Tollgate as in `envoy/envoy.yaml`: granted only what it uses.
pub fn tollgate(module: &Path, policy: &Value) -> Value {
    restricted(wasm(module, policy))
}

fn restricted(mut filter: Value) -> Value {
    let granted: Map<String, Value> =
        capability::all().map(|name| (name.to_owned(), Value::Object(Map::new()))).collect();
    filter["typed_config"]["config"]["capability_restriction_config"] =
        json!({ "allowed_capabilities": granted });
    filter
}

/// A Wasm filter that is granted everything, as Envoy does unless told otherwise.
fn wasm(module: &Path, configuration: &Value) -> Value {
    json!({
        "name": "wasm",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "wasm",
                "root_id": "wasm",
                "failure_policy": "FAIL_RELOAD",
                "vm_config": {
                    "vm_id": "wasm",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": module } },
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": configuration.to_string(),
                },
            },
        },
    })
}

/// Envoy's own limiter, with a limit that no client reaches.
fn native() -> Value {
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "native",
            "token_bucket": { "max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "1s" },
            "filter_enabled": always,
            "filter_enforced": always,
        },
    })
}
