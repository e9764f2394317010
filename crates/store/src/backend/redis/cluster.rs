//! A cluster: which node has which slots, and commands that go to several nodes at once.
//!
//! The map of slots is read from any node that answers: every few seconds, when a node says that a slot has moved, and
//! when a node is away. No command is repeated that may have been carried out. A redirected command was not; any other
//! failure is final.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::connection::Connection;
use super::connector::{Connector, Endpoint};
use super::fault::Fault;
use super::servers::{Command, Outcome, pass};
use super::target::Address;
use crate::locks;

/// How often the map is read again without a reason.
const REFRESH: Duration = Duration::from_secs(5);

/// The least time between two reads of the map, because many calls may notice a change.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// How many redirections a command follows.
const HOPS: usize = 3;

/// The nodes of a cluster.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    refresher: AbortHandle,
}

struct Shared {
    connector: Connector,
    seeds: Vec<Address>,
    connections: RwLock<HashMap<Address, Arc<Connection>>>,
    map: RwLock<Arc<Map>>,
    stale: Notify,
    tried: Notify,
}

/// Which node has which slots.
#[derive(Debug, Default)]
struct Map {
    /// First slot, last slot, master.
    ranges: Vec<(u16, u16, Address)>,
    /// Whether the map was ever read.
    is_read: bool,
}

impl Cluster {
    /// Starts to read the map from `seeds`.
    pub fn start(connector: Connector, seeds: Vec<Address>) -> Self {
        let shared = Arc::new(Shared {
            connector,
            seeds,
            connections: RwLock::default(),
            map: RwLock::default(),
            stale: Notify::new(),
            tried: Notify::new(),
        });
        let refresher = tokio::spawn(refresh(Arc::clone(&shared))).abort_handle();
        Self { shared, refresher }
    }

    /// Waits for the first attempt to read the map.
    pub async fn first_try(&self) {
        let tried = self.shared.tried.notified();
        tokio::pin!(tried);
        tried.as_mut().enable();
        if !self.shared.map().is_read {
            tried.await;
        }
    }

    /// One of `slots` for each master that has some, with the master's name; and one that no master has.
    pub fn parts<T>(&self, slots: impl Iterator<Item = (u16, T)>) -> Vec<(Option<String>, T)> {
        let map = self.shared.map();
        let mut seen = HashSet::new();
        let first_of_each = slots.filter_map(|(slot, what)| {
            let master = map.master_of(slot);
            let name = master.as_ref().map(ToString::to_string);
            seen.insert(master).then_some((name, what))
        });
        first_of_each.collect()
    }

    /// Sends each command to its node. All nodes work at once, and a node gets its commands in a pipeline.
    pub async fn send(&self, commands: Vec<Command>, wait: Option<(u32, u64)>) -> Vec<Outcome> {
        let map = self.shared.map();
        let mut outcomes = vec![Err(Fault::NoNode); commands.len()];
        let mut waiting: Vec<(usize, Option<Address>, bool)> = commands
            .iter()
            .enumerate()
            .map(|(index, command)| (index, map.master_of(command.slot), false))
            .collect();
        for _ in 0..HOPS {
            let mut nodes: HashMap<(Address, bool), Vec<usize>> = HashMap::new();
            for (index, host, is_asking) in waiting.drain(..) {
                match host {
                    Some(host) => nodes.entry((host, is_asking)).or_default().push(index),
                    None => self.shared.stale.notify_one(),
                }
            }
            let sent = join_all(nodes.into_iter().map(|((host, is_asking), indices)| {
                let commands =
                    indices.iter().filter_map(|index| commands.get(*index)).map(|command| &command.command);
                let commands: Vec<&Cmd> = commands.collect();
                async move { (self.send_to(&host, is_asking, &commands, wait).await, host, indices) }
            }));
            for (came, host, indices) in sent.await {
                for (index, outcome) in indices.into_iter().zip(came) {
                    match outcome {
                        Err(Fault::Redirected(redirection)) => {
                            waiting.push((index, Some(redirection.to(&host)), redirection.is_asking));
                        }
                        outcome => put(&mut outcomes, index, outcome),
                    }
                }
            }
            if waiting.is_empty() {
                break;
            }
        }
        outcomes
    }

