//! A deliberate fault: a patch with a description above it.

use anyhow::{Context as _, Result, bail};

/// A fault, as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file's name without its suffix: `07-two-clients-of-one-number`.
    pub name: String,
    /// What it does wrong.
    pub what: String,
    /// The promise that it breaks.
    pub breaks: String,
    /// Whether the simulator has to see it. Else one of the tests has to.
    pub is_simulated: bool,
    /// Tests, each as the arguments of `cargo test` with the test's name at the end.
    pub tests: Vec<Test>,
    /// The file's text; `git apply` ignores everything before the patch itself.
    pub text: String,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// The arguments that build it: `-p tollgate --lib`.
    pub target: Vec<String>,
    /// Its full name.
    pub name: String,
}

impl Fault {
    /// Reads the fault from `text`, the contents of the file called `name`.
    ///
    /// # Errors
    /// With what to write into the file.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let head = text.split("\ndiff --git ").next().unwrap_or_default();
        if head.len() == text.len() {
            bail!("{name}: there is no patch; add what git diff says");
        }
        let all =
            |key: &'static str| head.lines().filter_map(move |line| line.strip_prefix(key)).map(str::trim);
        let one =
            |key| all(key).next().with_context(|| format!("{name}: write a line that begins with {key:?}"));
        let is_simulated = match one("Check:")? {
            "simulator" => true,
            "test" => false,
            other => bail!("{name}: Check: {other:?} is unknown; write simulator or test"),
        };
        let tests = all("Test:").map(|line| Test::parse(name, line)).collect::<Result<Vec<_>>>()?;
        if !is_simulated && tests.is_empty() {
            bail!("{name}: nothing can catch it; write Check: simulator, or a line Test:");
        }
        Ok(Self {
            name: name.to_owned(),
            what: one("Fault:")?.to_owned(),
            breaks: one("Breaks:")?.to_owned(),
            is_simulated,
            tests,
            text: text.to_owned(),
        })
    }
}

impl Test {
    fn parse(fault: &str, line: &str) -> Result<Self> {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match words.pop() {
            Some(name) if words.first().is_some_and(|word| word == "-p") => Ok(Self { target: words, name }),
            _ => bail!("{fault}: Test: {line:?} is none; write as in: -p tollgate --lib limit::tests::name"),
        }
    }

    /// Whether it runs the filter's module, which has to be built first.
    #[must_use]
    pub fn needs_module(&self) -> bool {
        self.target.iter().any(|word| word == "tollgate-host")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n";

    #[test]
    fn a_fault_says_what_it_is_above_its_patch() {
        let head = "Fault: f\nBreaks: b\nCheck: test\nTest: -p tollgate --lib limit::tests::a\n";
        let fault = Fault::parse("01-f", &format!("{head}{PATCH}")).unwrap();
        assert_eq!((fault.what.as_str(), fault.breaks.as_str(), fault.is_simulated), ("f", "b", false));
        let [test] = &fault.tests[..] else { panic!("one test") };
        assert_eq!(
            (test.target.join(" ").as_str(), test.name.as_str()),
            ("-p tollgate --lib", "limit::tests::a")
        );
    }

    #[test]
    fn what_nothing_can_catch_is_refused() {
        for wrong in [
            format!("Fault: f\nBreaks: b\nCheck: test\n{PATCH}"),
            format!("Fault: f\nBreaks: b\nCheck: hope\n{PATCH}"),
            format!("Fault: f\nCheck: simulator\n{PATCH}"),
            format!("Fault: f\nBreaks: b\nCheck: simulator\nTest: limit::tests::a\n{PATCH}"),
            "Fault: f\nBreaks: b\nCheck: simulator\n".to_owned(),
        ] {
            assert!(Fault::parse("01-f", &wrong).is_err(), "{wrong}");
        }
    }
}
