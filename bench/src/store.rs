//! How many accounts per second the store's backends apply, beside the bare server.
//!
//! On Redis the measure is what the same server does with scripts that do next to nothing, called by `redis-benchmark` in the
//! same minute. One returns a number; one reads a key and writes it back, which every limiter must do; and one is the smallest
//! token bucket, which a limiter without leases, months and names would call for each request. They are called in pipelines as
//! deep as a batch. The first is also called one call at a time, `redis-benchmark`'s default, as a limiter would that asks for
//! every request.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use tollgate_core::client::ClientId;
use tollgate_core::terms::{Offer, Rate, Terms};
use tollgate_core::units::Cost;
use tollgate_core::wire::{Answer, Ask, LeaseRequest};
use tollgate_store::backend::clock;
use tollgate_store::backend::memory::Memory;
use tollgate_store::backend::redb::Redb;
use tollgate_store::backend::redis::Redis;
use tollgate_store::backend::{AccountEntry, Backend};
use tollgate_testkit::redis::Server;

use crate::result::{self, Promise, median};

/// Accounts per second on Redis, divided by calls per second of a trivial script.
const PROMISED: f64 = 0.6;

/// Connections of `redis-benchmark` when it makes one call at a time; its own default.
const CONNECTIONS: usize = 50;

/// A token bucket of 1,000 per minute, on the server's clock.
const TOKEN_BUCKET: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(1000, (bucket[1] or 1000) + (now - (bucket[2] or now)) / 60000)
local is_allowed = tokens >= 1
if is_allowed then tokens = tokens - 1 end
redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', now)
redis.call('PEXPIRE', KEYS[1], 60000)
return is_allowed and 1 or 0
";

#[derive(Args)]
pub struct Settings {
    /// How often each side gets its turn.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Accounts in a batch.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Batches under way at the same time.
    #[arg(long, default_value_t = 8)]
    at_once: usize,
    /// Distinct clients.
    #[arg(long, default_value_t = 100_000)]
    clients: u64,
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let server = Server::start_volatile()?;
    let directory = tempfile::tempdir()?;
    let redis: Arc<dyn Backend> = Arc::new(runtime.block_on(Redis::open(&server.url()))?);
    let file = directory.path().join("store.redb");
    let redb: Arc<dyn Backend> = Arc::new(runtime.block_on(Redb::open(file))?);
    let memory: Arc<dyn Backend> = Arc::new(Memory::new(clock::system()));
    let nothing = server.ask(&["SCRIPT", "LOAD", "return 1"])?;
    let kept = "return redis.call('SET', KEYS[1], redis.call('GET', KEYS[1]) or ARGV[1])";
    let kept = server.ask(&["SCRIPT", "LOAD", kept])?;
    let bucket = server.ask(&["SCRIPT", "LOAD", TOKEN_BUCKET])?;

    let mut sides: [(&str, Vec<f64>); 7] = [
        ("EVALSHA return 1, one at a time", vec![]),
        ("EVALSHA return 1", vec![]),
        ("EVALSHA GET and SET", vec![]),
        ("EVALSHA token bucket", vec![]),
        ("redis", vec![]),
        ("redb (of the clock)", vec![]),
        ("memory (of the clock)", vec![]),
    ];
    let pipelines = (settings.at_once, settings.batch);
    eprintln!("store: {} turns of {} s", settings.turns, settings.seconds);
    for turn in 0..=settings.turns {
        let speeds = [
            on_one_core(&server, || bare(&server, &nothing, (CONNECTIONS, 1), settings))?,
            on_one_core(&server, || bare(&server, &nothing, pipelines, settings))?,
            on_one_core(&server, || bare(&server, &kept, pipelines, settings))?,
            on_one_core(&server, || bare(&server, &bucket, pipelines, settings))?,
            on_one_core(&server, || runtime.block_on(applied(&redis, settings, turn)))?,
            runtime.block_on(applied(&redb, settings, turn))?.1,
            runtime.block_on(applied(&memory, settings, turn))?.1,
        ];
        // The first turn creates the accounts.
        for ((_, measured), speed) in sides.iter_mut().zip(speeds).filter(|_| turn > 0) {
            measured.push(speed);
        }
    }

