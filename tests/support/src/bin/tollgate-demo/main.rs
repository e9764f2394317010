//! `make run`: two real gateways with the filter, which share one store; a table of what they do; and time to try it.

mod port;
mod stage;
mod table;
mod visit;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use stage::{Places, Stage};
use tollgate_testkit::{interrupt, wait};
use visit::{Scene, Visit};

/// A store's default port.
const STORE_PORT: u16 = 7600;

/// Starts two Envoys with the filter, a store that they share and a sample upstream, takes every tier to its limit, and runs
/// until Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// The port of 127.0.0.1 that takes the requests; the second gateway takes the next one, or any that is free.
    #[arg(long, default_value_t = 8000, env = "PORT")]
    port: u16,
    /// The Redis with the store's accounts: redis://HOST:PORT, or any other --backend of `tollgate store`. Without it:
    /// its embedded default, in a folder that is removed at the end.
    #[arg(long, value_name = "URL", env = "REDIS", hide_env_values = true)]
    redis: Option<String>,
    /// An application, as 127.0.0.1:9000, for the paths that the sample does not route.
    #[arg(long, value_name = "IP:PORT", env = "UPSTREAM")]
    upstream: Option<SocketAddr>,
    /// Check what the table shows, stop everything, and exit with 0 or 1.
    #[arg(long)]
    check: bool,
    /// Worker threads of each Envoy.
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
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let first = loopback(arguments.port);
    port::must_be_free(first)?;
    let second = port::free(loopback(arguments.port.wrapping_add(1)))?;
    let places = Places {
        gateways: [first, second],
        store: port::free(loopback(STORE_PORT))?,
        application: arguments.upstream,
    };
    let redis = arguments.redis.as_deref().filter(|url| !url.is_empty());
    let namespace = redis.map_or("fingerprint".into(), |_| namespace_of_this_run());
    let mut stage = Stage::set(&places, arguments.workers, redis.unwrap_or("redb"), &namespace)?;
    println!("{}", said_of(&stage, arguments, redis.is_some(), began)?);

    let visits =
        visit::all(&Scene { gateways: stage.addresses(), store: &stage.store, namespace: &namespace })?;
    print!("{}", table::of(&visits));
    if arguments.check {
        return Ok(verdict(&visits));
    }
    println!("{}", to_try(&stage, &namespace));
    match wait::until_interrupted(|| stage.ended().transpose()) {
        None => Ok(ExitCode::SUCCESS),
        Some(ended) => anyhow::bail!(ended?),
    }
}

/// A Redis may hold what others need and what an earlier run left. A new namespace neither touches nor meets any of that.
#[allow(clippy::disallowed_methods, reason = "the time makes the name one that no earlier run had")]
fn namespace_of_this_run() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("demo-{}", now.as_millis())
}

fn said_of(stage: &Stage, arguments: &Arguments, is_named: bool, began: Instant) -> anyhow::Result<String> {
    let [first, second] = &stage.gateways;
    let backend =
        if is_named { "on the backend that you named" } else { "on its embedded default, anew each time" };
    Ok(format!(
        "Tollgate on two gateways, {}, {} workers each:
  http://{} and http://{}
They share the store at http://{} ({backend}); the sample upstream is at http://{}.
(started in {:.1} s)
",
        first.version()?,
        arguments.workers,
        first.address(),
        second.address(),
        stage.store.address(),
        stage.upstream.address(),
        began.elapsed().as_secs_f64(),
    ))
}

/// Whether the gateways and the store did what the policy says.
fn verdict(visits: &[Visit]) -> ExitCode {
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

/// Commands to try, with what each shows.
fn to_try(stage: &Stage, namespace: &str) -> String {
    let [gateway, other] = stage.addresses();
    let (store, admin) = (stage.store.address(), stage.gateways[0].admin());
    let commands = [
        ("an anonymous client: 30 a minute for an address", format!("curl -i http://{gateway}/identify")),
        (
            "free: 100 a minute, 150 at once",
            format!("curl -i -H 'apikey: acme-free-key' http://{gateway}/identify"),
        ),
        (
            "the second gateway: the same bucket",
            format!("curl -i -H 'apikey: acme-free-key' http://{other}/identify"),
        ),
        ("costs 2", format!("curl -i -H 'apikey: globex-pro-key' http://{gateway}/compare")),
        (
            "75 × 2 in all pass, then 429",
            format!(
                "for i in {{1..80}}; do curl -s -o /dev/null -w '%{{http_code}} ' -H 'apikey: acme-free-key' \\\n    \
                 http://{gateway}/compare; done"
            ),
        ),
        (
            "what it used this month, at both gateways",
            format!("curl http://{store}/v1/usage/{namespace}/acme-free"),
        ),
        (
            "an override: pro at both gateways, within 2 s",
            format!(
                "curl -X PUT http://{store}/v1/overrides/{namespace}/acme-free \\\n    \
                 -H 'content-type: application/json' -d '{{\"tier\": \"pro\", \"reason\": \"a trial\"}}'"
            ),
        ),
        (
            "what the first gateway counted",
            format!("curl -s http://{admin}/stats/prometheus | grep ^tollgate_"),
        ),
    ];
    let lines = commands.map(|(what, command)| format!("  # {what}\n  {command}\n"));
    format!("\nTry it:\n{}Ctrl-C stops everything.", lines.concat())
}
