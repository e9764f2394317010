//! A `tollgate store` of one's own, on a free loopback port that it keeps when it is restarted.

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
    /// Its log, and its file where it has one.
    directory: TempDir,
    backend: String,
    address: SocketAddr,
    /// The gateways' token, where it wants one.
    token: Option<String>,
    /// Another build of it than the workspace's.
    program: Option<PathBuf>,
}

impl Store {
    /// Starts one on `backend`, a URL; `redb` is its embedded default in a folder of its own.
    ///
    /// # Errors
    /// When the command is not there, or ends instead of serving: with what it has logged.
    pub fn start(backend: &str) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::start_at(backend, address)
    }

    /// The same where gateways have to say `token`, and admins what nobody knows.
    ///
    /// # Errors
    /// As [`Store::start`].
    pub fn start_guarded(backend: &str, token: &str) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::start_with(backend, address, Some(token.to_owned()))
    }

    /// The same as [`Store::start`] at an address.
    ///
    /// # Errors
    /// As [`Store::start`].
    pub fn start_at(backend: &str, address: SocketAddr) -> anyhow::Result<Self> {
        Self::start_with(backend, address, None)
    }

    /// The same as [`Store::start`] with a build of one's own.
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
            // So that a write beyond [`Store::limit_files`] is an error and not the process's end.
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(&program)
            .args(["store", "--listen", &self.address.to_string()])
            // Not a flag: a Redis's password may be in it, and flags are in the list of processes.
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

    /// From now on no file of it may grow beyond so many bytes: to whoever writes this is what a full disk is. `None`: it
    /// has room again.
    ///
    /// # Errors
    /// When it is not there.
    pub fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let id = self.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(id.context("the store does not run")?), Resource::Fsize, limit)?;
        Ok(())
    }

    /// The size of the file that `redb` is kept in, bytes.
    ///
    /// # Errors
    /// When there is none.
    pub fn file_size(&self) -> anyhow::Result<u64> {
        Ok(std::fs::metadata(self.directory.path().join("store.redb"))?.len())
    }

    /// Stops its clocks, as a machine that hangs does, or lets them go on.
    ///
    /// # Errors
    /// When it is not there.
    pub fn freeze(&self, frozen: bool) -> anyhow::Result<()> {
        let id = self.process.as_ref().context("it was not started")?.id();
        let id = i32::try_from(id).ok().and_then(Pid::from_raw).context("no process")?;
        Ok(kill_process(id, if frozen { Signal::STOP } else { Signal::CONT })?)
    }

    /// How it ended, if it has by itself.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.as_mut().map_or(Ok(None), Process::ended)
    }

    /// Where it listens.
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

    /// The value of a line of its metrics that starts with `name`; several are added up.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.client().send(&Request::get("/metrics"))?.text();
        let of_line = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        Ok(text.lines().filter(|line| line.starts_with(name)).filter_map(of_line).sum())
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}
