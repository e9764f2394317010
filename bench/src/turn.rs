//! One turn of one variant, and the result of many.
//!
//! The variants take turns (A B C … A B C …), so that the machine's other load meets all of them. Every turn has a new gateway:
//! two that do the same can differ by up to a tenth for as long as they run, depending on where their memory happens to lie,
//! which no number of requests to the same two would show.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};
use tollgate_testkit::interrupt;

use crate::load::Load;
use crate::result::{self, median};

/// A turn has this many parts, and the upper end of the cheapest quarter of them counts. Whatever else runs on the machine can
/// only make a part dearer: it takes the caches and the other half of a core.
const SLICES: u64 = 20;

/// How long turns are, and how many clients come.
#[derive(Args, Clone)]
pub struct Pace {
    /// How often every variant gets its turn, with a gateway of its own.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Requests of one turn.
    #[arg(long, default_value_t = 30_000)]
    pub requests: u64,
    /// Requests before each turn that are not measured.
    #[arg(long, default_value_t = 10_000)]
    pub warm_up: u64,
    /// Simultaneous clients, each with one request under way.
    #[arg(long, default_value_t = 30)]
    pub connections: usize,
    /// Distinct consumers.
    #[arg(long, default_value_t = 1_000)]
    pub consumers: u64,
}

impl Pace {
    pub fn to_json(&self) -> Value {
        json!({
            "rounds": self.rounds, "requests": self.requests, "warm_up": self.warm_up,
            "connections": self.connections, "consumers": self.consumers, "workers": 1,
        })
    }
}

/// The result of one turn.
pub struct Turn {
    pub cpu_us: f64,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

impl Turn {
    /// Warms up the gateway at `address` and measures it. `write` appends request number n, `status` is the answer that each
    /// should get, and `cpu_time` is what the gateway has used so far.
    pub fn take(
        pace: &Pace,
        address: SocketAddr,
        status: u16,
        mut write: impl FnMut(u64, &mut Vec<u8>),
        cpu_time: impl Fn() -> anyhow::Result<Duration>,
    ) -> anyhow::Result<Self> {
        let mut load = Load::connect(address, pace.connections)?;
        let mut send = |requests| load.send(requests, status, &mut write);
        send(pace.warm_up.max(pace.consumers))?;
        let (mut cpu_us, mut elapsed) = (Vec::new(), Duration::ZERO);
        let mut latency = send(0)?.latency;
        for _ in 0..SLICES {
            ensure!(!interrupt::came(), "interrupted");
            let before = cpu_time()?;
            let outcome = send(pace.requests.div_ceil(SLICES))?;
            let cpu = cpu_time()?.saturating_sub(before);
            let (wrong, all) = (outcome.answers - outcome.expected, outcome.answers);
            ensure!(wrong == 0, "{wrong} of {all} answers were not {status}");
            cpu_us.push(cpu.as_secs_f64() * 1e6 / all as f64);
            elapsed += outcome.elapsed;
            latency.add(outcome.latency)?;
        }
        Ok(Self {
            cpu_us: result::quartile(cpu_us),
            per_second: latency.len() as f64 / elapsed.as_secs_f64(),
            p50_us: latency.value_at_quantile(0.5) as f64 / 1_000.0,
            p99_us: latency.value_at_quantile(0.99) as f64 / 1_000.0,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "cpu_us": self.cpu_us, "requests_per_second": self.per_second,
            "p50_us": self.p50_us, "p99_us": self.p99_us,
        })
    }
}

/// A variant's name and turns.
pub struct Turns {
    pub name: String,
    pub about: &'static str,
    pub taken: Vec<Turn>,
}

impl Turns {
    pub fn of(name: &str, about: &'static str) -> Self {
        Self { name: name.to_owned(), about, taken: Vec::new() }
    }

    fn median(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.taken.iter().map(of))
    }

    pub fn cpu_us(&self) -> f64 {
        self.median(|turn| turn.cpu_us)
    }

    /// CPU per request in the turn that was disturbed the least.
    fn least_cpu_us(&self) -> f64 {
        self.taken.iter().map(|turn| turn.cpu_us).fold(f64::INFINITY, f64::min)
    }

    fn to_json(&self, all: &[Self]) -> Value {
        json!({
            "name": self.name,
            "about": self.about,
            "median": Turn {
                cpu_us: self.cpu_us(),
                per_second: self.median(|turn| turn.per_second),
                p50_us: self.median(|turn| turn.p50_us),
                p99_us: self.median(|turn| turn.p99_us),
            }.to_json(),
            "least_cpu_us": self.least_cpu_us(),
            "cpu_by_bare": by(all, &self.name, "bare"),
            "cpu_by_noop": by(all, &self.name, "noop"),
            "rounds": self.taken.iter().map(Turn::to_json).collect::<Vec<_>>(),
        })
    }
}

/// CPU per request of one variant, divided by another's.
pub fn by(all: &[Turns], one: &str, other: &str) -> Option<f64> {
    let cpu_us = |name| all.iter().find(|turns| turns.name == name).map(Turns::cpu_us);
    Some(cpu_us(one)? / cpu_us(other)?)
}

pub fn to_json(all: &[Turns]) -> Value {
    all.iter().map(|turns| turns.to_json(all)).collect()
}

pub fn print(all: &[Turns]) {
    let head = ["variant", "CPU µs", "least", "by bare", "by no-op", "requests/s", "p50 µs", "p99 µs", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for turns in all {
        let by = |other| by(all, &turns.name, other).map_or(String::new(), |ratio| format!("{ratio:.2}"));
        rows.push(vec![
            turns.name.clone(),
            format!("{:.2}", turns.cpu_us()),
            format!("{:.2}", turns.least_cpu_us()),
            by("bare"),
            by("noop"),
            format!("{:.0}", turns.median(|turn| turn.per_second)),
            format!("{:.0}", turns.median(|turn| turn.p50_us)),
            format!("{:.0}", turns.median(|turn| turn.p99_us)),
            turns.about.to_owned(),
        ]);
    }
    result::print_table(&rows);
}
