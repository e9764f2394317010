//! The CPU time that a FastAPI application uses per request: the route alone, with Tollgate, and with other limiters on the same
//! Redis; and what its event loop and its requests notice of a store that hangs.
//!
//! `bench/python` has the application, and `scripts/python.sh bench` makes the environment that it runs in.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_testkit::http::{Client, Request};
use tollgate_testkit::process::Process;
use tollgate_testkit::redis::Server as Redis;
use tollgate_testkit::store::Store;
use tollgate_testkit::{interrupt, wait, workspace};

use crate::result::{self, Promise, median};
use crate::turn::{self, Pace, Turn, Turns};
use crate::{process, variant};

/// Python imports FastAPI in a second, but in more on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct Settings {
    #[command(flatten)]
    pace: Pace,
    /// Only these variants; no results are written.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The seconds for which the store hangs.
    #[arg(long, default_value_t = 20)]
    hang: u32,
}

/// The end of the names of variants on uvicorn alone, without the faster loop and parser that it can use.
const PLAIN: &str = "-plain";

/// What the application runs, by the names in `bench/python/app.py`.
const VARIANTS: [(&str, &str); 7] = [
    ("bare", "the route alone"),
    ("tollgate", "leased; a rate and a month for each consumer, all X- headers"),
    ("tollgate-metrics", "the same with prometheus_client"),
    ("fastapi-limiter", "one rate for all consumers together, no headers"),
    ("slowapi", "a rate for each consumer, no headers"),
    ("bare-plain", "the route alone, on uvicorn without uvloop and httptools"),
    ("tollgate-plain", "leased, on the same"),
];

/// One variant, and the CPU time per request of what its application calls.
struct Measured {
    turns: Turns,
    store_us: Vec<f64>,
    redis_us: Vec<f64>,
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    interrupt::expect()?;
    let python = workspace::python()?;
    let redis = Redis::start_volatile()?;
    let store = Store::start(&redis.url())?;
    let variants = chosen(settings)?;
    let mut all: Vec<Measured> = variants
        .iter()
        .map(|(name, about)| Measured {
            turns: Turns::of(name, about),
            store_us: Vec::new(),
            redis_us: Vec::new(),
        })
        .collect();
    for round in 1..=settings.pace.rounds {
        eprintln!("python: round {round} of {}", settings.pace.rounds);
        for measured in &mut all {
            let name = measured.turns.name.clone();
            measured.take_turn(settings, &python, &store, &redis).context(name)?;
        }
    }
    let hang = hangs(&python, settings.hang)?;
    let others: Vec<Value> = all
        .iter()
        .map(|of| {
            json!({
                "name": of.turns.name,
                "store_cpu_us": median(of.store_us.clone()),
                "redis_cpu_us": median(of.redis_us.clone()),
            })
        })
        .collect();
    let turns: Vec<Turns> = all.into_iter().map(|measured| measured.turns).collect();
    let promises = promises(&turns, &hang);
    turn::print(&turns);
    print_others(&others);
    print_hang(&hang);
    if settings.only.is_empty() {
        result::save(
            "python",
            json!({
                "python": result::says(&python.to_string_lossy(), &["--version"])?,
                "settings": settings.pace.to_json(),
                "variants": turn::to_json(&turns),
                "called": others,
                "hang": hang,
                "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
            }),
        )?;
    }
    Ok(promises)
}

fn chosen(settings: &Settings) -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    for name in &settings.only {
        ensure!(VARIANTS.iter().any(|(known, _)| known == name), "there is no variant {name}");
    }
    let is_chosen =
        |(name, _): &(&str, &str)| settings.only.is_empty() || settings.only.iter().any(|only| only == name);
    Ok(VARIANTS.into_iter().filter(is_chosen).collect())
}

impl Measured {
    fn take_turn(
        &mut self,
        settings: &Settings,
        python: &Path,
        store: &Store,
        redis: &Redis,
    ) -> anyhow::Result<()> {
        let pace = &settings.pace;
        let server = Server::start(python, &self.turns.name, store, redis)?;
        let cpu_of = |id: Option<u32>| process::cpu_time(id.context("it has ended")?);
        let called = || anyhow::Ok((cpu_of(store.id())?, cpu_of(redis.id())?));
        let before = called()?;
        let write = |number: u64, request: &mut Vec<u8>| {
            let consumer = number.wrapping_mul(7_919) % pace.consumers;
            variant::write(request, "/identify", number, Some((consumer, "pro")), 0x0A00_0001);
        };
        self.turns
            .taken
            .push(Turn::take(pace, server.address, 200, write, || process::cpu_time(server.process.id()))?);
        let after = called()?;
        let requests = (pace.warm_up.max(pace.consumers) + pace.requests) as f64;
        let per_request =
            |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64() * 1e6 / requests;
        self.store_us.push(per_request(after.0, before.0));
        self.redis_us.push(per_request(after.1, before.1));
        Ok(())
    }
}

