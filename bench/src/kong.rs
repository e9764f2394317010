//! The CPU time that the worker of an installed Kong uses per request: without a plugin, with a filter that does nothing, with
//! Kong's own limiter, and with Tollgate.
//!
//! Whoever runs this brings the Kong: `--kong` names the folder with its `bin/kong`, `/usr/local` for an official package.
//! Requests go on to an upstream, because a filter runs only for those; the CPU of the upstream, the clients, the store and
//! Redis is not counted.

mod installed;
mod variant;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tollgate_testkit::redis::Server as Redis;
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::{interrupt, workspace};

use self::installed::{Filters, Kong};
use self::variant::{Peers, VARIANTS, Variant};
use crate::noop;
use crate::result::{self, Promise};
use crate::turn::{self, Pace, Turn, Turns};

#[derive(Args)]
pub struct Settings {
    /// The folder that Kong is installed in, with bin/kong.
    #[arg(long, value_name = "PREFIX")]
    kong: PathBuf,
    #[command(flatten)]
    pace: Pace,
    /// Only these variants; no results are written.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Other builds of Tollgate to compare with.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    against: Vec<PathBuf>,
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    // Kong's own command starts nginx, which would outlive a benchmark that is simply killed.
    interrupt::expect()?;
    let (noop, tollgate) = (noop::build()?, workspace::filter()?);
    let filters = Filters::of(&tollgate, &noop, &settings.against)?;
    let (redis, store) = (Redis::start_volatile()?, Store::start("memory")?);
    let on_redis = Store::start(&redis.url())?;
    let upstream = Upstream::on_loopback()?;
    let peers = Peers {
        upstream: upstream.address(),
        redis: (Ipv4Addr::LOCALHOST, redis.port()).into(),
        store: store.address(),
        store_on_redis: on_redis.address(),
    };
    let variants = chosen(settings)?;
    let mut all: Vec<Turns> =
        variants.iter().map(|variant| Turns::of(&variant.name, variant.about)).collect();
    let mut version = String::new();
    for round in 1..=settings.pace.rounds {
        eprintln!("kong: round {round} of {}", settings.pace.rounds);
        for (variant, turns) in variants.iter().zip(&mut all) {
            let turn = (|| {
                let kong = Kong::start(&settings.kong, &filters, &variant.configuration(&peers))?;
                variant.prove(kong.address())?;
                version = kong.version()?;
                let write =
                    |number, request: &mut Vec<u8>| variant::write(number, settings.pace.consumers, request);
                Turn::take(&settings.pace, kong.address(), 200, write, || kong.worker_cpu_time())
            })();
            turns.taken.push(turn.with_context(|| turns.name.clone())?);
        }
    }
    let promises = promises(&all);
    turn::print(&all);
    if !settings.only.is_empty() {
        return Ok(promises);
    }
    result::save(
        "kong",
        json!({
            "kong": version,
            "tollgate_wasm": result::module(&tollgate)?,
            "noop_wasm": result::module(&noop)?,
            "settings": settings.pace.to_json(),
            "variants": turn::to_json(&all),
            "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
        }),
    )?;
    Ok(promises)
}

fn chosen(settings: &Settings) -> anyhow::Result<Vec<Variant>> {
    for name in &settings.only {
        VARIANTS
            .iter()
            .find(|variant| variant.name == *name)
            .with_context(|| format!("there is no variant {name}"))?;
    }
    let is_chosen = |variant: &&Variant| {
        settings.only.is_empty() || settings.only.iter().any(|name| *name == variant.name)
    };
    let builds = settings.against.iter().map(|file| Variant::build(file));
    Ok(VARIANTS.iter().filter(is_chosen).cloned().chain(builds).collect())
}

fn promises(all: &[Turns]) -> Vec<Promise> {
    let ratios = [
        ("kong: CPU a request, Tollgate by no-op filter", 1.40, "tollgate", "noop"),
        (
            "kong: CPU a request, Tollgate by Kong's own limiter, both local",
            0.60,
            "tollgate",
            "rate-limiting",
        ),
        (
            "kong: CPU a request, leased by Kong's own limiter, both on Redis",
            0.45,
            "leased-redis",
            "rate-limiting-redis",
        ),
    ];
    ratios
        .into_iter()
        .filter_map(|(what, at_most, one, other)| {
            Some(Promise::at_most(what, at_most, turn::by(all, one, other)?))
        })
        .collect()
}
