//! Clients that come now and then, as most customers of an API do: what their requests cost gateways, store and Redis.
//!
//! Two gateways share a store on Redis, and each request goes to one of them at random. The clients keep to the clock: they
//! send a fixed number of requests per second, however long one takes. Each variant has its own gateways, store and Redis,
//! which are warmed up until every client is known.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tollgate_testkit::envoy::Envoy;
use tollgate_testkit::redis::Server;
use tollgate_testkit::store::Store;
use tollgate_testkit::{interrupt, wait, workspace};

use crate::load::Load;
use crate::result::{self, Promise};
use crate::{noop, process, variant};

/// The most CPU per request, all processes together, divided by these two's.
const BY_STRICT: f64 = 0.5;
const BY_NOOP: f64 = 1.8;

/// How many times a second the requests that are due go out.
const BEATS: u64 = 50;

/// One gateway's most requests under way.
const CONNECTIONS: usize = 16;

#[derive(Args)]
pub struct Settings {
    /// Distinct consumers.
    #[arg(long, default_value_t = 10_000)]
    consumers: u64,
    /// Milliseconds between two requests of one consumer.
    #[arg(long, default_value_t = 6_600)]
    every: u64,
    /// Seconds of warm-up before the measured ones.
    #[arg(long, default_value_t = 90)]
    warm_up: u64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only these variants; no results are written.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Another build of the filter; no results are written.
    #[arg(long, value_name = "FILE")]
    filter: Option<PathBuf>,
}

/// A kind of gateway, and whether it has a store.
struct Kind {
    name: &'static str,
    about: &'static str,
    mode: Option<&'static str>,
    is_noop: bool,
}

const KINDS: [Kind; 4] = [
    Kind { name: "noop", about: "a Wasm filter that does nothing", mode: None, is_noop: true },
    Kind { name: "local", about: "Tollgate without a store", mode: None, is_noop: false },
    Kind { name: "leased", about: "Tollgate on a store", mode: Some("leased"), is_noop: false },
    Kind { name: "strict", about: "every request asks", mode: Some("strict"), is_noop: false },
];

/// The CPU seconds used so far.
struct Spent {
    envoy: f64,
    store: f64,
    redis: f64,
    /// Commands that Redis has processed, with those of scripts; this is not CPU.
    commands: f64,
}

struct Measured {
    kind: &'static Kind,
    /// Microseconds per request.
    envoy: f64,
    store: f64,
    redis: f64,
    commands: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Measured {
    fn sum(&self) -> f64 {
        self.envoy + self.store + self.redis
    }
}

/// Everything that one variant needs.
struct Cluster {
    gateways: [Envoy; 2],
    store: Option<Store>,
    redis: Server,
}

impl Cluster {
    fn start(kind: &Kind, settings: &Settings) -> anyhow::Result<Self> {
        let redis = Server::start_volatile()?;
        let store = kind.mode.map(|_| Store::start(&redis.url())).transpose()?;
        let filter = match (&settings.filter, kind.is_noop) {
            (_, true) => noop::build()?,
            (Some(file), false) => file.clone(),
            (None, false) => workspace::filter()?,
        };
        let mut policy = variant::policy();
        if let Some(mode) = kind.mode {
            policy["store"] = json!({ "upstream": "tollgate_store", "timeout": "50ms", "mode": mode });
        }
        let configuration = if kind.is_noop { json!({}) } else { policy };
        let start = || {
            let filter = Some(variant::tollgate(&filter, &configuration));
            match &store {
                Some(store) => variant::start_with_store(filter, store.address()),
                None => variant::start(filter),
            }
        };
        Ok(Self { gateways: [start()?, start()?], store, redis })
    }

    fn spent(&self) -> anyhow::Result<Spent> {
        let cpu = |id: Option<u32>| -> anyhow::Result<f64> {
            Ok(id.map(process::cpu_time).transpose()?.unwrap_or_default().as_secs_f64())
        };
        let [one, other] = &self.gateways;
        let processed = self.redis.ask(&["INFO", "stats"])?;
        let commands = processed.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        Ok(Spent {
            envoy: cpu(Some(one.id()))? + cpu(Some(other.id()))?,
            store: cpu(self.store.as_ref().and_then(Store::id))?,
            redis: cpu(self.redis.id())?,
            commands: commands.context("no count of commands")?.trim().parse()?,
        })
    }

