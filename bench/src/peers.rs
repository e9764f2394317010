//! What a limit over several gateways costs in all processes together: with Tollgate, and with Envoy's `ratelimit` filter and a
//! rate limit service that runs here.
//!
//! Whoever runs this brings the service: `--service` names its gRPC address, `--pid` each of its processes, including its own
//! Redis. It is asked for each request with the entry `consumer` in the domain `bench`, and its limit must be one that no
//! client reaches. Requests go on to an upstream, because the filter asks only for those; the CPU of upstream and clients is
//! not counted.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::redis::Server as Redis;
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::{http, workspace};

use crate::result::{self, Promise};
use crate::turn::{self, Pace, Turn, Turns};
use crate::{noop, process, variant};

#[derive(Args)]
pub struct Settings {
    /// The gRPC address of a rate limit service (Envoy's v3 API).
    #[arg(long, value_name = "IP:PORT")]
    service: SocketAddr,
    /// A process of that service whose CPU time counts; repeatable.
    #[arg(long = "pid", value_name = "PID", required = true)]
    pids: Vec<u32>,
    /// What the service is and where it counts, for the results.
    #[arg(long, value_name = "TEXT")]
    named: Option<String>,
    #[command(flatten)]
    pace: Pace,
    /// Only these variants; no results are written.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    Bare,
    Noop,
    Tollgate(Option<&'static str>),
    /// Leased, for this many consumers.
    Leased(u64),
    Peer,
}

const KINDS: [(&str, &str, Kind); 8] = [
    ("bare", "no filter", Kind::Bare),
    ("noop", "a Wasm filter that does nothing", Kind::Noop),
    ("tollgate", "Tollgate without a store", Kind::Tollgate(None)),
    ("leased", "Tollgate on a store on Redis", Kind::Tollgate(Some("leased"))),
    ("leased-1", "the same, one consumer", Kind::Leased(1)),
    ("leased-10000", "the same, 10,000 consumers", Kind::Leased(10_000)),
    ("strict", "Tollgate on a store on Redis, every request asks", Kind::Tollgate(Some("strict"))),
    ("peer", "Envoy's ratelimit filter and the service", Kind::Peer),
];

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    let (noop, tollgate) = (noop::build()?, workspace::filter()?);
    let upstream = Upstream::on_loopback()?;
    for name in &settings.only {
        ensure!(KINDS.iter().any(|(known, ..)| known == name), "there is no variant {name}");
    }
    let is_chosen = |name| settings.only.is_empty() || settings.only.iter().any(|only| only == name);
    let kinds: Vec<_> = KINDS.into_iter().filter(|(name, ..)| is_chosen(*name)).collect();
    let mut all: Vec<Turns> = kinds.iter().map(|(name, about, _)| Turns::of(name, about)).collect();
    let mut shares = vec![Vec::new(); kinds.len()];
    for round in 1..=settings.pace.rounds {
        eprintln!("peers: round {round} of {}", settings.pace.rounds);
        for (((name, _, kind), turns), shares) in kinds.iter().zip(&mut all).zip(&mut shares) {
            let filter = |mode| variant::tollgate(&tollgate, &policy(mode));
            let filter = match kind {
                Kind::Bare => None,
                Kind::Noop => Some(variant::tollgate(&noop, &json!({}))),
                Kind::Tollgate(mode) => Some(filter(*mode)),
                Kind::Leased(_) => Some(filter(Some("leased"))),
                Kind::Peer => Some(peer()),
            };
            let (turn, share) = take_turn(*kind, filter, settings, upstream.address()).context(*name)?;
            turns.taken.push(turn);
            shares.push(share);
        }
    }
    turn::print(&all);
    let shares: Vec<f64> = shares.into_iter().map(result::median).collect();
    for ((name, ..), share) in kinds.iter().zip(&shares) {
        println!("{name}: {:.0} % of it outside of Envoy", share * 100.0);
    }
    let ratios = [
        ("peers: CPU a request, all processes, strict by the peer", 0.9, "strict", "peer"),
        ("peers: CPU a request, all processes, leased by the peer", 0.5, "leased", "peer"),
        ("peers: the same, leased for 10,000 consumers by one", 1.3, "leased-10000", "leased-1"),
    ];
    let promise =
        |(what, at_most, one, other)| Some(Promise::at_most(what, at_most, turn::by(&all, one, other)?));
    let promises: Vec<Promise> = ratios.into_iter().filter_map(promise).collect();
    if !settings.only.is_empty() {
        return Ok(promises);
    }
    let mut variants = turn::to_json(&all);
    for (variant, share) in variants.as_array_mut().into_iter().flatten().zip(shares) {
        variant["share_outside_envoy"] = share.into();
    }
    result::save(
        "peers",
        json!({
            "envoy": result::envoy()?,
            "service": settings.named,
            "tollgate_wasm": result::module(&tollgate)?,
            "settings": settings.pace.to_json(),
            "variants": variants,
            "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
        }),
    )?;
    Ok(promises)
}

