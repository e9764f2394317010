//! A cluster of three masters with a replica each.

use std::process::Command;

use anyhow::Context as _;

use super::watched::has_all;
use super::{PATIENCE, Server};
use crate::wait;

/// A node that is silent for this many milliseconds counts as failing.
const NODE_TIMEOUT: u32 = 1_000;

/// All nodes, which stop when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts it and waits until every node calls it complete.
    ///
    /// # Errors
    /// If something is not installed or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let settings = |port| {
            format!(
                "port {port}\ncluster-enabled yes\ncluster-config-file nodes.conf\n\
                 cluster-node-timeout {NODE_TIMEOUT}\ncluster-require-full-coverage no\n\
                 cluster-replica-validity-factor 0\nrepl-diskless-sync-delay 0\n"
            )
        };
        let nodes = (0..6).map(|_| Server::start_with("redis-server", settings, None));
        let cluster = Self { nodes: nodes.collect::<Result<_, _>>()? };
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(cluster.addresses());
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = create.output().context("redis-cli")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(output.status.success(), "the cluster is not made:\n{said}");
        wait::until("the cluster to be whole", PATIENCE, || {
            let masters: Vec<&Server> = cluster.nodes.iter().filter(|node| is_master(node)).collect();
            let is_whole = cluster.nodes.iter().all(is_content)
                && masters.len() == 3
                && masters.iter().all(|master| has_all(master));
            is_whole.then_some(())
        })?;
        Ok(cluster)
    }

    /// The URL of the store's backend: two nodes, which know the others.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis-cluster://{}", self.addresses()[..2].join(","))
    }

    /// The masters that run.
    pub fn masters(&self) -> impl Iterator<Item = &Server> {
        self.live().filter(|node| is_master(node))
    }

    /// Kills the master of `key`'s slot, as a crash would. Returns the place of that node.
    ///
    /// # Errors
    /// If no master has the slot.
    pub fn kill_master_of(&mut self, key: &str) -> anyhow::Result<usize> {
        let slot = self.live().next().context("no node is left")?.ask(&["CLUSTER", "KEYSLOT", key])?;
        let slot: u16 = slot.parse()?;
        let place = self.nodes.iter().position(|node| node.id().is_some() && has_slot(node, slot));
        let place = place.context("no master has the slot")?;
        self.nodes[place].kill();
        Ok(place)
    }

    /// The master of `key`'s slot, and another master.
    ///
    /// # Errors
    /// If no master has the slot, or it is the only one.
    pub fn owner_and_another(&self, key: &str) -> anyhow::Result<(&Server, &Server)> {
        let slot = self.live().next().context("no node is left")?.ask(&["CLUSTER", "KEYSLOT", key])?;
        let slot: u16 = slot.parse()?;
        let (owners, others): (Vec<&Server>, Vec<&Server>) =
            self.masters().partition(|node| has_slot(node, slot));
        let owner = owners.first().context("no master has the slot")?;
        Ok((owner, others.first().context("there is no other master")?))
    }

    /// Waits until the replica of the killed node has its slots, and the others know.
    ///
    /// # Errors
    /// If it is not promoted.
    pub fn failed_over(&self) -> anyhow::Result<()> {
        wait::until("the replica to be promoted", PATIENCE, || {
            let masters = self.live().filter(|node| is_master(node)).count();
            (masters == 3 && self.live().all(is_content)).then_some(())
        })
    }

    /// Starts again whatever was killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let mut dead = self.nodes.iter_mut().filter(|server| server.id().is_none());
        dead.try_for_each(Server::restart)
    }

    /// Waits until every replica has everything that its master has.
    ///
    /// # Errors
    /// If that does not happen.
    pub fn replicated(&self) -> anyhow::Result<()> {
        wait::until("the replicas to follow", PATIENCE, || self.masters().all(has_all).then_some(()))
    }

    fn live(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter(|node| node.id().is_some())
    }

    fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect()
    }
}

fn is_master(node: &Server) -> bool {
    node.ask(&["ROLE"]).is_ok_and(|role| role.starts_with("master"))
}

/// Whether the node believes that all slots are served.
fn is_content(node: &Server) -> bool {
    node.ask(&["CLUSTER", "INFO"])
        .is_ok_and(|info| info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384"))
}

/// Whether the node is the master of `slot`.
fn has_slot(node: &Server, slot: u16) -> bool {
    let Ok(nodes) = node.ask(&["CLUSTER", "NODES"]) else { return false };
    let Some(line) = nodes.lines().find(|line| line.contains("myself,master")) else { return false };
    line.split_whitespace().skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
    })
}
