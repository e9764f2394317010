//! A `tollgate store` of a test's own, on a free loopback port that it keeps when it is restarted.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::http::{Client, Request};
use crate::process::Process;
use crate::{wait, workspace};

const PATIENCE: Duration = Duration::from_secs(30);

/// A store, stopped when this is dropped.
#[derive(Debug)]
pub struct Store {
    process: Option<Process>,
    /// Its log, and its file if it has one.
    directory: TempDir,
    backend: String,
    address: SocketAddr,
    /// The token that gateways must send, if it wants one.
    token: Option<String>,
    /// A build other than the workspace's.
    program: Option<PathBuf>,
}

impl Store {
    /// Starts one on `backend`, a URL; `redb` is its embedded default in a folder of its own.
    ///
    /// # Errors
    /// If the command is not there, or ends instead of serving: with its log.
    pub fn start(backend: &str) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::start_at(backend, address)
    }

    /// Starts one that wants `token` from gateways, and an unknown one from admins.
    ///
    /// # Errors
    /// As [`Store::start`].
    pub fn start_guarded(backend: &str, token: &str) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::start_with(backend, address, Some(token.to_owned()))
    }

    /// Starts one as [`Store::start`] does, at an address.
    ///
    /// # Errors
    /// As [`Store::start`].
    pub fn start_at(backend: &str, address: SocketAddr) -> anyhow::Result<Self> {
        Self::start_with(backend, address, None)
    }

    /// Starts one as [`Store::start`] does, from another build.
    ///
    /// # Errors
    /// As [`Store::start`].
    pub fn start_as(program: &Path, backend: &str) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::start_program(Some(program.to_owned()), backend, address, None)
    }

    fn start_with(backend: &str, address: SocketAddr, token: Option<String>) -> anyhow::Result<Self> {
        Self::start_program(None, backend, address, token)
    }

    fn start_program(
        program: Option<PathBuf>,
        backend: &str,
        address: SocketAddr,
        token: Option<String>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("tollgate-store-").tempdir()?;
        let backend = match backend {
            "redb" => format!("redb:{}", directory.path().join("store.redb").display()),
            url => url.to_owned(),
        };
        let mut store = Self { process: None, directory, backend, address, token, program };
        store.restart()?;
        Ok(store)
    }

    /// Starts it again after [`Store::kill`], and waits until it serves.
    ///
    /// # Errors
    /// As [`Store::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let program = self.program.clone().map_or_else(workspace::command, Ok)?;
        let log = File::options().create(true).append(true).open(self.directory.path().join("log"))?;
        let mut command = Command::new("sh");
        command
            // So a write beyond [`Store::limit_files`] is an error and does not end the process.
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(&program)
            .args(["store", "--listen", &self.address.to_string()])
            // It is not a flag: it may contain a Redis's password, and the list of processes shows flags.
            .env("TOLLGATE_BACKEND", &self.backend)
            .current_dir(self.directory.path())
            .stdout(log.as_fd().try_clone_to_owned()?)
            .stderr(log);
        if let Some(token) = &self.token {
            command.env("TOLLGATE_GATEWAY_TOKEN", token).env("TOLLGATE_ADMIN_TOKEN", "x".repeat(32));
        }
        let process =
            Process::start(command).with_context(|| format!("cannot start {}", program.display()))?;
        self.process = Some(process);
        wait::until("the store to serve", PATIENCE, || self.serves_or_ended().transpose())
            .and_then(|serves| serves)
            .map_err(|error| anyhow::anyhow!("{error:#}. Its log:\n{}", self.log()))
    }

    fn serves_or_ended(&mut self) -> anyhow::Result<Option<()>> {
        if let Some(status) = self.ended()? {
            anyhow::bail!("the store ended: {status}");
        }
        let answer = self.client().send(&Request::get("/healthz"));
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    }

    /// Kills it, as a crash does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// From now on no file of it may grow beyond `bytes`, which a writer sees as a full disk sees it. With `None` it has room
    /// again.
    ///
    /// # Errors
    /// If it does not run.
    pub fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let id = self.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(id.context("the store does not run")?), Resource::Fsize, limit)?;
        Ok(())
    }

    /// The size of `redb`'s file in bytes.
    ///
    /// # Errors
    /// If there is none.
    pub fn file_size(&self) -> anyhow::Result<u64> {
        Ok(std::fs::metadata(self.directory.path().join("store.redb"))?.len())
    }

    /// Stops it and its clocks, as a machine that hangs does, or lets it continue.
    ///
    /// # Errors
    /// If it does not run.
    pub fn freeze(&self, frozen: bool) -> anyhow::Result<()> {
        let id = self.process.as_ref().context("it was not started")?.id();
        let id = i32::try_from(id).ok().and_then(Pid::from_raw).context("no process")?;
        Ok(kill_process(id, if frozen { Signal::STOP } else { Signal::CONT })?)
    }

    /// Its exit status, if it has ended by itself.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.as_mut().map_or(Ok(None), Process::ended)
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// A new client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// The value of the metrics line that starts with `name`, or the sum of several.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.client().send(&Request::get("/metrics"))?.text();
        let of_line = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        Ok(text.lines().filter(|line| line.starts_with(name)).filter_map(of_line).sum())
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}
