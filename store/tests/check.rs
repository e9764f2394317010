//! `tollgate check` on whole files: what it prints, and how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;
use tollgate_store::check::{Kind, check};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/policy")
}

fn tollgate<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_remove("TOLLGATE_QUIET").current_dir(golden()).args(arguments).output().unwrap()
}

/// Exit status and both outputs, a line each: `1>` the standard output, `2>` the standard error.
fn transcript(output: &Output) -> String {
    let mut text = format!("exit {}\n", output.status.code().unwrap());
    for (stream, bytes) in [("1>", &output.stdout), ("2>", &output.stderr)] {
        for line in std::str::from_utf8(bytes).unwrap().lines() {
            writeln!(text, "{stream} {line}").unwrap();
        }
    }
    text
}

/// What is wrong with `text`, as the command prints it behind the file's name.
fn wrong(text: &str) -> Vec<String> {
    check(text.as_bytes()).iter().filter(|line| line.kind == Kind::Wrong).map(ToString::to_string).collect()
}

/// With `TOLLGATE_BLESS=1` it writes what is expected instead.
#[test]
fn every_golden_file_is_judged_as_written_beside_it() {
    let is_input = |path: &PathBuf| path.extension().is_some_and(|kind| kind != "out");
    let mut files: Vec<PathBuf> =
        golden().read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(is_input).collect();
    files.sort();
    assert!(files.len() >= 14, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap();
        let said = transcript(&tollgate(&[OsStr::new("check"), name]));
        let mut expected = file.clone().into_os_string();
        expected.push(".out");
        if std::env::var_os("TOLLGATE_BLESS").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap();
        assert!(said == expected, "{}:\n{said}\nexpected:\n{expected}", file.display());
    }
}

#[test]
fn several_files_end_with_the_worst_of_their_ends() {
    assert_eq!(tollgate(&["check", "policy.json"]).status.code(), Some(0));
    assert_eq!(tollgate(&["check", "policy.json", "store-wrong.yml"]).status.code(), Some(1));
    assert_eq!(tollgate(&["check", "no-such-file.yml", "store.yml"]).status.code(), Some(2));
    let unreadable = tollgate(&["check", "no-such-file.yml"]);
    let said = String::from_utf8(unreadable.stderr).unwrap();
    assert!(said.starts_with("no-such-file.yml: cannot be read: "), "{said}");
    assert_eq!(tollgate(&["check"]).status.code(), Some(2));
    assert_eq!(tollgate(&["chekc", "policy.json"]).status.code(), Some(2));
}

#[test]
fn quiet_says_only_what_is_wrong() {
    assert_eq!(transcript(&tollgate(&["check", "--quiet", "policy.yml"])), "exit 0\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output =
        command.current_dir(golden()).env("TOLLGATE_QUIET", "1").args(["check", "policy.yml"]).output();
    assert_eq!(transcript(&output.unwrap()), "exit 0\n");
    assert_ne!(transcript(&tollgate(&["check", "-q", "store.yml"])), "exit 1\n");
}

#[test]
fn help_names_commands_flags_and_variables() {
    let help = |arguments: &[&str]| String::from_utf8(tollgate(arguments).stdout).unwrap();
    let all = help(&["--help"]);
    assert!(all.contains("check") && all.contains("meta"), "{all}");
    let check = help(&["check", "--help"]);
    assert!(
        check.contains("--quiet") && check.contains("TOLLGATE_QUIET") && check.contains("Exit status"),
        "{check}"
    );
}

#[test]
fn meta_prints_what_kong_reads_beside_the_filter() {
    let output = tollgate(&["meta"]);
    let meta: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(meta, tollgate::policy::schema::meta());
    assert_eq!(meta["metrics"]["label_patterns"][0]["pattern"], "(;tier=([^;]+))");
}

#[test]
fn a_key_that_stands_twice_is_refused_with_its_second_line() {
    let text = "tiers:\n  free: { rate: 1/day }\n  pro: { rate: 1/day }\n  free: { rate: 9/day }\n\
                default_tier: free\nanonymous: { rate: 1/day, rate: 2/day }\n";
    assert_eq!(
        wrong(text),
        [
            "4: tiers.free: is written twice; keep one of them",
            "6: anonymous.rate: is written twice; keep one of them"
        ]
    );
    assert_eq!(wrong("a: 1\na: 2\n")[0], "1: ".to_owned() + &wrong("a: 1\n")[0][3..]);
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    let said = wrong("tiers:\n  free: { rate: 1/day\ndefault_tier: free\n");
    assert_eq!(said.len(), 1);
    assert!(said[0].contains(": this is not YAML: "), "{said:?}");
    assert_eq!(wrong("a: *b\n").len(), 1);
    assert_eq!(wrong("? [a]\n: 1\n"), ["1: a list or a mapping cannot be a key; write a text"]);
    let said = check(b"tiers: 1\n\xff\n");
    assert_eq!(said[0].to_string(), "2: the file is not UTF-8 text; save it as UTF-8");
}

#[test]
fn a_file_without_a_policy_says_what_was_looked_for() {
    for text in ["", "# nothing\n", "null\n", "- 1\n", "a: 1\n", "{}"] {
        let said = wrong(text);
        assert_eq!(said.len(), 1, "{text:?}");
        assert!(said[0].starts_with("1: there is no policy here; looked for "), "{said:?}");
    }
}

#[test]
fn every_document_of_a_file_is_checked() {
    let policy = "tiers: { free: { rate: 1/day } }\ndefault_tier: free\nanonymous: { rate: 1/dy }\n";
    let said = wrong(&format!("{policy}---\n{policy}"));
    assert_eq!(said.len(), 2);
    assert!(
        said[0].starts_with("3: anonymous.rate: ") && said[1].starts_with("7: anonymous.rate: "),
        "{said:?}"
    );
}

#[test]
fn plain_scalars_are_what_the_gateways_take_them_for() {
    let clients = |clients: &str| {
        let policy = "tiers: { free: { rate: 1/day } }\ndefault_tier: free\nanonymous: { rate: 1/day }\n";
        wrong(&format!("{policy}memory: {{ clients: {clients} }}\n"))
    };
    for number in ["0x40", "0100", "1048576", "64.0", "\"64\"", "'64'", "!!str 64"] {
        assert_eq!(clients(number), [""; 0], "{number}");
    }
    for other in ["0x3f", "0077", "1_000", "1:30", "1e3", ".inf", "-64", "yes", "~", "0o100"] {
        assert_eq!(clients(other).len(), 1, "{other}");
    }
}

#[test]
fn aliases_that_multiply_and_lists_without_end_are_refused_at_once() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..30 {
        let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
        writeln!(laughs, "a{i}: &a{i} [{aliases}]").unwrap();
    }
    let said = wrong(&laughs);
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("the aliases here make more than 20000000 values; use fewer"), "{said:?}");
    let said = wrong(&"[".repeat(100_000));
    assert_eq!(said.len(), 1, "{said:?}");
    let said = wrong(&"- ".repeat(100_000));
    assert_eq!(said, ["1: more than 100 lists and mappings in each other"]);
    assert_eq!(wrong("a: &a [*a]\n"), ["1: what this alias means is not complete before it; write it out"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&bytes);
    }

    #[test]
    fn no_yaml_panics(text in "([ \n]{0,4}(tiers|free|rate|config|name|tollgate|filters|&a|\\*a|<<|-|:|\\?|\\{|\\}|\\[|\\]|,|\\||\"|1/day|!!str|---) ?){0,40}") {
        let _ = check(text.as_bytes());
    }
}