/// Starts the variant's processes, checks that it limits, and measures. Also returns the share of the CPU time that was not
/// Envoy's.
fn take_turn(
    kind: Kind,
    filter: Option<Value>,
    settings: &Settings,
    upstream: SocketAddr,
) -> anyhow::Result<(Turn, f64)> {
    let has_store = matches!(kind, Kind::Tollgate(Some(_)) | Kind::Leased(_));
    let consumers = if let Kind::Leased(consumers) = kind { consumers } else { settings.pace.consumers };
    let pace = Pace { consumers, ..settings.pace.clone() };
    let redis = has_store.then(Redis::start_volatile).transpose()?;
    let store = redis.as_ref().map(|redis| Store::start(&redis.url())).transpose()?;
    let gateway = Envoy::start(&config(filter, upstream, store.as_ref(), settings.service)?, 1)?;
    prove(kind, &gateway)?;
    let mut others: Vec<u32> =
        store.iter().filter_map(Store::id).chain(redis.iter().filter_map(Redis::id)).collect();
    if matches!(kind, Kind::Peer) {
        others.extend(&settings.pids);
    }
    let outside =
        || others.iter().try_fold(Duration::ZERO, |sum, id| anyhow::Ok(sum + process::cpu_time(*id)?));
    let all = || Ok(process::cpu_time(gateway.id())? + outside()?);
    let (before, before_outside) = (all()?, outside()?);
    let write = |number: u64, request: &mut Vec<u8>| {
        variant::write(
            request,
            "/identify",
            number,
            Some((number.wrapping_mul(7_919) % consumers, "pro")),
            0x0A00_0001,
        );
    };
    let turn = Turn::take(&pace, gateway.address(), 200, write, all)?;
    let share = (outside()? - before_outside).as_secs_f64() / (all()? - before).as_secs_f64();
    if matches!(kind, Kind::Peer) {
        let text = gateway.prometheus()?;
        let asked: f64 = text
            .lines()
            .filter(|line| line.starts_with("envoy_cluster_ratelimit_ok{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        ensure!(asked >= pace.requests as f64, "the service was asked {asked} times only");
    }
    Ok((turn, share))
}

fn prove(kind: Kind, gateway: &Envoy) -> anyhow::Result<()> {
    let request = http::Request::get("/identify")
        .header("x-consumer-username", "consumer-000000")
        .header("x-consumer-groups", "pro");
    let answer = gateway.client().send(&request)?;
    ensure!(answer.status == 200, "it answers {answer:?}");
    let is_tollgate = answer.header("x-quota-tier").is_some();
    ensure!(is_tollgate == matches!(kind, Kind::Tollgate(_) | Kind::Leased(_)), "it answers {answer:?}");
    Ok(())
}

fn policy(mode: Option<&str>) -> Value {
    let mut policy = variant::policy();
    if let Some(mode) = mode {
        policy["store"] = json!({ "upstream": "tollgate_store", "timeout": "50ms", "mode": mode });
    }
    policy
}

fn peer() -> Value {
    json!({
        "name": "envoy.filters.http.ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
            "domain": "bench",
            "failure_mode_deny": true,
            "timeout": "1s",
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": { "envoy_grpc": { "cluster_name": "rate_limit_service" } },
            },
        },
    })
}

fn config(
    filter: Option<Value>,
    upstream: SocketAddr,
    store: Option<&Store>,
    service: SocketAddr,
) -> anyhow::Result<Config> {
    let config = Config::without_filter(upstream)?.with_grpc_cluster("rate_limit_service", service);
    let config = match store {
        Some(store) => config.with_store(store.address()),
        None => config,
    };
    let entry = json!({ "header_name": "x-consumer-username", "descriptor_key": "consumer" });
    let route = json!({
        "cluster": "sample_upstream",
        "rate_limits": [{ "actions": [{ "request_headers": entry }] }],
    });
    Ok(variant::routed(config, filter, "route", route))
}
