//! Redis servers of a test's own, from the system's packages, on free loopback ports.
//!
//! [`Server`] is one server, in the clear or with an ACL user and TLS; [`watched`] is a master with a replica and three
//! Sentinels; [`cluster`] is a cluster of three masters with a replica each.

pub mod certificate;
pub mod cluster;
pub mod watched;

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::Process;
use crate::wait;
use certificate::Certificates;

/// The longest that a start, or a change that the servers have to agree on, may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The user of [`Server::start_guarded`].
const USER: &str = "tollgate";

/// The user's password, with characters that a URL has to encode.
const PASSWORD: &str = "p@ss:w/rd";

/// The password as a URL writes it.
const PASSWORD_ENCODED: &str = "p%40ss%3Aw%2Frd";

/// One running server with its data; both are gone when this is dropped.
#[derive(Debug)]
pub struct Server {
    process: Option<Process>,
    program: PathBuf,
    directory: TempDir,
    port: u16,
    certificates: Option<Certificates>,
    is_durable: bool,
}

impl Server {
    /// Starts one without TLS, which lets everyone in.
    ///
    /// # Errors
    /// When it is not installed, or ends instead of serving.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("redis-server", |port| format!("port {port}\n"), None)
    }

    /// Starts one that saves nothing, because a benchmark is not about its disk.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_volatile() -> anyhow::Result<Self> {
        let mut server = Self::start()?;
        server.is_durable = false;
        server.restart()?;
        Ok(server)
    }

    /// Starts one that speaks only TLS and admits only one user, who may do what Tollgate does.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_guarded() -> anyhow::Result<Self> {
        let certificates = Certificates::new()?;
        let settings = |port: u16| {
            let files = certificates.directory();
            format!(
                "port 0\ntls-port {port}\ntls-cert-file {0}/server.pem\ntls-key-file {0}/server.key\n\
                 tls-ca-cert-file {0}/ca.pem\ntls-auth-clients no\nuser default off\n\
                 user {USER} on >{PASSWORD} ~tollgate:* {COMMANDS}\n",
                files.display()
            )
        };
        let port = free_port()?;
        let settings = settings(port);
        Self::start_at("redis-server", port, &settings, Some(certificates))
    }

    fn start_with(
        program: &str,
        settings: impl Fn(u16) -> String,
        certificates: Option<Certificates>,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        Self::start_at(program, port, &settings(port), certificates)
    }

    fn start_at(
        program: &str,
        port: u16,
        settings: &str,
        certificates: Option<Certificates>,
    ) -> anyhow::Result<Self> {
        let program = installed(program)?;
        let directory = tempfile::Builder::new().prefix("tollgate-redis-").tempdir()?;
        let place = directory.path().display();
        fs::write(
            directory.path().join("redis.conf"),
            format!("bind 127.0.0.1\ndir {place}\nprotected-mode no\ndaemonize no\n{settings}"),
        )?;
        let is_durable = program.ends_with("redis-server");
        let mut server = Self { process: None, program, directory, port, certificates, is_durable };
        server.restart()?;
        Ok(server)
    }

    /// Its URL, as the store's backend.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.port;
        match &self.certificates {
            Some(certificates) => {
                let ca = certificates.directory().join("ca.pem");
                format!("rediss://{USER}:{PASSWORD_ENCODED}@127.0.0.1:{port}/0?ca={}", ca.display())
            }
            None => format!("redis://127.0.0.1:{port}/0"),
        }
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it with a signal: connections stay open, and nothing is answered.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Continues it.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(kill_process(id.context("the server does not run")?, signal)?)
    }

    /// Starts it again on its port, with the data that it had, and waits until it answers.
    ///
    /// # Errors
    /// If it ends instead.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process = None;
        let log = File::options().create(true).append(true).open(self.directory.path().join("log"))?;
        let mut command = Command::new(&self.program);
        command
            .arg(self.directory.path().join("redis.conf"))
            .current_dir(self.directory.path())
            .stdout(log.as_fd().try_clone_to_owned()?)
            .stderr(log);
        if !self.program.ends_with("redis-sentinel") {
            command.args(["--save", ""]);
        }
        if self.is_durable {
            // With `always`, a killed server comes back with everything that it has answered. With `everysec`, a write can wait
            // in memory until the writes of the last second reach the disk.
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        let mut process = Process::start(command)?;
        let answers = wait::until("Redis to answer", PATIENCE, || match process.ended() {
            Ok(None) => self.answers().then_some(Ok(())),
            Ok(Some(status)) => Some(Err(anyhow::anyhow!("Redis ended: {status}"))),
            Err(error) => Some(Err(error.into())),
        });
        answers.and_then(|answers| answers).with_context(|| format!("its log:\n{}", self.last_words()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Its answer to a command, with each value on its own line.
    ///
    /// # Errors
    /// If it cannot be asked, or answers with an error.
    pub fn ask(&self, command: &[&str]) -> anyhow::Result<String> {
        let mut asked = Command::new("redis-cli");
        asked.args(["-e", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some(certificates) = &self.certificates {
            asked.args(["--tls", "--cacert"]).arg(certificates.directory().join("ca.pem"));
            asked.args(["--user", USER, "--pass", PASSWORD, "--no-auth-warning"]);
        }
        let output = asked.args(command).output().with_context(how_to_install)?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        anyhow::ensure!(output.status.success(), "{command:?}: {text}");
        Ok(text)
    }

    /// Whether it has loaded its data and serves.
    fn answers(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            && self.ask(&["PING"]).is_ok_and(|answer| answer == "PONG")
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

/// What Tollgate's ACL user needs; docs/redis-keys.md says the same.
pub const COMMANDS: &str = "-@all +ping +time +wait +eval +evalsha +fcall +function|load +get +mget +set +sadd +srem \
                            +sscan +smembers +exists +hget +hmget +hgetall +hset +hdel +hincrby +lpush +rpush \
                            +lpop +llen +ltrim +lrange +zadd +zrem +zrangebylex +select";

/// A loopback port on which nothing listened a moment ago, with room for a cluster's second port above it.
fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if port < 50_000 {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port below 50000")
}

/// The path of `program`.
fn installed(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(program));
    found.find(|file| Path::is_file(file)).with_context(how_to_install)
}

fn how_to_install() -> String {
    "redis-server, redis-sentinel and redis-cli are needed: apt-get install redis-server redis-sentinel"
        .to_owned()
}
