//! How a node is set up, and why it does not start.

use std::collections::BTreeSet;

use crate::module::Module;
use crate::node::Node;
use crate::personality::Personality;
use crate::rules::RuleBroken;
use crate::zone::{Eviction, Zone};

/// The setup of a node.
pub struct Setup {
    pub(crate) personality: Personality,
    pub(crate) workers: usize,
    pub(crate) filters: Vec<String>,
    pub(crate) zones: Vec<Zone>,
    pub(crate) clusters: Vec<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) granted: Option<BTreeSet<&'static str>>,
    /// The number of this node among several.
    pub(crate) number: u64,
}

/// Why a node does not start, or an update fails.
#[derive(Debug)]
pub enum StartError {
    /// The filter refused its configuration; this is the log. Kong starts all the same: see [`Node::is_filtered`].
    Refused(Vec<String>),
    /// The filter broke a rule.
    Broken(RuleBroken),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(log) => write!(out, "the filter refused its configuration:\n{}", log.join("\n")),
            Self::Broken(broken) => broken.fmt(out),
        }
    }
}

impl std::error::Error for StartError {}

impl Setup {
    /// A node of this kind with one worker and, in Kong, a zone `tollgate` of 12 MB.
    #[must_use]
    pub fn new(personality: Personality) -> Self {
        Self {
            personality,
            workers: 1,
            filters: Vec::new(),
            zones: vec![Zone::new("tollgate", 12 << 20, Eviction::Slru)],
            clusters: Vec::new(),
            environment: Vec::new(),
            granted: None,
            number: 1,
        }
    }

    /// Sets the number of workers.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Adds a filter with this configuration to the chain. Two are a service's and a route's chain.
    #[must_use]
    pub fn filter(mut self, configuration: &str) -> Self {
        self.filters.push(configuration.to_owned());
        self
    }

    /// Sets the zones (Kong; Envoy has none).
    #[must_use]
    pub fn zones(mut self, zones: Vec<Zone>) -> Self {
        self.zones = zones;
        self
    }

    /// Adds a cluster (Envoy).
    #[must_use]
    pub fn cluster(mut self, name: &str) -> Self {
        self.clusters.push(name.to_owned());
        self
    }

    /// Adds an environment variable, `NAME=value`.
    #[must_use]
    pub fn environment(mut self, variable: &str) -> Self {
        self.environment.push(variable.to_owned());
        self
    }

    /// Grants only these capabilities (Envoy's `capability_restriction_config`; Kong has no such thing). Without its
    /// capability, no callback is made, and a host call breaks [`Rule::NotGranted`](crate::Rule::NotGranted).
    #[must_use]
    pub fn granting(mut self, capabilities: impl IntoIterator<Item = &'static str>) -> Self {
        self.granted = (!self.personality.is_kong()).then(|| capabilities.into_iter().collect());
        self
    }

    /// Sets the number of this node among several that are otherwise alike.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.number = number;
        self
    }

    /// Starts the node with `module`.
    ///
    /// # Errors
    /// What keeps this kind of node from starting.
    pub fn start(self, module: &Module) -> Result<Node, StartError> {
        Node::start(self, module)
    }
}
