//! What looks for faults: the simulator, and tests that a fault names.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::fault::Test;
use crate::scratch::{End, Scratch};

/// Nothing that is run here takes this long, unless a fault makes it run forever.
const LONGEST: Duration = Duration::from_secs(900);

/// The simulator, and how long it looks.
#[derive(Clone, Copy, Debug)]
pub struct Simulator {
    /// The first seed.
    pub base: u64,
    /// The number of seeds.
    pub seeds: u64,
}

/// A violation that the simulator has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check that it violates.
    pub check: String,
    /// The kind of run.
    pub scenario: String,
    /// How many seeds it took.
    pub seeds: u64,
}

fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // A fault changes a file or two: an unchanged file is not compiled again.
    cargo.args([command, "--locked"]).env("CARGO_INCREMENTAL", "1");
    cargo
}

/// Builds something in the copy.
fn build(scratch: &Scratch, command: &mut Command, log: &str) -> Result<()> {
    match scratch.run(command, log, LONGEST)? {
        (End::Exit(true), _) => Ok(()),
        (End::Late, _) => bail!("building it takes for ever"),
        (End::Exit(false), said) => {
            let first = said.lines().find(|line| line.starts_with("error")).unwrap_or("no reason is given");
            bail!("it does not build: {first}")
        }
    }
}

impl Simulator {
    /// Looks for a violation in the copy as it is now.
    ///
    /// # Errors
    /// If the copy does not build, or ends otherwise than it should.
    pub fn look(&self, scratch: &Scratch, log: &str) -> Result<Option<Violation>> {
        build(
            scratch,
            cargo("build").args(["--quiet", "--profile", "sim", "-p", "tollgate-sim"]),
            &format!("{log}.build"),
        )?;
        let mut program = Command::new(scratch.target.join("sim/tollgate-sim"));
        program.args(["--base", &self.base.to_string(), "--seeds", &self.seeds.to_string()]);
        program.args(["--stop-at-first", "--no-shrink"]);
        match scratch.run(&mut program, &format!("{log}.sim"), LONGEST)? {
            (End::Exit(true), _) => Ok(None),
            (End::Late, _) => bail!("the simulator goes on for ever"),
            (End::Exit(false), said) => match said.lines().find_map(Violation::parse) {
                Some(violation) => Ok(Some(violation)),
                None => bail!(
                    "the simulator fails, and finds nothing: {}",
                    said.lines().last().unwrap_or_default()
                ),
            },
        }
    }
}

impl Violation {
    /// Reads the simulator's line `violation: CHECK seed=… scenario=… after_seeds=…`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("violation: ")?.split(' ');
        let check = words.next()?.to_owned();
        let pairs: BTreeMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
        let scenario = (*pairs.get("scenario")?).to_owned();
        Some(Self { check, scenario, seeds: pairs.get("after_seeds")?.parse().ok()? })
    }
}

/// Those of `tests` that fail in the copy as it is now. All of them have to exist.
///
/// # Errors
/// If a test does not build, does not exist or never ends.
pub fn failing(scratch: &Scratch, tests: &[Test], log: &str) -> Result<Vec<Test>> {
    let mut by_target: BTreeMap<&[String], Vec<&Test>> = BTreeMap::new();
    for test in tests {
        by_target.entry(&test.target).or_default().push(test);
    }
    let mut failing = Vec::new();
    for (number, (target, tests)) in by_target.into_iter().enumerate() {
        let log = format!("{log}.test{number}");
        if tests.iter().any(|test| test.needs_module()) {
            let mut module = cargo("build");
            module.args(["--quiet", "--profile", "wasm", "--target", "wasm32-wasip1", "-p", "tollgate"]);
            build(scratch, &mut module, &format!("{log}.module"))?;
        }
        build(scratch, cargo("test").args(["--quiet", "--no-run"]).args(target), &format!("{log}.build"))?;
        let mut run = cargo("test");
        run.env("TOLLGATE_WASM", scratch.target.join("wasm32-wasip1/wasm/tollgate.wasm"));
        run.args(target).args(["--", "--exact"]).args(tests.iter().map(|test| &test.name));
        let (end, said) = scratch.run(&mut run, &log, LONGEST)?;
        ensure!(end != End::Late, "its tests never end");
        for test in tests {
            if said.contains(&format!("test {} ... FAILED", test.name)) {
                failing.push(test.clone());
            } else if !said.contains(&format!("test {} ... ok", test.name)) {
                // A test that ends its whole process lands here, too: then nobody knows which test did it.
                bail!("there is no test {} in {}", test.name, target.join(" "));
            }
        }
    }
    Ok(failing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_simulator_has_found_is_read() {
        let found = Violation::parse("violation: never_over seed=9 scenario=chaos after_seeds=3").unwrap();
        assert_eq!((found.check.as_str(), found.scenario.as_str(), found.seeds), ("never_over", "chaos", 3));
        assert_eq!(Violation::parse("3 seeds, 0 violations"), None);
        assert_eq!(Violation::parse("violation: never_over"), None);
    }
}
