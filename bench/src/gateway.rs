//! Envoy's CPU time per request, requests per second and latency, with and without Tollgate.
//!
//! CPU per request is the key figure: it says how many gateways a load needs, and it is the steadiest on a machine that does
//! other things, too.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tollgate_testkit::workspace;

use crate::result::{self, Promise};
use crate::turn::{self, Pace, Turn, Turns};
use crate::variant::{COMPARED, Modules, STEPS, Variant};
use crate::{noop, process};

/// Tollgate's most CPU per request, divided by that of a filter that does nothing.
const PROMISED: f64 = 1.45;

#[derive(Args)]
pub struct Settings {
    #[command(flatten)]
    pace: Pace,
    /// Also run the steps that show where Tollgate's time goes.
    #[arg(long)]
    steps: bool,
    /// Only these variants; no results are written.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Other builds of Tollgate to compare with.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    against: Vec<PathBuf>,
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    let (noop, tollgate) = (noop::build()?, workspace::filter()?);
    let modules = Modules { noop: &noop, tollgate: &tollgate };
    let variants = chosen(settings)?;
    let mut all: Vec<Turns> =
        variants.iter().map(|variant| Turns::of(&variant.name, variant.about)).collect();
    for round in 1..=settings.pace.rounds {
        eprintln!("gateway: round {round} of {}", settings.pace.rounds);
        for (variant, turns) in variants.iter().zip(&mut all) {
            let turn = take_turn(variant, &modules, &settings.pace);
            turns.taken.push(turn.with_context(|| turns.name.clone())?);
        }
    }
    let promises = promises(&all);
    turn::print(&all);
    if !settings.only.is_empty() {
        return Ok(promises);
    }
    result::save(
        "gateway",
        json!({
            "envoy": result::envoy()?,
            "tollgate_wasm": result::module(&tollgate)?,
            "noop_wasm": result::module(&noop)?,
            "settings": settings.pace.to_json(),
            "variants": turn::to_json(&all),
            "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
        }),
    )?;
    Ok(promises)
}

/// Starts a gateway, has it prove which variant it is, and measures it.
fn take_turn(variant: &Variant, modules: &Modules<'_>, pace: &Pace) -> anyhow::Result<Turn> {
    let gateway = variant.start(modules)?;
    variant.prove(&gateway)?;
    let write = |number, request: &mut Vec<u8>| variant.write(number, pace.consumers, request);
    Turn::take(pace, gateway.address(), variant.status, write, || process::cpu_time(gateway.id()))
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

fn promises(all: &[Turns]) -> Vec<Promise> {
    let promise =
        |measured| Promise::at_most("gateway: CPU a request, Tollgate by no-op filter", PROMISED, measured);
    turn::by(all, "tollgate", "noop").map(promise).into_iter().collect()
}