    let by = |index: usize, of: usize| {
        median(sides[index].1.iter().zip(&sides[of].1).map(|(one, other)| one / other))
    };
    let mut rows = vec![
        ["", "a second of CPU", "by one at a time", "by return 1", "by GET and SET", "by token bucket"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (index, (name, speeds)) in sides.iter().enumerate() {
        let speed = format!("{:.0}", median(speeds.iter().copied()));
        let ratio = |of| if index >= 5 { String::new() } else { format!("{:.2}", by(index, of)) };
        rows.push(vec![(*name).to_owned(), speed, ratio(0), ratio(1), ratio(2), ratio(3)]);
    }
    result::print_table(&rows);
    let memory = median(sides[6].1.iter().copied());
    let promises = vec![
        Promise {
            what: "store: accounts a second in memory, both cores",
            measured: memory,
            at_least: 2.0 * 200_000.0,
            at_most: f64::INFINITY,
        },
        Promise {
            what: "store: accounts on Redis, by calls of a script that returns 1",
            measured: by(4, 0),
            at_least: PROMISED,
            at_most: f64::INFINITY,
        },
        Promise {
            what: "store: accounts on Redis, by calls of a token bucket in pipelines",
            measured: by(4, 3),
            at_least: PROMISED,
            at_most: f64::INFINITY,
        },
    ];
    let sides = sides.map(|(name, speeds)| json!({ "what": name, "a_second": speeds }));
    let promised: Vec<_> = promises.iter().map(Promise::to_json).collect();
    result::save("store", json!({ "batch": settings.batch, "sides": sides, "promises": promised }))?;
    Ok(promises)
}

/// How much was done, and how much of it per second of the clock.
type Speed = (u64, f64);

/// How much is done per second of the server's CPU: it has one core, and does not decide how much of that it gets here.
fn on_one_core(server: &Server, work: impl FnOnce() -> anyhow::Result<Speed>) -> anyhow::Result<f64> {
    let before = cpu_seconds(server)?;
    let (done, _) = work()?;
    Ok(done as f64 / (cpu_seconds(server)? - before))
}

fn cpu_seconds(server: &Server) -> anyhow::Result<f64> {
    let info = server.ask(&["INFO", "cpu"])?;
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    let (user, system) = (of("used_cpu_user:"), of("used_cpu_sys:"));
    user.zip(system).map(|(user, system)| user + system).with_context(|| format!("INFO cpu says: {info}"))
}

/// Calls the script with this digest over `connections`, in pipelines that are `deep`.
fn bare(
    server: &Server,
    digest: &str,
    (connections, deep): (usize, usize),
    settings: &Settings,
) -> anyhow::Result<Speed> {
    let calls = if deep > 1 { 300_000 } else { 50_000 } * settings.seconds;
    // Each script has its own keys: one that keeps a string and one that keeps a hash do not mix.
    let key = format!("{digest}:__rand_int__");
    let mut command = Command::new("redis-benchmark");
    command
        .args(["--csv", "-p", &server.port().to_string(), "-c", &connections.to_string()])
        .args(["-P", &deep.to_string(), "-n", &calls.to_string(), "-r", &settings.clients.to_string()])
        .args(["EVALSHA", digest, "1", &key, "value"]);
    let output = command.output().context("redis-benchmark; apt-get install redis-tools")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let speed = last.split("\",\"").nth(1).and_then(|speed| speed.trim_matches('"').parse().ok());
    Ok((calls, speed.with_context(|| format!("redis-benchmark says: {text}"))?))
}

/// Applies reports of one node, each of another client than the one before.
async fn applied(backend: &Arc<dyn Backend>, settings: &Settings, turn: usize) -> anyhow::Result<Speed> {
    let rate = Rate { units: 1_000, seconds: 60, burst: 150 };
    let offer = Offer { tier: "pro".into(), rates: vec![rate], monthly: Some(1_000_000) };
    let terms = Arc::new(offer.terms().map_err(|error| anyhow::anyhow!("{error}"))?);
    let start = Instant::now();
    let length = Duration::from_secs(settings.seconds);
    let next = Arc::new(AtomicU64::new(0));
    let lanes: Vec<_> = (0..settings.at_once)
        .map(|_| {
            tokio::spawn(lane(
                Arc::clone(backend),
                Arc::clone(&terms),
                Arc::clone(&next),
                Load {
                    batch: settings.batch,
                    clients: settings.clients,
                    epoch: turn as u64,
                    until: start + length,
                },
            ))
        })
        .collect();
    let mut accounts = 0;
    for lane in lanes {
        accounts += lane.await??;
    }
    Ok((accounts, accounts as f64 / start.elapsed().as_secs_f64()))
}

struct Load {
    batch: usize,
    clients: u64,
    epoch: u64,
    until: Instant,
}

async fn lane(
    backend: Arc<dyn Backend>,
    terms: Arc<Terms>,
    next: Arc<AtomicU64>,
    load: Load,
) -> anyhow::Result<u64> {
    let tier: Arc<str> = "pro".into();
    let mut accounts = 0;
    while Instant::now() < load.until {
        let first = next.fetch_add(load.batch as u64, Ordering::Relaxed);
        let entry = |number: u64| {
            let round = u32::try_from(number / load.clients).unwrap_or(u32::MAX);
            let client = number % load.clients;
            let spent = u64::from(round) * 500;
            let lease = LeaseRequest {
                epoch: load.epoch,
                seq: round,
                spent: Cost(spent),
                hold: Cost(500),
                want: Cost(1_000),
                ..LeaseRequest::default()
            };
            AccountEntry {
                client: ClientId(
                    u128::from(client.wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(64).to_be_bytes(),
                ),
                name: None,
                is_anonymous: false,
                tier: Arc::clone(&tier),
                terms: Arc::clone(&terms),
                node: 1,
                ask: Ask::Lease(lease),
            }
        };
        let batch: Vec<AccountEntry> = (first..first + load.batch as u64).map(entry).collect();
        let applied = backend.apply("bench", batch).await?;
        ensure!(!applied.answers.contains(&Answer::Failed), "an account failed");
        accounts += applied.answers.len() as u64;
    }
    Ok(accounts)
}
