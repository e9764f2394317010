//! `make run`: a real gateway with the filter, a table of what it does, and time to try it.

mod port;
mod table;
mod visit;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::{interrupt, wait};

/// Starts Envoy with the filter and a sample upstream, shows every tier at its limit, and stays until Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// The port of 127.0.0.1 that takes the requests.
    #[arg(long, default_value_t = 8000, env = "PORT")]
    port: u16,
    /// Check what the table shows, stop everything, and exit with 0 or 1.
    #[arg(long)]
    check: bool,
    /// Envoy's worker threads.
    #[arg(long, default_value_t = 2)]
    workers: u32,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(_) if interrupt::came() => ExitCode::from(130),
        Err(problem) => {
            eprintln!("{problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    interrupt::expect()?;
    let began = Instant::now();
    let address = SocketAddr::from(([127, 0, 0, 1], arguments.port));
    port::must_be_free(address)?;
    let upstream = Upstream::on_loopback().context("the sample upstream cannot listen on loopback")?;
    let config = Config::sample(upstream.address())?.listening(address);
    let mut envoy = Envoy::start(&config, arguments.workers)?;
    let started = began.elapsed();

    println!("Tollgate on {}, {} workers: http://{address}", envoy.version()?, arguments.workers);
    println!(
        "(started in {:.1} s; the sample upstream is at http://{})\n",
        started.as_secs_f64(),
        upstream.address()
    );
    let visits = visit::all(address)?;
    print!("{}", table::of(&visits));

    if arguments.check {
        return Ok(verdict(&visits));
    }
    println!("{}", to_try(address, envoy.admin()));
    let ended = wait::until_interrupted(|| envoy.ended().transpose());
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(status) => anyhow::bail!("Envoy ended: {}. Its log ends so:\n{}", status?, envoy.last_words()),
    }
}

/// Whether the gateway did what the policy says.
fn verdict(visits: &[visit::Visit]) -> ExitCode {
    let wrong: Vec<&String> = visits.iter().flat_map(|visit| &visit.wrong).collect();
    if wrong.is_empty() {
        println!("\nchecked: every line is as the policy in envoy/envoy.yaml says");
        return ExitCode::SUCCESS;
    }
    for problem in wrong {
        eprintln!("not as the policy says: {problem}");
    }
    ExitCode::FAILURE
}

fn to_try(gateway: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "
Try it:
  curl -i http://{gateway}/identify                              # a stranger: 30 a minute for an address
  curl -i -H 'apikey: acme-free-key' http://{gateway}/identify   # free: 100 a minute, 150 at once
  curl -i -H 'apikey: globex-pro-key' http://{gateway}/compare   # costs 2
  for i in {{1..80}}; do curl -s -o /dev/null -w '%{{http_code}} ' -H 'apikey: acme-free-key' \\
    http://{gateway}/compare; done                               # 75 × 2, then 429
  curl -s http://{admin}/stats/prometheus | grep ^tollgate_      # what was counted
Ctrl-C stops everything."
    )
}
