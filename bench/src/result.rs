//! What happens to the numbers: a table for readers, a file for later, and whether each promise holds.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tollgate_testkit::workspace;

/// Something that Tollgate promises about its cost.
pub struct Promise {
    pub what: &'static str,
    pub measured: f64,
    pub at_least: f64,
    pub at_most: f64,
}

impl Promise {
    /// Promises that a number from zero up is at most `at_most`.
    pub fn at_most(what: &'static str, at_most: f64, measured: f64) -> Self {
        Self { what, measured, at_least: 0.0, at_most }
    }

    pub fn is_met(&self) -> bool {
        (self.at_least..=self.at_most).contains(&self.measured)
    }

    fn bounds(&self) -> String {
        if self.at_most.is_infinite() {
            format!("at least {:.2}", self.at_least)
        } else if self.at_least > 0.0 {
            format!("{:.2} to {:.2}", self.at_least, self.at_most)
        } else {
            format!("at most {:.2}", self.at_most)
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "what": self.what,
            "measured": self.measured,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "met": self.is_met(),
        })
    }
}

pub fn print_promises(promises: &[Promise]) {
    let mut rows = vec![["promise", "measured", "promised", ""].map(str::to_owned).to_vec()];
    rows.extend(promises.iter().map(|promise| {
        let verdict = if promise.is_met() { "met" } else { "NOT MET" };
        vec![
            promise.what.to_owned(),
            format!("{:.3}", promise.measured),
            promise.bounds(),
            verdict.to_owned(),
        ]
    }));
    print_table(&rows);
}

/// Prints a table whose first and last columns are aligned left and the others right.
pub fn print_table(rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    println!();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column == 0 {
                    format!("{cell:width$}")
                } else if column + 1 == columns {
                    cell.clone()
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// The middle value, or the mean of the middle two.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

/// The value that a quarter of them do not exceed.
pub fn quartile(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 4).copied().unwrap_or(f64::NAN)
}

/// Writes `bench/results/NAME.json`: what was measured, and on what.
pub fn save(name: &str, measured: Value) -> anyhow::Result<()> {
    let mut document = json!({ "benchmark": name, "on": circumstances() });
    if let (Some(document), Value::Object(measured)) = (document.as_object_mut(), measured) {
        document.extend(measured);
    }
    let directory = workspace::root().join("bench/results");
    fs::create_dir_all(&directory)?;
    let file = directory.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&document)? + "\n";
    fs::write(&file, text).with_context(|| file.display().to_string())
}

/// A module's size and hash.
pub fn module(path: &Path) -> anyhow::Result<Value> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({ "bytes": bytes.len(), "sha256": hash }))
}

/// The version that Envoy reports.
pub fn envoy() -> anyhow::Result<String> {
    let said = says(workspace::envoy()?.to_string_lossy().as_ref(), &["--version"])?;
    Ok(said.split_whitespace().last().unwrap_or_default().to_owned())
}

/// The measured commit, with `-dirty` if anything but the results differs from it.
fn commit() -> anyhow::Result<String> {
    let commit = says("git", &["describe", "--always", "--abbrev=12"])?;
    let changes = says("git", &["status", "--porcelain", "--", ":/", ":!/bench/results"])?;
    Ok(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn circumstances() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "date": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "commit": commit().unwrap_or_default(),
        "cpu": model.map_or("unknown", |(_, model)| model),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "kernel": kernel.trim(),
    })
}

/// The output of a program.
pub fn says(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).current_dir(workspace::root()).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median([9.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 9.0]) - 3.0).abs() < 1e-9);
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_quarter_of_the_values_is_below_the_quartile() {
        assert!((quartile([8.0, 3.0, 4.0, 1.0, 2.0, 7.0, 6.0, 5.0]) - 3.0).abs() < 1e-9);
        assert!((quartile([5.0]) - 5.0).abs() < 1e-9);
        assert!(quartile([]).is_nan());
    }

    #[test]
    fn a_promise_holds_within_its_bounds_only() {
        let of = |measured| Promise { what: "", measured, at_least: 0.95, at_most: 1.05 };
        assert!(of(0.95).is_met() && of(1.05).is_met());
        assert!(!of(0.94).is_met() && !of(1.06).is_met() && !of(f64::NAN).is_met());
    }
}
