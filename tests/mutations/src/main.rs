//! Makes each of the faults in `tests/mutations/*.patch`, one after the other, in a copy of the tree, and checks that it is
//! caught: see `--help` and the README beside them.

// In a test, a missing value is a failure like any other.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]

mod catcher;
mod fault;
mod scratch;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

use crate::catcher::{Simulator, failing};
use crate::fault::{Fault, Test};
use crate::scratch::Scratch;
use crate::table::Fate;

/// Makes deliberate faults and checks that they are caught: by the simulator, or by a test where the simulator cannot see them.
#[derive(Parser)]
struct Asked {
    /// Only faults whose name contains this; can be given more than once.
    #[arg(long)]
    only: Vec<String>,
    /// Seeds that the simulator tries before a fault counts as not seen.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The simulator's first seed; the default is that of the tests.
    #[arg(long, default_value_t = 42)]
    base: u64,
    /// Let the simulator look even for faults that it is not expected to see.
    #[arg(long)]
    simulate_all: bool,
    /// Write the table into docs/mutations.md.
    #[arg(long, conflicts_with = "only")]
    table: bool,
    /// Print the faults.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Asked::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("mutations: {why:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all faults were caught.
fn run(asked: &Asked) -> Result<bool> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize()?;
    let faults = faults(&root, &asked.only)?;
    if asked.list {
        faults.iter().for_each(|fault| println!("{}: {}", fault.name, fault.what));
        return Ok(true);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let scratch = Scratch::new(&root, &root.join(target).join("mutations"))?;
    let simulator = Simulator { base: asked.base, seeds: asked.seeds };
    // This names what has been copied, whatever is written here meanwhile.
    let commit = commit(&root)?;
    let began = Instant::now();
    baseline(&scratch, &faults, simulator, asked.simulate_all)?;
    println!("without a fault nothing is found, after {} s", began.elapsed().as_secs());
    let mut fates = Vec::new();
    for fault in faults {
        let fate = fate_of(&scratch, &fault, simulator, asked.simulate_all);
        println!("{:<48} {fate}", fault.name);
        fates.push((fault, fate));
    }
    scratch.restore()?;
    let caught = fates.iter().filter(|(_, fate)| fate.is_caught()).count();
    println!("{caught} of {} caught, after {} s", fates.len(), began.elapsed().as_secs());
    if asked.table {
        let path = root.join("docs/mutations.md");
        let document = fs::read_to_string(&path).context("docs/mutations.md")?;
        fs::write(&path, table::into(&document, &fates, simulator, &commit)?)?;
    }
    Ok(caught == fates.len())
}

/// The faults, in order of their names.
fn faults(root: &Path, only: &[String]) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for entry in fs::read_dir(root.join("tests/mutations"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_wanted = only.is_empty() || only.iter().any(|only| name.contains(only.as_str()));
        if is_wanted && path.extension().is_some_and(|ending| ending == "patch") {
            faults.push(Fault::parse(&name, &fs::read_to_string(&path)?)?);
        }
    }
    ensure!(!faults.is_empty(), "there is no such fault; --list prints them");
    faults.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(faults)
}

/// Checks that every fault can be made, and that nothing is found without one.
fn baseline(scratch: &Scratch, faults: &[Fault], simulator: Simulator, simulates_all: bool) -> Result<()> {
    let mut is_stale = false;
    for fault in faults {
        scratch.restore()?;
        if let Err(why) = scratch.apply(&fault.text) {
            println!("{:<48} does not apply: {why}", fault.name);
            is_stale = true;
        }
    }
    ensure!(!is_stale, "make these patches anew");
    scratch.restore()?;
    if (simulates_all || faults.iter().any(|fault| fault.is_simulated))
        && let Some(found) = simulator.look(scratch, "baseline")?
    {
        bail!("without a fault the simulator finds {found:?}: nothing can be learned from it");
    }
    let mut tests: Vec<Test> = faults.iter().flat_map(|fault| fault.tests.clone()).collect();
    tests.sort();
    tests.dedup();
    if let Some(test) = failing(scratch, &tests, "baseline")?.first() {
        bail!("without a fault the test {} fails: nothing can be learned from it", test.name);
    }
    Ok(())
}

/// Makes a fault and looks for it.
fn fate_of(scratch: &Scratch, fault: &Fault, simulator: Simulator, simulates_all: bool) -> Fate {
    let look = || -> Result<Fate> {
        scratch.restore()?;
        scratch.apply(&fault.text)?;
        if (fault.is_simulated || simulates_all)
            && let Some(found) = simulator.look(scratch, &fault.name)?
        {
            return Ok(Fate::Simulated(found));
        }
        let failing = failing(scratch, &fault.tests, &fault.name)?;
        Ok(failing.into_iter().next().map_or(Fate::Survived, Fate::Tested))
    };
    look().unwrap_or_else(|why| Fate::Void(format!("{why:#}")))
}

/// The current commit, with a plus if files differ from it.
fn commit(root: &Path) -> Result<String> {
    let git = |words: &[&str]| -> Result<String> {
        let said = Command::new("git").args(words).current_dir(root).output()?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    let is_changed = !git(&["status", "--porcelain", "--", "src", "crates", "tests"])?.is_empty();
    Ok(git(&["rev-parse", "--short", "HEAD"])? + if is_changed { "+" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::Stdio;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
    }

    /// Making all faults takes hours; this test sees at once that the product has moved on from one.
    #[test]
    fn every_fault_can_still_be_made() {
        let root = root();
        let mut stale = faults(&root, &[]).unwrap();
        stale.retain(|fault| !applies(&root, &fault.text));
        let names: Vec<_> = stale.iter().map(|fault| &fault.name).collect();
        assert!(names.is_empty(), "make these patches anew: {names:#?}");
    }

    /// The same for a test that has been renamed, moved or removed.
    #[test]
    fn every_test_that_should_catch_a_fault_exists() {
        let root = root();
        let mut missing = Vec::new();
        for fault in faults(&root, &[]).unwrap() {
            let lost = fault.tests.iter().filter(|test| !exists(&root, test));
            missing
                .extend(lost.map(|test| format!("{}: {} {}", fault.name, test.target.join(" "), test.name)));
        }
        assert!(missing.is_empty(), "there are no such tests: {missing:#?}");
    }

    /// Whether `patch` applies to the tree, as [`Scratch::apply`] would do it.
    fn applies(root: &Path, patch: &str) -> bool {
        let mut git = Command::new("git")
            .args(["apply", "-C1", "--recount", "--check", "-"])
            .current_dir(root)
            // A tree without a repository of its own may lie within another one, where git would skip its files.
            .env("GIT_CEILING_DIRECTORIES", root.parent().unwrap_or(root))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        git.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
        git.wait().unwrap().success()
    }

    /// Whether a file of one of the modules in the test's name has its function.
    fn exists(root: &Path, test: &Test) -> bool {
        let (package, target) = match &test.target.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["-p", package, "--lib"] => (*package, "src".to_owned()),
            ["-p", package, "--test", target] => (*package, format!("tests/{target}")),
            other => panic!("{other:?}: read such arguments here, too"),
        };
        let (modules, function) = test.name.rsplit_once("::").unwrap_or(("", &test.name));
        let signature = format!("fn {function}(");
        let mut module = folder_of(root, package).join(target);
        let mut files = vec![module.join("lib.rs"), module.join("main.rs"), module.with_extension("rs")];
        for name in modules.split("::") {
            module.push(name);
            files.extend([module.with_extension("rs"), module.join("mod.rs")]);
        }
        files.iter().any(|file| fs::read_to_string(file).is_ok_and(|text| text.contains(&signature)))
    }

    /// The folder of the workspace's package called `name`.
    fn folder_of(root: &Path, name: &str) -> PathBuf {
        let line = format!("name = \"{name}\"");
        let is_its = |folder: &PathBuf| {
            fs::read_to_string(folder.join("Cargo.toml"))
                .is_ok_and(|text| text.lines().any(|own| own == line))
        };
        let within =
            |folder: &str| fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let mut folders = within("crates").chain(within("tests")).chain([root.to_owned()]);
        folders.find(is_its).unwrap_or_else(|| panic!("there is no package {name}"))
    }
}
