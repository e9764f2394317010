//! Every example in the documents does what it says.
//!
//! A fenced block names its kind, and so how it is tried; a block of any other kind fails:
//!
//! | block | how |
//! | --- | --- |
//! | `yaml policy`, `yaml kong`, `yaml prices` | `tollgate check` finds a valid policy, or valid prices, in it |
//! | `yaml envoy-filter` | a real Envoy serves with it in place of the sample's filter |
//! | `yaml envoy-stats` | the sample configuration contains it |
//! | `yaml fragment` | it is YAML |
//! | `console` | every `$` command is run, against two gateways and a store of its own; its output has the lines shown, in their order |
//! | `console cluster` | here nothing, for want of a cluster: but the shell can read it, its files exist, and `docs/not-executed.md` lists it; `tests/ops/test_documents.py` follows kubernetes.md |
//! | `python client`, `javascript client` | against a gateway that refuses its first request, it waits as long as it is told, and no request is refused twice |
//! | `promql` | here nothing; `scripts/site.py` looks for its names |
//! | `sh` | every target of make exists |
//! | `text` | it is not tried, as it is no example |

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::Request;
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::workspace;

struct Block {
    file: String,
    line: usize,
    kind: String,
    text: String,
}

impl Block {
    fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// The pages that `python/tests/test_frameworks.py` executes.
const OF_PYTHON: [&str; 2] = ["flask.md", "django.md"];

/// Every fenced block of the README and the docs.
fn blocks() -> Vec<Block> {
    let mut files: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md"].map(|file| workspace::root().join(file)).to_vec();
    for folder in ["docs", "docs/runbooks"] {
        let docs = fs::read_dir(workspace::root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
        files.extend(docs.filter(|path| is_page(path) && !OF_PYTHON.iter().any(|page| path.ends_with(page))));
    }
    files.sort();
    let mut blocks: Vec<Block> = Vec::new();
    for path in files {
        let file = path.strip_prefix(workspace::root()).unwrap().display().to_string();
        let mut open: Option<Block> = None;
        let mut indent = 0;
        for (index, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            // In a list, a block and its lines are indented.
            if open.is_none() {
                indent = line.len() - line.trim_start().len();
            }
            let line = line.get(indent..).unwrap_or_default();
            match (line.strip_prefix("```"), &mut open) {
                (Some(kind), None) => {
                    open = Some(Block {
                        file: file.clone(),
                        line: index + 1,
                        kind: kind.into(),
                        text: String::new(),
                    });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{file}: a block is not closed");
    }
    blocks
}

fn of(kind: &str) -> Vec<Block> {
    let found: Vec<Block> = blocks().into_iter().filter(|block| block.kind == kind).collect();
    assert!(!found.is_empty(), "no document has a block `{kind}`");
    found
}

/// The built command, for the shell and for this test.
fn command() -> PathBuf {
    let path = workspace::root().join("dist/tollgate");
    assert!(path.exists(), "{} is missing: run `make build`", path.display());
    path
}

fn gateway(config: impl FnOnce(Config) -> Config) -> (Envoy, Upstream) {
    let upstream = Upstream::on_loopback().unwrap();
    let envoy = Envoy::start(&config(Config::sample(upstream.address()).unwrap()), 2).unwrap();
    (envoy, upstream)
}

#[test]
fn every_block_says_what_it_is() {
    const KINDS: [&str; 13] = [
        "console",
        "console cluster",
        "javascript client",
        "promql",
        "python client",
        "sh",
        "text",
        "yaml envoy-filter",
        "yaml envoy-stats",
        "yaml fragment",
        "yaml kong",
        "yaml policy",
        "yaml prices",
    ];
    for block in blocks() {
        assert!(
            KINDS.contains(&block.kind.as_str()),
            "{}: ```{} is not tried by this test",
            block.place(),
            block.kind
        );
    }
}

#[test]
fn every_policy_can_work() {
    let folder = tempfile::tempdir().unwrap();
    for block in ["yaml policy", "yaml kong", "yaml prices"].into_iter().flat_map(of) {
        let file = folder.path().join("example.yml");
        fs::write(&file, &block.text).unwrap();
        let output = Command::new(command()).arg("check").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", block.place());
    }
}

#[test]
fn envoy_serves_with_the_filter_as_shown() {
    for block in of("yaml envoy-filter") {
        let filter: serde_json::Value = serde_saphyr::from_str(&block.text).unwrap();
        let (envoy, _upstream) = gateway(|config| {
            config.http(|http| {
                let filters = http["http_filters"].as_array_mut().unwrap();
                let place = filters.iter().position(|other| {
                    other.pointer("/typed_config/@type") == filter.pointer("/typed_config/@type")
                });
                let mut filter = filter.clone();
                let code = "/typed_config/config/vm_config/code/local/filename";
                *filter.pointer_mut(code).unwrap() = workspace::filter().unwrap().to_str().unwrap().into();
                filters[place.unwrap()] = filter;
            })
        });
        let response = envoy.client().get("/identify").unwrap();
        assert_eq!(response.header("x-quota-tier"), Some("anonymous"), "{}", block.place());
    }
}

#[test]
fn the_labels_patterns_are_the_samples() {
    for block in of("yaml envoy-stats") {
        let shown: serde_json::Value = serde_saphyr::from_str(&block.text).unwrap();
        let sample = Config::as_shipped().unwrap();
        assert_eq!(shown["stats_tags"], sample.value()["stats_config"]["stats_tags"], "{}", block.place());
    }
}

#[test]
fn every_fragment_is_yaml() {
    for block in of("yaml fragment") {
        let read: Result<serde_json::Value, _> = serde_saphyr::from_str(&block.text);
        assert!(read.is_ok(), "{}: {read:?}", block.place());
    }
}

#[test]
fn every_target_of_make_exists() {
    for block in of("sh") {
        for target in block.text.lines().filter_map(|line| line.strip_prefix("make ")) {
            is_target(&block, target);
        }
    }
}

/// Checks that the Makefile has the target that `call` begins with.
fn is_target(block: &Block, call: &str) {
    let target = call.split_whitespace().find(|word| !word.contains('=')).unwrap();
    let makefile = workspace::read("Makefile").unwrap();
    assert!(makefile.contains(&format!("\n{target}:")), "{}: make {target}", block.place());
}

#[test]
fn every_command_for_a_cluster_can_be_read_and_names_files_that_exist() {
    for block in of("console cluster") {
        for line in block.text.lines() {
            let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("{}: no output", block.place()));
            let output = Command::new("bash").args(["-n", "-c", command]).output().unwrap();
            assert!(output.status.success(), "{}: {command}: {output:?}", block.place());
            if let Some(call) = command.split_once("make ").map(|(_, call)| call) {
                is_target(&block, call);
            }
            let named = command.split_whitespace().filter(|word| {
                ["scripts/", "k8s/", "monitoring/", "kong/", "envoy/"]
                    .iter()
                    .any(|folder| word.starts_with(folder))
            });
            for path in named {
                assert!(workspace::root().join(path).exists(), "{}: {path} does not exist", block.place());
            }
        }
    }
}

#[test]
fn what_is_not_executed_is_listed() {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for block in of("console cluster") {
        let commands = block.text.lines().count();
        match counts.last_mut() {
            Some((file, count)) if *file == block.file => *count += commands,
            _ => counts.push((block.file, commands)),
        }
    }
    let list: String = counts
        .iter()
        .map(|(file, commands)| {
            let page = file.strip_prefix("docs/").unwrap_or(file);
            format!("| [{page}]({page}) | {commands} |\n")
        })
        .collect();
    let page = workspace::read("docs/not-executed.md").unwrap();
    assert!(page.contains(&list), "docs/not-executed.md should have:\n{list}");
}

#[test]
fn every_client_waits_as_long_as_it_is_told() {
    // A price of 2 comes back in 6 seconds: no program takes so long to start.
    let running = Running::start_with(|policy| policy["tiers"]["free"]["rate"] = "20/minute".into());
    for (kind, program, file) in
        [("python client", "python3", "client.py"), ("javascript client", "node", "client.mjs")]
    {
        for block in of(kind) {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(file), running.at_their_addresses(&block.text)).unwrap();
            let mut gateway = running.gateways[0].client();
            let request = || Request::get("/compare").header("apikey", "acme-free-key");
            while gateway.send(&request()).unwrap().status == 200 {}
            let began = Instant::now();
            let output = Command::new(program).arg(file).current_dir(&folder).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = said.lines().collect();
            let [waiting, "done"] = lines[..] else { panic!("{}: {said}{errors}", block.place()) };
            let seconds = waiting.strip_prefix("waiting for ").and_then(|rest| rest.strip_suffix(" s"));
            let seconds: u64 = seconds.unwrap().parse().unwrap();
            assert!(
                seconds >= 1 && began.elapsed() >= Duration::from_secs(seconds),
                "{}: {said}",
                block.place()
            );
        }
    }
}

#[test]
fn the_tiers_that_customers_are_told_of_are_the_samples() {
    let mut policy = serde_json::Value::Null;
    let _sample = Config::as_shipped().unwrap().policy(|sample| policy = sample.clone());
    let page = workspace::read("docs/tiers.md").unwrap();
    let grouped = |number: u64| {
        let digits = number.to_string();
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
        groups.join(",")
    };
    let row = |name: &str, tier: &serde_json::Value| {
        let monthly = tier["monthly"].as_u64().map_or("unlimited".into(), grouped);
        let rate = tier["rate"].as_str().unwrap();
        let Some(number) = rate.strip_suffix("/minute") else {
            return format!("| {name} | {rate} | {rate} | {monthly} |");
        };
        let number: u64 = number.parse().unwrap();
        // A burst has two decimals at most.
        let hundredths = (tier["burst"].as_f64().unwrap_or(1.0) * 100.0).round();
        let burst = number * hundredths as u64 / 100;
        format!("| {name} | {} per minute | {} | {monthly} |", grouped(number), grouped(burst))
    };
    let mut rows: Vec<String> =
        policy["tiers"].as_object().unwrap().iter().map(|(name, tier)| row(name, tier)).collect();
    rows.push(row("without a key, by address", &policy["anonymous"]));
    for row in &rows {
        assert!(page.lines().any(|line| line == row), "docs/tiers.md should have:\n{row}");
    }
    let prices = policy["endpoints"].as_array().unwrap();
    for price in prices.iter().filter(|price| price["cost"] != 1) {
        let path = price["path"].as_str().unwrap();
        let cost = match price["cost"].as_u64() {
            Some(0) => "costs nothing".to_owned(),
            cost => format!("costs {}", cost.unwrap()),
        };
        assert!(page.contains(&format!("`{path}` {cost}")), "docs/tiers.md does not say that {path} {cost}");
    }
}

#[test]
fn every_session_goes_as_shown() {
    // Each document runs against what `make run` starts, as it does for a reader who follows it from its top.
    let mut blocks = of("console");
    blocks.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    let mut current: Option<(String, Running)> = None;
    for block in blocks {
        if current.as_ref().is_none_or(|(file, _)| *file != block.file) {
            current = Some((block.file.clone(), Running::start()));
        }
        let (_, running) = current.as_ref().unwrap();
        try_session(&block, running);
    }
}

/// Two gateways and their store.
struct Running {
    gateways: [Envoy; 2],
    store: Store,
    _upstream: Upstream,
}

impl Running {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut serde_json::Value)) -> Self {
        let upstream = Upstream::on_loopback().unwrap();
        let store = Store::start("redb").unwrap();
        // On a machine that is busy with other tests a call may take longer than the sample allows.
        let config = Config::shared(upstream.address(), store.address())
            .unwrap()
            .policy(|policy| policy["store"]["timeout"] = "2s".into())
            .policy(change);
        Self { gateways: [0, 1].map(|_| Envoy::start(&config, 2).unwrap()), store, _upstream: upstream }
    }

    /// A command with the addresses of these processes in place of those in the documents.
    fn at_their_addresses(&self, command: &str) -> String {
        let [first, second] = &self.gateways;
        command
            .replace("127.0.0.1:8000", &first.address().to_string())
            .replace("127.0.0.1:8001", &second.address().to_string())
            .replace("127.0.0.1:7600", &self.store.address().to_string())
    }
}

fn try_session(block: &Block, running: &Running) {
    let folder = tempfile::tempdir().unwrap();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push((command.into(), Vec::new())),
            None => commands.last_mut().expect("a session starts with a command").1.push(line.into()),
        }
    }
    let path =
        format!("{}:{}", command().parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    for (text, shown) in commands {
        let output = Command::new("bash")
            .arg("-c")
            .arg(format!("exec 2>&1\n{}", running.at_their_addresses(&text)))
            .current_dir(&folder)
            .env("PATH", &path)
            .env("REPOSITORY", workspace::root())
            // The store that runs here asks for no token.
            .env("ADMIN", "Authorization: Bearer an-admins-token-of-yours")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = said.lines();
        for expected in shown.iter().filter(|line| !line.is_empty()) {
            assert!(
                lines.any(|line| is_as_shown(line.trim(), expected)),
                "{}: $ {text}\nno line (after those before it) is `{expected}` in:\n{said}",
                block.place()
            );
        }
    }
}

/// `…` stands for anything.
fn is_as_shown(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut is_open = false;
    for part in parts {
        is_open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    is_open || rest.is_empty()
}