    /// Sends what is due for `seconds`, starting with request number `first`. Returns their number and their latency.
    fn load(&self, settings: &Settings, seconds: u64, first: u64) -> anyhow::Result<(u64, Histogram<u64>)> {
        let [one, other] = &self.gateways;
        let mut loads =
            [Load::connect(one.address(), CONNECTIONS)?, Load::connect(other.address(), CONNECTIONS)?];
        let mut latency = Histogram::new(3)?;
        let (start, mut sent) = (Instant::now(), 0);
        for beat in 1..=seconds * BEATS {
            ensure!(!interrupt::came(), "interrupted");
            let due = beat * 1_000 / BEATS * settings.consumers / settings.every;
            let numbers: Vec<u64> = (first + sent..first + due).collect();
            for (side, load) in loads.iter_mut().enumerate() {
                let here: Vec<u64> = numbers
                    .iter()
                    .copied()
                    .filter(|number| scattered(*number) as usize % 2 == side)
                    .collect();
                let outcome = load.send(here.len() as u64, 200, |place, request| {
                    let number = here[place as usize];
                    let consumer = number % settings.consumers;
                    variant::write(request, "/identify", number, Some((consumer, "free")), 0x0A00_0001);
                })?;
                ensure!(outcome.expected == outcome.answers, "a request was refused");
                latency.add(outcome.latency)?;
            }
            sent = due;
            wait::pass(
                (start + Duration::from_millis(beat * 1_000 / BEATS))
                    .saturating_duration_since(Instant::now()),
            );
        }
        Ok((sent, latency))
    }
}

/// A number that looks unrelated to `number` but is always the same for it.
fn scattered(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    for name in &settings.only {
        ensure!(KINDS.iter().any(|kind| kind.name == name), "there is no variant {name}");
    }
    let is_chosen =
        |kind: &&Kind| settings.only.is_empty() || settings.only.iter().any(|name| name == kind.name);
    let mut all = Vec::new();
    for kind in KINDS.iter().filter(is_chosen) {
        eprintln!("sparse: {}", kind.name);
        all.push(measure(kind, settings).context(kind.name)?);
    }
    let promises = promises(&all);
    print(&all);
    if settings.only.is_empty() && settings.filter.is_none() {
        result::save(
            "sparse",
            json!({
                "envoy": result::envoy()?,
                "tollgate_wasm": result::module(&workspace::filter()?)?,
                "settings": {
                    "consumers": settings.consumers, "every_ms": settings.every, "warm_up_s": settings.warm_up,
                    "seconds": settings.seconds, "gateways": 2, "workers": 1, "backend": "redis, nothing on disk",
                },
                "variants": all.iter().map(to_json).collect::<Vec<_>>(),
                "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
            }),
        )?;
    }
    Ok(promises)
}

fn measure(kind: &'static Kind, settings: &Settings) -> anyhow::Result<Measured> {
    let cluster = Cluster::start(kind, settings)?;
    let (warm, _) = cluster.load(settings, settings.warm_up, 0)?;
    let before = cluster.spent()?;
    let (sent, latency) = cluster.load(settings, settings.seconds, warm)?;
    let after = cluster.spent()?;
    let each = |of: fn(&Spent) -> f64| (of(&after) - of(&before)) * 1e6 / sent as f64;
    Ok(Measured {
        kind,
        envoy: each(|spent| spent.envoy),
        store: each(|spent| spent.store),
        redis: each(|spent| spent.redis),
        commands: each(|spent| spent.commands) / 1e6,
        p50_us: latency.value_at_quantile(0.5) as f64 / 1_000.0,
        p99_us: latency.value_at_quantile(0.99) as f64 / 1_000.0,
    })
}

fn promises(all: &[Measured]) -> Vec<Promise> {
    let sum = |name| all.iter().find(|one| one.kind.name == name).map(Measured::sum);
    let by = |what, most, other| Some(Promise::at_most(what, most, sum("leased")? / sum(other)?));
    let by_strict = by("sparse: CPU a request, all processes, leased by strict", BY_STRICT, "strict");
    let by_noop = by("sparse: CPU a request, all processes, leased by no-op gateways", BY_NOOP, "noop");
    by_strict.into_iter().chain(by_noop).collect()
}

fn to_json(one: &Measured) -> Value {
    json!({
        "name": one.kind.name, "about": one.kind.about,
        "cpu_us": { "envoy": one.envoy, "store": one.store, "redis": one.redis, "sum": one.sum() },
        "redis_commands_a_request": one.commands, "p50_us": one.p50_us, "p99_us": one.p99_us,
    })
}

fn print(all: &[Measured]) {
    let head = ["variant", "CPU µs", "Envoy", "store", "Redis", "commands", "p50 µs", "p99 µs", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|one| {
        let micros = |value: f64| format!("{value:.1}");
        vec![
            one.kind.name.to_owned(),
            micros(one.sum()),
            micros(one.envoy),
            micros(one.store),
            micros(one.redis),
            format!("{:.3}", one.commands),
            format!("{:.0}", one.p50_us),
            format!("{:.0}", one.p99_us),
            one.kind.about.to_owned(),
        ]
    }));
    result::print_table(&rows);
}
