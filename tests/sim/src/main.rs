//! Runs simulations: see `--help`.

use std::hash::BuildHasher;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tollgate_sim::plan::{Plan, SECOND};
use tollgate_sim::random::mixed;
use tollgate_sim::run::{keep_panics, run};
use tollgate_sim::scenario::{self, ALL};
use tollgate_sim::{report, shrink};

/// A tenth of a run's time goes into allocating messages and records.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulates whole clusters of Tollgate in one thread, on a virtual clock. By default, it runs 300 fresh seeds.
#[derive(Parser)]
struct Asked {
    /// Run only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Run only this scenario.
    #[arg(long)]
    scenario: Option<String>,
    /// Run this many seeds.
    #[arg(long)]
    seeds: Option<u64>,
    /// Run for this many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Run until this many requests were simulated.
    #[arg(long)]
    requests: Option<u64>,
    /// The first seed; drawn at random by default.
    #[arg(long)]
    base: Option<u64>,
    /// Stop at the first violation.
    #[arg(long)]
    stop_at_first: bool,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Do not look for a smaller plan with the same violation.
    #[arg(long)]
    no_shrink: bool,
    /// Measure the simulator's speed with 3 gateways of 4 workers and 100 clients.
    #[arg(long)]
    bench: bool,
    /// Print the scenarios.
    #[arg(long)]
    list: bool,
}

/// Sums over all runs.
#[derive(Default)]
struct Sums {
    seeds: u64,
    requests: u64,
    calls: u64,
    simulated: u64,
    violations: u64,
}

impl Asked {
    fn plan(&self, seed: u64) -> Plan {
        match &self.scenario {
            Some(name) => scenario::named(name).map_or_else(|| wrong(name), |scenario| scenario.plan(seed)),
            None => scenario::of_seed(seed).plan(seed),
        }
    }

    /// Whether enough seeds were run.
    fn is_over(&self, sums: &Sums, began: Instant) -> bool {
        if self.seed.is_some() {
            return sums.seeds == 1;
        }
        if let Some(minutes) = self.minutes {
            return began.elapsed() >= Duration::from_secs(60 * minutes);
        }
        if let Some(requests) = self.requests {
            return sums.requests >= requests;
        }
        sums.seeds >= self.seeds.unwrap_or(300)
    }
}

fn wrong(name: &str) -> ! {
    let names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
    eprintln!("there is no scenario {name:?}; write one of {}", names.join(", "));
    std::process::exit(2);
}

fn main() -> ExitCode {
    let asked = Asked::parse();
    if asked.list {
        ALL.iter().for_each(|scenario| println!("{}", scenario.name));
        return ExitCode::SUCCESS;
    }
    if asked.bench {
        return bench();
    }
    keep_panics();
    let base = asked.base.unwrap_or_else(|| std::hash::RandomState::new().hash_one("tollgate"));
    if asked.seed.is_none() {
        println!("seeds from {base}: --base {base} runs the same ones again");
    }
    let began = Instant::now();
    let mut sums = Sums::default();
    let mut said = Instant::now();
    while !asked.is_over(&sums, began) {
        let seed = asked.seed.unwrap_or_else(|| mixed(base.wrapping_add(sums.seeds)) >> 1);
        let plan = asked.plan(seed);
        let outcome = run(&plan, asked.trace);
        sums.seeds += 1;
        sums.requests += outcome.counts.requests;
        sums.calls += outcome.counts.calls;
        sums.simulated += plan.length;
        if asked.seed.is_some() {
            println!("{:?} {:?}, digest {:016x}", outcome.counts, outcome.tally, outcome.digest);
        }
        for (at, _, line) in &outcome.lines {
            println!("{:>6}.{:06} {line}", at / SECOND, at % SECOND / 1_000);
        }
        if let Some(violation) = outcome.violation {
            sums.violations += 1;
            println!(
                "violation: {} seed={seed} scenario={} after_seeds={}",
                violation.check, plan.scenario, sums.seeds
            );
            let small = if asked.no_shrink { plan.clone() } else { shrink::shrink(&plan, violation.check) };
            let shown = run(&small, false).violation.unwrap_or(violation);
            println!("{}", report::describe(&small, &shown));
            println!("again: make sim SEED={seed} SCENARIO={}\n", plan.scenario);
            if asked.stop_at_first {
                break;
            }
        }
        if said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            say(&sums, began);
        }
    }
    say(&sums, began);
    if sums.violations > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn say(sums: &Sums, began: Instant) {
    let elapsed = began.elapsed().as_secs_f64();
    let simulated = sums.simulated as f64 / 1e9;
    println!(
        "{} seeds, {} requests, {} calls, {:.1} simulated hours in {elapsed:.1} s ({:.0} times as fast), {} violations",
        sums.seeds,
        sums.requests,
        sums.calls,
        simulated / 3_600.0,
        simulated / elapsed,
        sums.violations
    );
}

fn bench() -> ExitCode {
    let mut sums = Sums::default();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        let plan = scenario::bench(sums.seeds);
        let outcome = run(&plan, false);
        sums.seeds += 1;
        sums.requests += outcome.counts.requests;
        sums.calls += outcome.counts.calls;
        sums.simulated += plan.length;
        sums.violations += u64::from(outcome.violation.is_some());
        if let Some(violation) = outcome.violation {
            println!("{violation:?}");
        }
    }
    println!("3 gateways of 4 workers, 100 clients:");
    say(&sums, began);
    ExitCode::SUCCESS
}
