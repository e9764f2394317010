//! A master, a replica, and three Sentinels that watch them.

use super::{PATIENCE, Server};
use crate::wait;

/// What the Sentinels call the master.
const SERVICE: &str = "tollgate-test";

/// A server that is silent for this many milliseconds counts as down.
const DOWN_AFTER: u32 = 500;

/// All of them, which stop when this is dropped.
#[derive(Debug)]
pub struct Watched {
    servers: [Server; 2],
    sentinels: Vec<Server>,
}

impl Watched {
    /// Starts them and waits until every Sentinel knows the replica and the others.
    ///
    /// # Errors
    /// If something is not installed or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let master = Server::start()?;
        let of = master.port();
        let replica = Server::start_with(
            "redis-server",
            |port| format!("port {port}\nreplicaof 127.0.0.1 {of}\n"),
            None,
        )?;
        let watch = |port| {
            format!(
                "port {port}\nsentinel monitor {SERVICE} 127.0.0.1 {of} 2\n\
                 sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}\n\
                 sentinel failover-timeout {SERVICE} 5000\nsentinel parallel-syncs {SERVICE} 1\n"
            )
        };
        let sentinels = (0..3).map(|_| Server::start_with("redis-sentinel", watch, None));
        let watched = Self { servers: [master, replica], sentinels: sentinels.collect::<Result<_, _>>()? };
        wait::until("the Sentinels to know each other", PATIENCE, || {
            watched.sentinels.iter().all(Self::knows_all).then_some(())
        })?;
        Ok(watched)
    }

    /// The URL of the store's backend.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis+sentinel://{}/{SERVICE}/0", hosts.join(","))
    }

    /// The server that the Sentinels call master.
    ///
    /// # Errors
    /// If they name none of these.
    pub fn master(&mut self) -> anyhow::Result<&mut Server> {
        let named = self.sentinels[0].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE])?;
        let port = named.lines().nth(1).unwrap_or_default().to_owned();
        let found = self.servers.iter_mut().find(|server| server.port().to_string() == port);
        found.ok_or_else(|| anyhow::anyhow!("the Sentinels name {named:?}"))
    }

    /// Waits until the replica has everything that the master has.
    ///
    /// # Errors
    /// If that does not happen.
    pub fn replicated(&mut self) -> anyhow::Result<()> {
        let master = self.master()?;
        wait::until("the replica to follow", PATIENCE, || has_all(master).then_some(()))
    }

    /// Waits until the replica is master in place of the killed one.
    ///
    /// # Errors
    /// If it is not promoted.
    pub fn failed_over(&mut self) -> anyhow::Result<()> {
        wait::until("the replica to become master", PATIENCE, || {
            let master = self.master().ok()?;
            master.ask(&["ROLE"]).ok()?.starts_with("master").then_some(())
        })
    }

    /// Starts again whatever was killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let mut dead = self.servers.iter_mut().filter(|server| server.id().is_none());
        dead.try_for_each(Server::restart)
    }

    fn knows_all(sentinel: &Server) -> bool {
        let Ok(text) = sentinel.ask(&["SENTINEL", "MASTER", SERVICE]) else { return false };
        let lines: Vec<&str> = text.lines().collect();
        let says = |field: &str, value: &str| lines.windows(2).any(|pair| pair == [field, value]);
        says("num-slaves", "1") && says("num-other-sentinels", "2") && says("flags", "master")
    }
}

/// Whether a replica is connected to `master` and has read all that it wrote.
pub(super) fn has_all(master: &Server) -> bool {
    let Ok(text) = master.ask(&["INFO", "replication"]) else { return false };
    let value = |line: &str, name: &str| line.trim().split_once(name).map(|(_, value)| value.to_owned());
    let written = text.lines().find_map(|line| value(line, "master_repl_offset:"));
    let read = text.lines().find(|line| line.starts_with("slave0:"));
    let read = read.and_then(|line| line.split(',').find_map(|part| value(part, "offset=")));
    written.is_some() && written == read
}
