//! Envoy's CPU time a request, requests a second and latency, with and without Tollgate.
//!
//! CPU a request is the figure: it says how many gateways a load needs, and it is the steadiest on a machine that
//! does other things too. The variants take turns (A B C … A B C …), each in an Envoy of its own that stays up, and
//! each round compares what ran within the same minute.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};
use tollgate_testkit::envoy::Envoy;
use tollgate_testkit::workspace;

use crate::load::{Load, Outcome};
use crate::result::{self, Promise, median};
use crate::variant::{COMPARED, Modules, STEPS, Variant};
use crate::{noop, process};

/// Tollgate's CPU a request by that of a filter that does nothing.
const PROMISED: f64 = 1.45;

#[derive(Args)]
pub struct Settings {
    /// How often every variant gets its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests of one turn.
    #[arg(long, default_value_t = 50_000)]
    requests: u64,
    /// Requests before each turn that are not measured.
    #[arg(long, default_value_t = 10_000)]
    warm_up: u64,
    /// Clients at once, each with one request under way.
    #[arg(long, default_value_t = 30)]
    connections: usize,
    /// Distinct consumers.
    #[arg(long, default_value_t = 1_000)]
    consumers: u64,
    /// Also the steps that show where Tollgate's time goes.
    #[arg(long)]
    steps: bool,
    /// These variants alone; no results are written.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// A variant, its gateway, and what came of its turns.
struct Runner {
    variant: &'static Variant,
    gateway: Envoy,
    load: Load,
    turns: Vec<Turn>,
}

struct Turn {
    cpu_us: f64,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    let (noop, tollgate) = (noop::build()?, workspace::filter()?);
    let modules = Modules { noop: &noop, tollgate: &tollgate };
    let mut runners = Vec::new();
    for variant in chosen(settings)? {
        let gateway = variant.start(&modules)?;
        variant.prove(&gateway)?;
        let load = Load::connect(gateway.address(), settings.connections)?;
        runners.push(Runner { variant, gateway, load, turns: Vec::new() });
    }
    for round in 1..=settings.rounds {
        eprintln!("gateway: round {round} of {}", settings.rounds);
        for runner in &mut runners {
            runner.take_turn(settings)?;
        }
    }
    let promises = promises(&runners);
    print(&runners);
    if !settings.only.is_empty() {
        return Ok(promises);
    }
    result::save(
        "gateway",
        json!({
            "envoy": result::envoy()?,
            "tollgate_wasm": result::module(&tollgate)?,
            "noop_wasm": result::module(&noop)?,
            "settings": {
                "rounds": settings.rounds, "requests": settings.requests, "warm_up": settings.warm_up,
                "connections": settings.connections, "consumers": settings.consumers, "workers": 1,
            },
            "variants": runners.iter().map(|runner| runner.to_json(&runners)).collect::<Vec<_>>(),
            "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
        }),
    )?;
    Ok(promises)
}

fn chosen(settings: &Settings) -> anyhow::Result<Vec<&'static Variant>> {
    let all = || COMPARED.iter().chain(STEPS);
    for name in &settings.only {
        ensure!(all().any(|variant| variant.name == name), "there is no variant {name}");
    }
    if !settings.only.is_empty() {
        return Ok(all().filter(|variant| settings.only.iter().any(|name| name == variant.name)).collect());
    }
    Ok(COMPARED.iter().chain(if settings.steps { STEPS } else { &[] }).collect())
}

impl Runner {
    fn take_turn(&mut self, settings: &Settings) -> anyhow::Result<()> {
        self.send(settings.warm_up.max(settings.consumers), settings)?;
        let id = self.gateway.id();
        let before = process::cpu_time(id)?;
        let outcome = self.send(settings.requests, settings)?;
        let cpu = process::cpu_time(id)?.saturating_sub(before);
        let (name, status) = (self.variant.name, self.variant.status);
        ensure!(
            outcome.expected == outcome.answers,
            "{name}: {} of {} answers were not {status}",
            outcome.answers - outcome.expected,
            outcome.answers
        );
        let latency = |quantile| outcome.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        self.turns.push(Turn {
            cpu_us: micros(cpu) / outcome.answers as f64,
            per_second: outcome.answers as f64 / outcome.elapsed.as_secs_f64(),
            p50_us: latency(0.5),
            p99_us: latency(0.99),
        });
        Ok(())
    }

    fn send(&mut self, requests: u64, settings: &Settings) -> anyhow::Result<Outcome> {
        let Self { variant, load, .. } = self;
        load.send(requests, variant.status, |number, request| {
            variant.write(number, settings.consumers, request)
        })
    }

    fn median(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().map(of))
    }

    /// CPU a request by another variant's: the median of what each round says.
    fn by(&self, other: &str, runners: &[Self]) -> Option<f64> {
        let other = runners.iter().find(|runner| runner.variant.name == other)?;
        Some(median(self.turns.iter().zip(&other.turns).map(|(mine, theirs)| mine.cpu_us / theirs.cpu_us)))
    }

    fn to_json(&self, runners: &[Self]) -> Value {
        let turn = |turn: &Turn| {
            json!({
                "cpu_us": turn.cpu_us, "requests_per_second": turn.per_second,
                "p50_us": turn.p50_us, "p99_us": turn.p99_us,
            })
        };
        json!({
            "name": self.variant.name,
            "about": self.variant.about,
            "median": turn(&Turn {
                cpu_us: self.median(|turn| turn.cpu_us),
                per_second: self.median(|turn| turn.per_second),
                p50_us: self.median(|turn| turn.p50_us),
                p99_us: self.median(|turn| turn.p99_us),
            }),
            "cpu_by_bare": self.by("bare", runners),
            "cpu_by_noop": self.by("noop", runners),
            "rounds": self.turns.iter().map(turn).collect::<Vec<_>>(),
        })
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn promises(runners: &[Runner]) -> Vec<Promise> {
    let tollgate = runners.iter().find(|runner| runner.variant.name == "tollgate");
    let measured = tollgate.and_then(|tollgate| tollgate.by("noop", runners));
    let promise = |measured| Promise {
        what: "gateway: CPU a request, Tollgate by no-op filter",
        measured,
        at_least: 0.0,
        at_most: PROMISED,
    };
    measured.map(promise).into_iter().collect()
}

fn print(runners: &[Runner]) {
    let head = ["variant", "CPU µs", "by bare", "by no-op", "requests/s", "p50 µs", "p99 µs", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for runner in runners {
        let by = |other| runner.by(other, runners).map_or(String::new(), |ratio| format!("{ratio:.2}"));
        rows.push(vec![
            runner.variant.name.to_owned(),
            format!("{:.2}", runner.median(|turn| turn.cpu_us)),
            by("bare"),
            by("noop"),
            format!("{:.0}", runner.median(|turn| turn.per_second)),
            format!("{:.0}", runner.median(|turn| turn.p50_us)),
            format!("{:.0}", runner.median(|turn| turn.p99_us)),
            runner.variant.about.to_owned(),
        ]);
    }
    result::print_table(&rows);
}
