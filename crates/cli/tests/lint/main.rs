//! `tollgate check` on whole files: what it prints, and its exit status.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

mod envoy;

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;
use tollgate_cli::lint::{Kind, lint};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/policy")
}

fn tollgate<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_remove("TOLLGATE_QUIET").current_dir(golden()).args(arguments).output().unwrap()
}

/// The exit status and the lines of both outputs, marked `1>` (standard output) or `2>` (standard error).
fn transcript(output: &Output) -> String {
    let mut text = format!("exit {}\n", output.status.code().unwrap());
    for (stream, bytes) in [("1>", &output.stdout), ("2>", &output.stderr)] {
        for line in std::str::from_utf8(bytes).unwrap().lines() {
            writeln!(text, "{stream} {line}").unwrap();
        }
    }
    text
}

/// What is wrong with `text`, as the command prints it after the file's name.
fn wrong(text: &str) -> Vec<String> {
    lint(text.as_bytes()).iter().filter(|line| line.kind == Kind::Wrong).map(ToString::to_string).collect()
}

/// With `TOLLGATE_BLESS=1` it writes the expected results instead.
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
    assert_eq!(meta, tollgate_core::policy::schema::meta());
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
    let said = lint(b"tiers: 1\n\xff\n");
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
    assert!(said[0].ends_with("the aliases here make more than 1000000 values; use fewer"), "{said:?}");
    let said = wrong(&"[".repeat(100_000));
    assert_eq!(said.len(), 1, "{said:?}");
    let said = wrong(&"- ".repeat(100_000));
    assert_eq!(said, ["1: more than 100 lists and mappings in each other"]);
    assert_eq!(wrong("a: &a [*a]\n"), ["1: what this alias means is not complete before it; write it out"]);
}

/// A policy with `extra` at its end.
fn policy_with(extra: &str) -> String {
    format!("tiers: {{ free: {{ rate: 1/day }} }}\ndefault_tier: free\nanonymous: {{ rate: 1/day }}\n{extra}")
}

#[test]
fn nothing_that_a_file_holds_reaches_the_terminal_as_it_is() {
    let evil = ["\\e[2J\\e[31m", "\\u202Eeerf", "a\\u200Bb", "\\x9B1m", "\\r\\nok", "\\uFEFF", "\\U000E0041"];
    for evil in evil {
        for text in [
            // The evil text is a key of the policy, a tier's name, a value, a key on the way, and a repeated key.
            policy_with(&format!("\"{evil}\": 1\n")),
            policy_with("").replace("free: { rate", &format!("\"{evil}\": {{ rate")),
            policy_with(&format!("namespace: \"{evil}\"\n")),
            format!("\"{evil}\":\n  filters:\n  - name: tollgate\n"),
            policy_with(&format!("\"{evil}\": 1\n\"{evil}\": 2\n")),
            format!("filters:\n- name: tollgate\n  config: \"{evil}\"\n"),
        ] {
            let said = wrong(&text);
            assert!(!said.is_empty(), "{text}");
            for line in said {
                let hidden = |char: char| {
                    char.is_control()
                        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}' | '\u{e0041}')
                };
                assert!(!line.contains(hidden), "{line:?}");
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("\u{1b}[31m\u{202e}.yml");
    std::fs::write(&file, policy_with("")).unwrap();
    let said = transcript(&tollgate(&[OsStr::new("check"), file.as_os_str(), OsStr::new("/\u{1b}[31m")]));
    assert!(
        said.contains(r"\u{1b}[31m\u{202e}.yml:1: ok") && said.contains(r"/\u{1b}[31m: cannot"),
        "{said:?}"
    );
    assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'), "{said:?}");
}

#[test]
fn there_is_one_verdict_on_a_file() {
    let text = policy_with("namespace: one\nnamespace: two\n");
    let said: Vec<String> = lint(text.as_bytes()).iter().map(ToString::to_string).collect();
    assert_eq!(said, ["5: namespace: is written twice; keep one of them"]);
    let good =
        "  config: { tiers: { free: { rate: 1/day } }, default_tier: free, anonymous: { rate: 1/day } }\n";
    let said =
        lint(format!("filters:\n- name: tollgate\n{good}- name: tollgate\n  config: {{}}\n").as_bytes());
    assert!(said.iter().all(|line| line.kind == Kind::Wrong), "{said:?}");
}

#[test]
fn line_ends_and_marks_of_editors_mean_nothing() {
    let text = policy_with("memory: { clients: 1 }\n");
    let expected = wrong(&text);
    assert_eq!(expected.len(), 1);
    assert_eq!(wrong(&text.replace('\n', "\r\n")), expected);
    assert_eq!(wrong(&format!("\u{feff}{text}")), expected);
    assert_eq!(wrong(&format!("\u{feff}{}", text.replace('\n', "\r\n"))), expected);
    assert_eq!(wrong(&policy_with("headers:\n\tietf: true\n")).len(), 1);
}

#[test]
fn a_gateway_reads_the_first_document_alone() {
    let filter = "filters:\n- name: tollgate\n  config: { tiers: { free: { rate: 1/day } }, default_tier: free, anonymous: { rate: 1/day } }\n";
    let said = lint(format!("_format_version: \"3.0\"\n{filter}---\n{filter}").as_bytes());
    let warned: Vec<_> =
        said.iter().filter(|line| line.kind == Kind::Warning).map(ToString::to_string).collect();
    assert_eq!(
        warned,
        [
            "6: warning: the gateway reads the first document of a file alone; write this one into another file"
        ]
    );
}

#[test]
fn aliases_that_nest_are_as_deep_as_what_they_stand_for() {
    let mut nested = "a0: &a0 [x]\n".to_owned();
    for i in 1..100_000 {
        writeln!(nested, "a{i}: &a{i} [*a{}]", i - 1).unwrap();
    }
    let said = wrong(&nested);
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("more than 100 lists and mappings in each other"), "{said:?}");
    // The same holds for long texts and keys, and for what merges copy.
    let long = "x".repeat(100_000);
    let texts = format!("a: &a {long}\nb: [{}]\n", "*a, ".repeat(1_000));
    let keys = format!("a: &a {{ {long}: 1 }}\nb: [{}]\n", "*a, ".repeat(1_000));
    let merges = format!(
        "a: &a {{ {} }}\nb:\n{}",
        (0..10_000).map(|i| format!("k{i}: 1, ")).collect::<String>(),
        "- { <<: *a }\n".repeat(1_000)
    );
    for text in [texts, keys, merges] {
        let said = wrong(&text);
        assert!(said.len() == 1 && said[0].contains("written out, the aliases here make"), "{said:?}");
    }
}

#[test]
fn one_mistake_a_million_times_is_told_of_once_or_so() {
    let many = "a: 1\n".repeat(1_000_000);
    let said = wrong(&many);
    assert!(said.len() <= 1_001, "{}", said.len());
    let filters = "- name: tollgate\n".repeat(50_000);
    let said = wrong(&format!("filters:\n{filters}"));
    assert!(said.len() <= 1_001 && said.last().unwrap().contains(" more "), "{}", said.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = lint(&bytes);
    }

    #[test]
    fn no_yaml_panics(text in "([ \n]{0,4}(tiers|free|rate|config|name|tollgate|filters|&a|\\*a|<<|-|:|\\?|\\{|\\}|\\[|\\]|,|\\||\"|1/day|!!str|---) ?){0,40}") {
        let _ = lint(text.as_bytes());
    }
}
