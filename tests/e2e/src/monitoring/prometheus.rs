//! A Prometheus of a test's own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_testkit::http::Client;
use tollgate_testkit::process::Process;
use tollgate_testkit::wait;

use super::asked::Rules;

/// A target to scrape: a job, a node's name, its address, and the path.
pub struct Target {
    pub job: &'static str,
    pub instance: &'static str,
    pub address: SocketAddr,
    pub path: &'static str,
    /// Whether only the fact and the time of its answer are kept, as in `monitoring/servicemonitors.yaml`.
    pub is_timed_only: bool,
}

/// It stops when this is dropped.
pub struct Prometheus {
    _process: Process,
    /// Its data and its log, which are removed with it.
    directory: TempDir,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts one with the project's rules, which scrapes and evaluates once a second.
    pub fn start(targets: &[Target]) -> anyhow::Result<Self> {
        Self::start_with(targets, &Rules::read().file)
    }

    /// Starts one with other rules.
    pub fn start_with(targets: &[Target], rules: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("tollgate-prometheus-").tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let scrape = |target: &Target| {
            let mut job = json!({
                "job_name": format!("{} {}", target.job, target.instance),
                "metrics_path": target.path,
                "static_configs": [{
                    "targets": [target.address.to_string()],
                    "labels": { "job": target.job, "instance": target.instance },
                }],
            });
            if target.is_timed_only {
                job["metric_relabel_configs"] =
                    json!([{ "action": "drop", "source_labels": ["__name__"], "regex": ".+" }]);
            }
            job
        };
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": ["rules.yaml"],
            "scrape_configs": targets.iter().map(scrape).collect::<Vec<_>>(),
        });
        // JSON is YAML too.
        fs::write(directory.path().join("prometheus.yml"), config.to_string())?;
        fs::write(directory.path().join("rules.yaml"), rules)?;
        let log = File::create(directory.path().join("log"))?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdout(log.as_fd().try_clone_to_owned()?)
            .stderr(log);
        let process = Process::start(command)
            .context("prometheus is needed: apt-get install prometheus, or make setup")?;
        let prometheus = Self { _process: process, directory, address };
        let is_ready =
            || Client::to(address).get("/-/ready").is_ok_and(|answer| answer.status == 200).then_some(());
        wait::until("Prometheus to be ready", Duration::from_secs(30), is_ready)
            .map_err(|error| anyhow::anyhow!("{error}. Its log:\n{}", prometheus.log()))?;
        Ok(prometheus)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until an expression has a value that is a number for some series.
    pub fn finds(&self, expression: &str, patience: Duration) -> anyhow::Result<()> {
        let query = |byte: u8| format!("%{byte:02X}");
        let target = format!("/api/v1/query?query={}", expression.bytes().map(query).collect::<String>());
        let mut last = Value::Null;
        let found = wait::until("series", patience, || {
            last = Client::to(self.address).get(&target).ok()?.json();
            let found = last["data"]["result"].as_array()?;
            found
                .iter()
                .any(|series| series["value"][1].as_str().is_some_and(|value| value != "NaN"))
                .then_some(())
        });
        found.with_context(|| format!("{expression}\nhas no series: {last}"))
    }
}
