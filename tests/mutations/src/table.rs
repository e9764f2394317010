//! The table of what caught each fault.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::catcher::{Simulator, Violation};
use crate::fault::{Fault, Test};

/// The outcome of a fault.
#[derive(Clone, Debug)]
pub enum Fate {
    /// The simulator has seen it.
    Simulated(Violation),
    /// A test has seen it.
    Tested(Test),
    /// Nothing has seen it.
    Survived,
    /// It proves nothing: its patch does not apply, or it does not build.
    Void(String),
}

impl Fate {
    /// Whether the fault was caught.
    #[must_use]
    pub const fn is_caught(&self) -> bool {
        matches!(self, Self::Simulated(_) | Self::Tested(_))
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simulated(found) => {
                write!(out, "simulator: {} in {}, seeds: {}", found.check, found.scenario, found.seeds)
            }
            Self::Tested(test) => write!(out, "test: {}", test.name),
            Self::Survived => out.write_str("SURVIVED"),
            Self::Void(why) => write!(out, "VOID: {why}"),
        }
    }
}

const BEGIN: &str = "<!-- made by make mutations TABLE=1: begin -->";
const END: &str = "<!-- made by make mutations TABLE=1: end -->";

/// `document` with the table of `fates` between its marks.
///
/// # Errors
/// If it has no marks.
pub fn into(document: &str, fates: &[(Fault, Fate)], simulator: Simulator, commit: &str) -> Result<String> {
    let (Some((before, rest)), Some((_, after))) = (document.split_once(BEGIN), document.split_once(END))
    else {
        bail!("it has no place for the table; write {BEGIN} and {END}");
    };
    if !rest.contains(END) {
        bail!("the table's end comes before its beginning");
    }
    Ok(format!("{before}{BEGIN}\n{}{END}{after}", table(fates, simulator, commit)))
}

fn table(fates: &[(Fault, Fate)], simulator: Simulator, commit: &str) -> String {
    let simulated = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Simulated(_))).count();
    let caught = fates.iter().filter(|(_, fate)| fate.is_caught()).count();
    let mut text = format!(
        "{caught} of {} faults are caught, {simulated} of them by the simulator (seeds from {}, at most {}), at commit {commit}.\n\n\
         | fault | breaks | caught by | seeds |\n| --- | --- | --- | ---: |\n",
        fates.len(),
        simulator.base,
        simulator.seeds,
    );
    for (fault, fate) in fates {
        let (by, seeds) = match fate {
            Fate::Simulated(found) => {
                (format!("simulator, `{}` in `{}`", found.check, found.scenario), found.seeds.to_string())
            }
            Fate::Tested(test) => (format!("test `{}`", test.name), String::new()),
            Fate::Survived => ("**nothing**".to_owned(), String::new()),
            Fate::Void(why) => (format!("**it says nothing**: {why}"), String::new()),
        };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "| {} | {} | {by} | {seeds} |", fault.what, fault.breaks);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_replaces_what_stands_between_the_marks() {
        let simulator = Simulator { base: 1, seeds: 2 };
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = into(&document, &[], simulator, "abc").unwrap();
        assert!(new.starts_with("a\n") && new.ends_with("\nb\n") && !new.contains("old"), "{new}");
        assert_eq!(into(&new, &[], simulator, "abc").unwrap(), new);
        assert!(into("nothing", &[], simulator, "abc").is_err());
    }
}
