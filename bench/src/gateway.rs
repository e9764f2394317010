//! Envoy's CPU time a request, requests a second and latency, with and without Tollgate.
//!
//! CPU a request is the figure: it says how many gateways a load needs, and it is the steadiest on a machine that
//! does other things too. The variants take turns (A B C … A B C …), so that what else goes on meets all of them.
//! Every turn has an Envoy of its own: two that do the same differ by up to a tenth for as long as they run, depending
//! on where their memory happens to lie, which no number of requests to the same two would show.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};
use tollgate_testkit::workspace;

use crate::load::Load;
use crate::result::{self, Promise, median};
use crate::variant::{COMPARED, Modules, STEPS, Variant};
use crate::{noop, process};

/// Tollgate's CPU a request by that of a filter that does nothing.
const PROMISED: f64 = 1.45;

/// A turn is as many parts, and the end of their cheapest quarter counts. What else the machine does can only add to a
/// part: it takes the caches and the other half of a core.
const SLICES: u64 = 20;

#[derive(Args)]
pub struct Settings {
    /// How often every variant gets its turn, with a gateway of its own.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests of one turn.
    #[arg(long, default_value_t = 30_000)]
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
    /// Other builds of Tollgate, to compare with.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    against: Vec<PathBuf>,
}

/// A variant, and what came of its turns.
struct Runner {
    variant: Variant,
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
    let mut runners: Vec<Runner> =
        chosen(settings)?.into_iter().map(|variant| Runner { variant, turns: Vec::new() }).collect();
    for round in 1..=settings.rounds {
        eprintln!("gateway: round {round} of {}", settings.rounds);
        for runner in &mut runners {
            runner.take_turn(&modules, settings)?;
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

fn chosen(settings: &Settings) -> anyhow::Result<Vec<Variant>> {
    for name in &settings.only {
        Variant::named(name)?;
    }
    let is_chosen = |variant: &&Variant| match settings.only.as_slice() {
        [] => settings.steps || COMPARED.iter().any(|compared| compared.name == variant.name),
        only => only.iter().any(|name| *name == variant.name),
    };
    let builds = settings.against.iter().map(|file| Variant::build(file));
    Ok(COMPARED.iter().chain(STEPS).filter(is_chosen).cloned().chain(builds).collect())
}

impl Runner {
    /// Starts a gateway, warms it up, and measures.
    fn take_turn(&mut self, modules: &Modules<'_>, settings: &Settings) -> anyhow::Result<()> {
        let variant = &self.variant;
        let gateway = variant.start(modules)?;
        variant.prove(&gateway)?;
        let mut load = Load::connect(gateway.address(), settings.connections)?;
        let mut send = |requests| {
            load.send(requests, variant.status, |number, request| {
                variant.write(number, settings.consumers, request);
            })
        };
        send(settings.warm_up.max(settings.consumers))?;
        let (mut cpu_us, mut elapsed) = (Vec::new(), Duration::ZERO);
        let mut latency = send(0)?.latency;
        for _ in 0..SLICES {
            let before = process::cpu_time(gateway.id())?;
            let outcome = send(settings.requests.div_ceil(SLICES))?;
            let cpu = process::cpu_time(gateway.id())?.saturating_sub(before);
            let wrong = outcome.answers - outcome.expected;
            let (name, all) = (&variant.name, outcome.answers);
            ensure!(wrong == 0, "{name}: {wrong} of {all} answers were not {}", variant.status);
            cpu_us.push(cpu.as_secs_f64() * 1e6 / all as f64);
            elapsed += outcome.elapsed;
            latency.add(outcome.latency)?;
        }
        self.turns.push(Turn {
            cpu_us: result::quartile(cpu_us),
            per_second: latency.len() as f64 / elapsed.as_secs_f64(),
            p50_us: latency.value_at_quantile(0.5) as f64 / 1_000.0,
            p99_us: latency.value_at_quantile(0.99) as f64 / 1_000.0,
        });
        Ok(())
    }

    fn median(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().map(of))
    }

    fn cpu_us(&self) -> f64 {
        self.median(|turn| turn.cpu_us)
    }

    /// CPU a request in the turn that was disturbed the least.
    fn least_cpu_us(&self) -> f64 {
        self.turns.iter().map(|turn| turn.cpu_us).fold(f64::INFINITY, f64::min)
    }

    /// CPU a request by another variant's.
    fn by(&self, other: &str, runners: &[Self]) -> Option<f64> {
        let other = runners.iter().find(|runner| runner.variant.name == other)?;
        Some(self.cpu_us() / other.cpu_us())
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
                cpu_us: self.cpu_us(),
                per_second: self.median(|turn| turn.per_second),
                p50_us: self.median(|turn| turn.p50_us),
                p99_us: self.median(|turn| turn.p99_us),
            }),
            "least_cpu_us": self.least_cpu_us(),
            "cpu_by_bare": self.by("bare", runners),
            "cpu_by_noop": self.by("noop", runners),
            "rounds": self.turns.iter().map(turn).collect::<Vec<_>>(),
        })
    }
}

fn promises(runners: &[Runner]) -> Vec<Promise> {
    let tollgate = runners.iter().find(|runner| runner.variant.name == "tollgate");
    let measured = tollgate.and_then(|tollgate| tollgate.by("noop", runners));
    let promise =
        |measured| Promise::at_most("gateway: CPU a request, Tollgate by no-op filter", PROMISED, measured);
    measured.map(promise).into_iter().collect()
}

fn print(runners: &[Runner]) {
    let head = ["variant", "CPU µs", "least", "by bare", "by no-op", "requests/s", "p50 µs", "p99 µs", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for runner in runners {
        let by = |other| runner.by(other, runners).map_or(String::new(), |ratio| format!("{ratio:.2}"));
        rows.push(vec![
            runner.variant.name.to_string(),
            format!("{:.2}", runner.cpu_us()),
            format!("{:.2}", runner.least_cpu_us()),
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