    async fn send_to(
        &self,
        host: &Address,
        is_asking: bool,
        commands: &[&Cmd],
        wait: Option<(u32, u64)>,
    ) -> Vec<Outcome> {
        let connection = self.shared.connection(host);
        let asking = redis::cmd("ASKING");
        let came = if is_asking {
            // ASKING holds for the next command only.
            let all = commands.iter().flat_map(|command| [&asking, *command]);
            let came = pass(&connection, all, wait).await;
            came.into_iter().skip(1).step_by(2).collect()
        } else {
            pass(&connection, commands.iter().copied(), wait).await
        };
        if came.iter().any(makes_map_doubtful) {
            self.shared.stale.notify_one();
        }
        came
    }

    /// The answer of the first node that answers.
    pub async fn ask_any(&self, command: &Cmd) -> Outcome {
        self.shared.ask_any(command).await.map(|(answer, _)| answer)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

impl Shared {
    fn map(&self) -> Arc<Map> {
        Arc::clone(&locks::read(&self.map))
    }

    /// The connection to `host`, which is made if there is none.
    fn connection(&self, host: &Address) -> Arc<Connection> {
        let found = locks::read(&self.connections).get(host).map(Arc::clone);
        found.unwrap_or_else(|| {
            let mut connections = locks::write(&self.connections);
            let connection =
                || Arc::new(Connection::start(self.connector.clone(), Endpoint::Server(host.clone())));
            Arc::clone(connections.entry(host.clone()).or_insert_with(connection))
        })
    }

    async fn ask_any(&self, command: &Cmd) -> Result<(Value, Address), Fault> {
        let mut hosts: Vec<Address> = self.map().ranges.iter().map(|(_, _, host)| host.clone()).collect();
        hosts.extend(self.seeds.iter().cloned());
        let mut asked: Vec<Address> = Vec::new();
        let mut why = Fault::NoNodes;
        for host in hosts {
            if asked.contains(&host) {
                continue;
            }
            match pass(&self.connection(&host), [command], None).await.pop() {
                Some(Ok(answer)) => return Ok((answer, host)),
                Some(Err(fault)) => why = fault,
                None => {}
            }
            asked.push(host);
        }
        Err(why)
    }

    async fn read_map(&self) -> Result<(), Fault> {
        let (answer, asked) = self.ask_any(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let ranges =
            ranges(&answer, &asked).ok_or_else(|| Fault::Refused("CLUSTER SLOTS cannot be read".into()))?;
        // Nodes that have left are dropped. Seeds are kept, so that there is always a node to ask.
        locks::write(&self.connections).retain(|host, _| {
            self.seeds.contains(host) || ranges.iter().any(|(_, _, master)| master == host)
        });
        *locks::write(&self.map) = Arc::new(Map { ranges, is_read: true });
        Ok(())
    }
}

impl Map {
    fn master_of(&self, slot: u16) -> Option<Address> {
        let range = self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        range.map(|(_, _, host)| host.clone())
    }
}

/// Reads the answer to CLUSTER SLOTS. A node that does not know its own name is the one that was asked.
pub(super) fn ranges(answer: &Value, asked: &Address) -> Option<Vec<(u16, u16, Address)>> {
    let Value::Array(rows) = answer else { return None };
    let row = |row: &Value| {
        let Value::Array(row) = row else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = row.as_slice() else {
            return None;
        };
        let [name, Value::Int(port), ..] = master.as_slice() else { return None };
        let name = match name {
            Value::BulkString(name) if !name.is_empty() && name != b"?" => {
                String::from_utf8(name.clone()).ok()?
            }
            _ => asked.name.clone(),
        };
        let host = Address { name, port: u16::try_from(*port).ok()? };
        Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, host))
    };
    rows.iter().map(row).collect()
}

/// Whether an outcome suggests that the map is outdated. While a slot is moving, it still has its old node.
fn makes_map_doubtful(outcome: &Outcome) -> bool {
    match outcome {
        Err(Fault::Redirected(redirection)) => !redirection.is_asking,
        Err(Fault::Away(_) | Fault::Unavailable(_) | Fault::Unanswered) => true,
        _ => false,
    }
}

fn put(outcomes: &mut [Outcome], index: usize, outcome: Outcome) {
    if let Some(place) = outcomes.get_mut(index) {
        *place = outcome;
    }
}

async fn refresh(shared: Arc<Shared>) {
    loop {
        let read = shared.read_map().await;
        shared.tried.notify_waiters();
        if let Err(fault) = &read {
            tracing::debug!("the cluster's slots could not be read: {fault}");
        }
        tokio::time::sleep(AT_MOST_EVERY).await;
        let pause = if read.is_ok() { REFRESH } else { AT_MOST_EVERY };
        let _ = tokio::time::timeout(pause, shared.stale.notified()).await;
    }
}