/// The application on uvicorn with one worker.
struct Server {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Server {
    fn start(python: &Path, variant: &str, store: &Store, redis: &Redis) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("tollgate-")?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = File::create(folder.path().join("log"))?;
        let plain = variant.strip_suffix(PLAIN);
        let (http, event_loop) = if plain.is_some() { ("h11", "asyncio") } else { ("httptools", "uvloop") };
        let mut command = Command::new(python);
        command
            .args(["-m", "uvicorn", "--factory", "app:served", "--app-dir"])
            .arg(scripts())
            .args(["--port", &address.port().to_string(), "--no-access-log", "--log-level", "warning"])
            .args(["--http", http, "--loop", event_loop])
            .envs([
                ("VARIANT", plain.unwrap_or(variant)),
                ("PYTHONDONTWRITEBYTECODE", "1"),
                ("REDIS", &redis.url()),
            ])
            .env("STORE", format!("http://{}", store.address()))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut process = Process::start(command).with_context(|| python.display().to_string())?;
        let answer = wait::until("the application", PATIENCE, || {
            if matches!(process.ended(), Ok(Some(_))) {
                return Some(None);
            }
            let request = Request::get("/identify").header("x-consumer-username", "consumer-000000");
            Client::to(address).send(&request).ok().map(Some)
        });
        let said = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        let answer = answer.ok().flatten().with_context(said)?;
        ensure!(answer.status == 200, "{variant} answers {answer:?}\n{}", said());
        let is_announced = answer.header("x-ratelimit-limit").is_some();
        ensure!(is_announced == variant.starts_with("tollgate"), "{variant} answers {answer:?}");
        Ok(Self { process, address, _folder: folder })
    }
}

fn scripts() -> PathBuf {
    workspace::root().join("bench/python")
}

/// The round in which the longest turn of the event loop was the shortest, with the longest wait of all rounds. What the gate does
/// comes in each of them, and what else the machine does, in few.
fn hangs(python: &Path, seconds: u32) -> anyhow::Result<Value> {
    const ROUNDS: usize = 3;
    let rounds = (0..ROUNDS).map(|_| hang(python, seconds)).collect::<anyhow::Result<Vec<Value>>>()?;
    let of = |round: &Value, what: &str| milliseconds(round, "tollgate", what) / 1e3;
    let longest = rounds.iter().map(|round| of(round, "wait_max")).fold(0.0, f64::max);
    let least = rounds.into_iter().min_by(|one, other| of(one, "cpu_max").total_cmp(&of(other, "cpu_max")));
    let mut least = least.context("there were no rounds")?;
    least["tollgate"]["wait_max"] = longest.into();
    Ok(least)
}

/// What `bench/python/hang.py` says of a store that hangs for so many seconds.
fn hang(python: &Path, seconds: u32) -> anyhow::Result<Value> {
    eprintln!("python: a store that hangs");
    let store = Store::start("memory")?;
    let id = store.id().context("the store has ended")?;
    let output = Command::new(python)
        .arg(scripts().join("hang.py"))
        .args([store.address().to_string(), id.to_string(), seconds.to_string()])
        .output()
        .with_context(|| python.display().to_string())?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn milliseconds(hang: &Value, of: &str, what: &str) -> f64 {
    hang[of][what].as_f64().unwrap_or(f64::NAN) * 1e3
}

fn promises(all: &[Turns], hang: &Value) -> Vec<Promise> {
    let added = |name: &str| Some(turn::by(all, name, "bare")? - 1.0);
    let by_tollgate = |name: &str| Some(added(name)? / added("tollgate")?);
    let at_least_twice = |what, measured| Promise { what, measured, at_least: 2.0, at_most: f64::INFINITY };
    let longest = |key: &str| hang[key].as_f64().unwrap_or(f64::NAN);
    let wait = milliseconds(hang, "tollgate", "wait_max") / 1e3 / (longest("timeout") + longest("tick"));
    let cpu = [
        turn::by(all, "tollgate", "bare")
            .map(|ratio| Promise::at_most("python: CPU a request, leased by bare", 1.30, ratio)),
        turn::by(all, "tollgate-plain", "bare-plain")
            .map(|ratio| Promise::at_most("python: the same without uvloop and httptools", 1.30, ratio)),
        by_tollgate("fastapi-limiter").map(|ratio| {
            at_least_twice("python: CPU that fastapi-limiter adds, by what Tollgate adds", ratio)
        }),
        by_tollgate("slowapi")
            .map(|ratio| at_least_twice("python: CPU that slowapi adds, by what Tollgate adds", ratio)),
    ];
    let while_it_hangs = [
        Promise::at_most(
            "python: CPU ms of the event loop's longest turn while the store hangs",
            1.0,
            milliseconds(hang, "tollgate", "cpu_max"),
        ),
        Promise::at_most("python: longest wait then, by timeout and a tick", 1.0, wait),
    ];
    cpu.into_iter().flatten().chain(while_it_hangs).collect()
}

fn print_others(others: &[Value]) {
    let mut rows = vec![["called by", "store CPU µs", "Redis CPU µs", ""].map(str::to_owned).to_vec()];
    rows.extend(others.iter().map(|of| {
        let number = |key: &str| format!("{:.2}", of[key].as_f64().unwrap_or(f64::NAN));
        let name = of["name"].as_str().unwrap_or_default().to_owned();
        vec![name, number("store_cpu_us"), number("redis_cpu_us"), String::new()]
    }));
    result::print_table(&rows);
}

fn print_hang(hang: &Value) {
    let columns = ["cpu_p999", "cpu_max", "wall_p999", "wall_max", "wait_p50", "wait_max"];
    let head = ["while the store hangs, ms"].into_iter().chain(columns).chain([""]).map(str::to_owned);
    let mut rows = vec![head.collect::<Vec<String>>()];
    for of in ["without", "tollgate"] {
        let numbers = columns.iter().map(|what| format!("{:.3}", milliseconds(hang, of, what)));
        rows.push([of.to_owned()].into_iter().chain(numbers).chain([String::new()]).collect());
    }
    result::print_table(&rows);
}
