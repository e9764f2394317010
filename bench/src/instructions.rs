//! The instructions that Envoy executes per request, with and without Tollgate, as valgrind counts them.
//!
//! CPU time is what a request costs, but on a shared machine it differs from run to run by more than most changes gain.
//! Instructions do not: two runs of one build agree within half a percent. The kernel's instructions are not counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tollgate_testkit::envoy::Envoy;
use tollgate_testkit::{wait, workspace};

use crate::load::Load;
use crate::noop;
use crate::result::{self, Promise};
use crate::variant::{Modules, Variant};

/// Tollgate's most instructions per request, divided by those of a filter that does nothing.
const PROMISED: f64 = 1.50;

/// The variants that are counted by default: each takes a minute or two.
const USUAL: [&str; 5] = ["bare", "noop", "noop-restricted", "tollgate", "tollgate-unrestricted"];

/// One request at a time, so that each of them meets the same state.
const CONNECTIONS: usize = 1;

/// The longest that a dump may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct Settings {
    /// Requests that are counted.
    #[arg(long, default_value_t = 1_000)]
    requests: u64,
    /// Requests before them: V8 recompiles hot code, and every consumer gets its record.
    #[arg(long, default_value_t = 2_000)]
    warm_up: u64,
    /// Distinct consumers.
    #[arg(long, default_value_t = 1_000)]
    consumers: u64,
    /// Only these variants; no results are written.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Other builds of Tollgate to compare with; no results are written.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    against: Vec<PathBuf>,
}

struct Counted {
    variant: Variant,
    /// Instructions per request.
    instructions: f64,
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    let (noop, tollgate) = (noop::build()?, workspace::filter()?);
    let modules = Modules { noop: &noop, tollgate: &tollgate };
    let mut counted = Vec::new();
    for variant in chosen(settings)? {
        eprintln!("instructions: {}", variant.name);
        let instructions = count(&variant, &modules, settings)?;
        counted.push(Counted { variant, instructions });
    }
    print(&counted);
    let promises = promises(&counted);
    if settings.only.is_empty() && settings.against.is_empty() {
        result::save(
            "instructions",
            json!({
                "envoy": result::envoy()?,
                "valgrind": result::says("valgrind", &["--version"])?,
                "tollgate_wasm": result::module(&tollgate)?,
                "noop_wasm": result::module(&noop)?,
                "settings": {
                    "requests": settings.requests, "warm_up": settings.warm_up,
                    "connections": CONNECTIONS, "consumers": settings.consumers, "workers": 1,
                },
                "variants": counted.iter().map(|one| one.to_json(&counted)).collect::<Vec<_>>(),
                "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
            }),
        )?;
    }
    Ok(promises)
}

fn chosen(settings: &Settings) -> anyhow::Result<Vec<Variant>> {
    let names: Vec<&str> = match settings.only.as_slice() {
        [] => USUAL.to_vec(),
        only => only.iter().map(String::as_str).collect(),
    };
    let builds = settings.against.iter().map(|file| Ok(Variant::build(file)));
    names.into_iter().map(Variant::named).chain(builds).collect()
}

/// Instructions per request, in user space, of all of Envoy's threads.
fn count(variant: &Variant, modules: &Modules<'_>, settings: &Settings) -> anyhow::Result<f64> {
    let directory = tempfile::Builder::new().prefix("tollgate-instructions-").tempdir()?;
    let profile = directory.path().join("profile");
    let gateway = variant
        .start_under(
            modules,
            &[
                "valgrind",
                "--tool=callgrind",
                // V8 writes code as it runs.
                "--smc-check=all-non-file",
                // The Envoy of a virtual environment is a script that replaces itself with the program.
                "--trace-children=yes",
                &format!("--callgrind-out-file={}", profile.display()),
                &format!("--log-file={}", directory.path().join("log").display()),
            ],
        )
        .context("under valgrind (Debian: apt install valgrind)")?;
    variant.prove(&gateway)?;
    let mut load = Load::connect(gateway.address(), CONNECTIONS)?;
    let mut send = |requests| {
        load.send(requests, variant.status, |number, request| {
            variant.write(number, settings.consumers, request);
        })
    };
    send(settings.warm_up.max(settings.consumers))?;
    control("--zero", &gateway)?;
    let outcome = send(settings.requests)?;
    control("--dump", &gateway)?;
    let (name, all) = (&variant.name, outcome.answers);
    ensure!(outcome.expected == all, "{name}: of {all} answers not all were {}", variant.status);
    // The first dump has this name; Envoy's end would write another.
    let total = wait::until("callgrind's dump", PATIENCE, || total(&profile.with_extension("1")))?;
    Ok(total as f64 / all as f64)
}

/// Sends a command to the callgrind that runs Envoy.
fn control(what: &str, gateway: &Envoy) -> anyhow::Result<()> {
    let output = Command::new("callgrind_control").args([what, &gateway.id().to_string()]).output();
    let output = output.context("cannot start callgrind_control, a part of valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "callgrind_control {what}: {said}");
    Ok(())
}

/// The instructions in a profile, if it is complete.
fn total(profile: &Path) -> Option<u64> {
    let text = fs::read(profile).ok()?;
    total_in(&String::from_utf8_lossy(&text))
}

/// The last line of a profile says `totals: N`.
fn total_in(profile: &str) -> Option<u64> {
    profile.lines().rev().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

impl Counted {
    fn by(&self, other: &str, all: &[Self]) -> Option<f64> {
        let other = all.iter().find(|one| one.variant.name == other)?;
        Some(self.instructions / other.instructions)
    }

    fn to_json(&self, all: &[Self]) -> Value {
        json!({
            "name": self.variant.name,
            "about": self.variant.about,
            "instructions": self.instructions.round(),
            "by_bare": self.by("bare", all),
            "by_noop": self.by("noop", all),
        })
    }
}

fn promises(counted: &[Counted]) -> Vec<Promise> {
    let tollgate = counted.iter().find(|one| one.variant.name == "tollgate");
    let measured = tollgate.and_then(|tollgate| tollgate.by("noop", counted));
    let promise =
        |measured| Promise::at_most("instructions: a request, Tollgate by no-op filter", PROMISED, measured);
    measured.map(promise).into_iter().collect()
}

fn print(counted: &[Counted]) {
    let head = ["variant", "instructions", "by bare", "by no-op", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for one in counted {
        let by = |other| one.by(other, counted).map_or(String::new(), |ratio| format!("{ratio:.3}"));
        rows.push(vec![
            one.variant.name.to_string(),
            format!("{:.0}", one.instructions),
            by("bare"),
            by("noop"),
            one.variant.about.to_owned(),
        ]);
    }
    result::print_table(&rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_says_its_total_last() {
        let profile = "version: 1\nevents: Ir\nsummary: 12\n\nfn=(1)\n0x1 0 12\ntotals: 12\n";
        assert_eq!(total_in(profile), Some(12));
        assert_eq!(total_in(&profile[..profile.len() - 11]), None);
    }
}
