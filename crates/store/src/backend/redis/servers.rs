//! The servers of one Redis, and which of them a command is for.

use redis::{Cmd, Pipeline, Value};

use super::cluster::Cluster;
use super::connection::Connection;
use super::connector::{Connector, Endpoint};
use super::fault::{Fault, outcome};
use super::key;
use super::target::{Layout, Target, UrlError};
use crate::backend::BackendError;

/// A command, and the slot that all of its keys are in.
#[derive(Clone)]
pub(super) struct Command {
    pub slot: u16,
    pub command: Cmd,
}

/// The result of a command.
pub(super) type Outcome = Result<Value, Fault>;

/// The servers, and how commands get to them.
pub(super) struct Servers {
    topology: Topology,
    /// How many replicas must have a write before it is answered.
    replicas: u32,
    /// How long to wait for the replicas, in milliseconds.
    patience: u64,
}

enum Topology {
    /// One server has all slots: the only one, or the Sentinels' master.
    One(Connection),
    /// Each server has some of the slots.
    Many(Cluster),
}

impl Command {
    /// `command`, whose first key is `key`.
    pub fn new(key: &str, command: Cmd) -> Self {
        Self { slot: key::slot_of(key), command }
    }
}

impl Servers {
    /// Starts to connect.
    pub async fn start(target: &Target) -> Result<Self, UrlError> {
        let topology = match &target.layout {
            Layout::Single { host, database } => Topology::One(Connection::start(
                Connector::new(target, *database)?,
                Endpoint::Server(host.clone()),
            )),
            Layout::Sentinel { hosts, service, database, login } => {
                let (sentinels, service, login) = (hosts.clone(), service.clone(), login.clone());
                let endpoint = Endpoint::Master { sentinels, service, login };
                Topology::One(Connection::start(Connector::new(target, *database)?, endpoint))
            }
            Layout::Cluster { hosts } => {
                Topology::Many(Cluster::start(Connector::new(target, 0)?, hosts.clone()))
            }
        };
        match &topology {
            Topology::One(connection) => connection.first_try().await,
            Topology::Many(cluster) => cluster.first_try().await,
        }
        // Half of a command's time, so that a write without confirmation is still answered in time.
        let patience = u64::try_from(target.command_timeout.as_millis() / 2).unwrap_or(u64::MAX).max(1);
        Ok(Self { topology, replicas: target.replicas, patience })
    }

    /// Commands of different groups cannot share keys; commands of one group can.
    pub fn group_of(&self, slot: u16) -> u16 {
        match &self.topology {
            Topology::One(_) => 0,
            Topology::Many(_) => slot,
        }
    }

    /// One of `slots` for each server that has some, with the server's name if there are several. Slots without a
    /// server are a part, too.
    pub fn parts<T>(&self, mut slots: impl Iterator<Item = (u16, T)>) -> Vec<(Option<String>, T)> {
        match &self.topology {
            Topology::One(_) => slots.next().map(|(_, first)| (None, first)).into_iter().collect(),
            Topology::Many(cluster) => cluster.parts(slots),
        }
    }

    /// Sends all `commands` at once, and to one server in their order. Each has its outcome.
    pub async fn send(&self, commands: Vec<Command>) -> Vec<Outcome> {
        match &self.topology {
            Topology::One(connection) => {
                pass(connection, commands.iter().map(|command| &command.command), None).await
            }
            Topology::Many(cluster) => cluster.send(commands, None).await,
        }
    }

    /// Sends commands that change something. They succeed only if as many replicas have the change as the URL asks for.
    pub async fn write(&self, commands: Vec<Command>) -> Vec<Outcome> {
        let wait = (self.replicas > 0).then_some((self.replicas, self.patience));
        match &self.topology {
            Topology::One(connection) => {
                pass(connection, commands.iter().map(|command| &command.command), wait).await
            }
            Topology::Many(cluster) => cluster.send(commands, wait).await,
        }
    }

    /// Sends one command.
    pub async fn ask(&self, command: Command) -> Result<Value, BackendError> {
        Ok(self.send(vec![command]).await.pop().unwrap_or(Err(Fault::Unanswered))?)
    }

    /// The clock of the first server that answers.
    pub async fn time(&self) -> Result<Value, BackendError> {
        let command = redis::cmd("TIME");
        match &self.topology {
            Topology::One(connection) => {
                Ok(pass(connection, [&command], None).await.pop().unwrap_or(Err(Fault::Unanswered))?)
            }
            Topology::Many(cluster) => Ok(cluster.ask_any(&command).await?),
        }
    }
}

/// Sends `commands` to one server. If `wait` says how many replicas must confirm them and how long to wait, the server
/// waits.
pub(super) async fn pass<'a>(
    connection: &Connection,
    commands: impl IntoIterator<Item = &'a Cmd>,
    wait: Option<(u32, u64)>,
) -> Vec<Outcome> {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command.clone());
    }
    let count = pipeline.len();
    if count == 0 {
        return Vec::new();
    }
    if let Some((replicas, patience)) = wait {
        pipeline.cmd("WAIT").arg(replicas).arg(patience);
    }
    let values = match connection.send(&pipeline).await {
        Ok(values) => values,
        Err(why) => return vec![Err(why.into()); count],
    };
    let mut outcomes: Vec<Outcome> = values.into_iter().map(outcome).collect();
    if let Some((wanted, _)) = wait {
        let confirmed = match outcomes.pop() {
            Some(Ok(Value::Int(confirmed))) => confirmed,
            _ => 0,
        };
        if confirmed < i64::from(wanted) {
            return vec![Err(Fault::Unconfirmed { confirmed, wanted }); count];
        }
    }
    outcomes.resize(count, Err(Fault::Unanswered));
    outcomes
}
