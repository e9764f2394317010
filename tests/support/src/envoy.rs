//! An Envoy of a test's own: `envoy/envoy.yaml`, changed where the test says so, on free loopback ports.

mod config;

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
pub use config::Config;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Client, Response};
use crate::process::Process;
use crate::{wait, workspace};

/// The longest that a start or an update may take: V8 compiles the filter once for every worker, on a machine that may be busy
/// with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same under a runner, which slows everything down.
const PATIENCE_UNDER_A_RUNNER: Duration = Duration::from_secs(600);

/// Lines of Envoy's log that go into an error.
const LAST_WORDS: usize = 12;

/// A running Envoy, stopped when this is dropped.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    /// Its configuration and its log, which are removed with it.
    directory: TempDir,
    address: SocketAddr,
    admin: SocketAddr,
    updates: u64,
}

impl Envoy {
    /// Starts one with `workers` threads and waits until it serves.
    ///
    /// # Errors
    /// If it is not installed, or ends instead of serving: with the last lines of its log.
    pub fn start(config: &Config, workers: u32) -> anyhow::Result<Self> {
        Self::start_under(config, workers, &[])
    }

    /// Starts one under another program, such as `valgrind`, which gets Envoy's command after its own arguments.
    ///
    /// # Errors
    /// As [`Envoy::start`], and when that program is not installed.
    pub fn start_under(config: &Config, workers: u32, runner: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(workers, runner, |directory| {
            fs::write(directory.join("envoy.yaml"), config.to_json())
        })
    }

    /// Starts one whose listener comes from a file, which [`Envoy::update`] replaces while it serves.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub fn start_updatable(config: &Config, workers: u32) -> anyhow::Result<Self> {
        Self::start_with(workers, &[], |directory| {
            let (bootstrap, listeners) = config.split(&directory.join("listeners.json"));
            fs::write(directory.join("listeners.json"), discovery(&listeners, 0))?;
            fs::write(directory.join("envoy.yaml"), bootstrap)
        })
    }

    fn start_with(
        workers: u32,
        runner: &[&str],
        write: impl Fn(PathBuf) -> io::Result<()>,
    ) -> anyhow::Result<Self> {
        let envoy = workspace::envoy()?;
        let directory = tempfile::Builder::new().prefix("tollgate-envoy-").tempdir()?;
        write(directory.path().into())?;
        let log = File::create(directory.path().join("log"))?;
        let program = runner.first().map_or(envoy.as_path(), Path::new);
        let mut command = Command::new(program);
        if let [_, arguments @ ..] = runner {
            command.args(arguments).arg(&envoy);
        }
        command
            .arg("--config-path")
            .arg(directory.path().join("envoy.yaml"))
            .arg("--admin-address-path")
            .arg(directory.path().join("admin"))
            .args(["--concurrency", &workers.to_string()])
            .args(["--log-level", "warning", "--component-log-level", "wasm:info,misc:error"])
            // Several of them run at once, and none is ever restarted in place.
            .arg("--disable-hot-restart")
            .current_dir(workspace::root())
            .stdout(log.as_fd().try_clone_to_owned()?)
            .stderr(log);
        let process =
            Process::start(command).with_context(|| format!("cannot start {}", program.display()))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut envoy = Self { process, directory, address: nowhere, admin: nowhere, updates: 0 };
        let patience = if runner.is_empty() { PATIENCE } else { PATIENCE_UNDER_A_RUNNER };
        wait::until("Envoy to serve", patience, || envoy.serves_or_ended().transpose())
            .and_then(|serves| serves)
            .map_err(|error| anyhow::anyhow!("{error:#}. Its log ends so:\n{}", envoy.last_words()))?;
        Ok(envoy)
    }

    /// The address that takes the clients' requests.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of its admin interface.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A new client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn ended(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.process.ended()
    }

    /// Replaces the listener of one that is updatable, and waits until the new one is in force.
    ///
    /// # Errors
    /// If Envoy refuses it (it then serves with the old one), with the last lines of its log.
    pub fn update(&mut self, config: &Config) -> anyhow::Result<()> {
        let [accepted, rejected] = self.counters(["update_success", "update_rejected"])?;
        self.updates += 1;
        let file = self.directory.path().join("listeners.json");
        let next = file.with_extension("next");
        fs::write(&next, discovery(&config.split(&file).1, self.updates))?;
        fs::rename(next, file)?;
        let was_accepted = wait::until("Envoy to take the update", PATIENCE, || {
            let [accepted_now, rejected_now] = self.counters(["update_success", "update_rejected"]).ok()?;
            (accepted_now > accepted || rejected_now > rejected).then_some(rejected_now == rejected)
        })?;
        anyhow::ensure!(was_accepted, "Envoy refuses the update. Its log ends so:\n{}", self.last_words());
        wait::until("the new listener to take over", PATIENCE, || {
            let warming = self.metric("envoy_listener_manager_total_listeners_warming").ok()?;
            (warming == 0).then_some(())
        })
    }

    /// Every metric, in Prometheus' format.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub fn prometheus(&self) -> io::Result<String> {
        Ok(self.ask("/stats/prometheus")?.text())
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// `Envoy 1.40.0`.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub fn version(&self) -> io::Result<String> {
        // The text is commit, version and build, with slashes between them.
        let info = self.ask("/server_info")?.json();
        let version = info["version"].as_str().and_then(|version| version.split('/').nth(1));
        Ok(format!("Envoy {}", version.unwrap_or("of an unknown version")))
    }

    fn ask(&self, what: &str) -> io::Result<Response> {
        Client::to(self.admin).get(what)
    }

    fn counters<const N: usize>(&self, names: [&str; N]) -> anyhow::Result<[u64; N]> {
        let values = names.map(|name| self.metric(&format!("envoy_listener_manager_lds_{name}")));
        let values: Vec<u64> = values.into_iter().collect::<anyhow::Result<_>>()?;
        values.try_into().map_err(|_| anyhow::anyhow!("as many values as names"))
    }

    /// The value of a metric without labels.
    fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let all = self.prometheus()?;
        let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("{} "));
        line.with_context(|| format!("no metric {name}"))?.parse().context(name.to_owned())
    }

    /// Whether it serves now; an error when it has ended.
    fn serves_or_ended(&mut self) -> anyhow::Result<Option<()>> {
        if let Some(status) = self.ended()? {
            anyhow::bail!("Envoy does not serve, it ended: {status}");
        }
        Ok(self.find_addresses())
    }

    fn find_addresses(&mut self) -> Option<()> {
        let admin = fs::read_to_string(self.directory.path().join("admin")).ok()?;
        self.admin = admin.trim().parse().ok()?;
        (self.ask("/ready").ok()?.status == 200).then_some(())?;
        let listeners = self.ask("/listeners?format=json").ok()?.json();
        let place = listeners.pointer("/listener_statuses/0/local_address/socket_address")?;
        let ip = place.get("address")?.as_str()?.parse().ok()?;
        let port = place.get("port_value")?.as_u64()?;
        self.address = SocketAddr::new(ip, u16::try_from(port).ok()?);
        Some(())
    }

    /// The last lines of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }
}

/// A file of the listener discovery service.
fn discovery(listeners: &Value, version: u64) -> String {
    let mut resources = listeners.clone();
    for listener in resources.as_array_mut().into_iter().flatten() {
        listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
    }
    json!({ "version_info": version.to_string(), "resources": resources }).to_string()
}
