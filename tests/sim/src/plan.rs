//! All that is decided about a run before it begins: what there is, who asks, what breaks. From it and its seed follows
//! the rest, so a plan with less in it is a simpler run of the same kind.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::random::PerMillion;

/// Nanoseconds.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds.
pub const SECOND: u64 = 1_000 * MILLISECOND;

/// The namespace of every run.
pub const NAMESPACE: &str = "sim";

/// See the [module](self). Times are nanoseconds, from the run's beginning where nothing else is said.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its scenario's name.
    pub scenario: &'static str,
    /// What all chance is drawn from.
    pub seed: u64,
    /// When it begins, since the Unix epoch.
    pub start: u64,
    /// For how long clients ask.
    pub length: u64,
    /// The tiers; the strangers' comes last.
    pub tiers: Vec<Tier>,
    /// How gateways work with the store.
    pub store: Terms,
    /// Room in each node's table.
    pub room: u32,
    /// The gateways.
    pub nodes: Vec<Node>,
    /// Replicas of the store.
    pub replicas: usize,
    /// The network between gateways and replicas.
    pub network: Network,
    /// What the replicas share.
    pub redis: Redis,
    /// What can happen between two steps of a worker.
    pub memory: Memory,
    /// Who asks.
    pub clients: Vec<Client>,
    /// What breaks, or is changed, and when.
    pub faults: Vec<(u64, Fault)>,
    /// A client that waits for an answer goes away.
    pub impatience: PerMillion,
    /// What has to hold beyond what always has to.
    pub claims: Claims,
}

/// A tier, in the policy's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// None: unlimited.
    pub rates: Vec<Rate>,
    /// Units a month.
    pub monthly: Option<u64>,
    /// Of its own.
    pub on_failure: Option<OnFailure>,
}

/// So many units a period, and a bucket of `burst` hundredths of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units.
    pub units: u64,
    /// The period's length: 1, 60, 3,600 or 86,400.
    pub seconds: u64,
    /// At least 100.
    pub burst: u64,
}

/// The policy's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OnFailure {
    Local,
    Ip,
    Open,
    Closed,
}

/// How gateways work with the store.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Every request asks.
    pub is_strict: bool,
    /// Milliseconds.
    pub timeout: u64,
    /// Milliseconds.
    pub sync_interval: u64,
    /// Where tiers say nothing.
    pub on_failure: OnFailure,
}

/// Which gateway it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Personality {
    Kong,
    Envoy,
}

/// A gateway.
#[derive(Clone, Debug)]
pub struct Node {
    /// Which it is.
    pub personality: Personality,
    /// Its workers.
    pub workers: usize,
    /// Its wall clock less the true time.
    pub wall: i64,
    /// How much faster than true time its monotonic clock is, millionths.
    pub drift: i64,
    /// What its monotonic clock shows when the run begins.
    pub uptime: u64,
}

/// The network between gateways and replicas. Of a message each way.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The shortest delay.
    pub least: u64,
    /// The longest; drawn evenly.
    pub most: u64,
    /// A message is lost.
    pub loss: PerMillion,
    /// A request arrives twice.
    pub twice: PerMillion,
    /// A message takes much longer, and others overtake it.
    pub straggles: PerMillion,
    /// A reply is not what it was: cut off, garbage, an error of something between.
    pub garbled: PerMillion,
}

/// What the replicas share.
#[derive(Clone, Copy, Debug)]
pub struct Redis {
    /// A call's way there and back; 0: it is as if in the replica's own memory.
    pub delay: u64,
    /// A replica dies while it waits for it.
    pub crash: PerMillion,
    /// How much of the newest a replica of its own does not have.
    pub lag: u64,
}

/// What can happen between two steps of a worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Another worker of the node does something between a read and a write.
    pub meddling: PerMillion,
    /// A write is lost to one that changed nothing.
    pub lost: PerMillion,
    /// A read is torn (Kong).
    pub torn: PerMillion,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Client {
    /// A consumer's name; none: strangers, each request from one of `crowd` addresses.
    pub name: Option<String>,
    /// A place among the tiers.
    pub tier: usize,
    /// How many strangers.
    pub crowd: u32,
    /// How it asks.
    pub habit: Habit,
    /// Where it asks.
    pub place: Place,
    /// What it asks for: costs, thousandths.
    pub costs: Vec<u64>,
}

/// How a client asks.
#[derive(Clone, Copy, Debug)]
pub enum Habit {
    /// Every so often, about.
    Steady {
        /// Between two requests on average.
        every: u64,
    },
    /// Many at once, every so often.
    Burst {
        /// How many.
        size: u32,
        /// Between two bursts on average.
        every: u64,
    },
    /// As fast as it is let; after a refusal not before it is told to come again.
    Patient {
        /// Between two requests that are let through.
        every: u64,
    },
}

/// Where a client asks.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// At any gateway.
    Anywhere,
    /// Now at this gateway, a second later at that.
    Moving,
    /// Always at the same one.
    At(usize),
    /// Nine times in ten at the first.
    Skewed,
    /// At the first 90 times in a hundred, at the second 9 times, at the third once.
    Steep,
}

/// What breaks, or is changed.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A gateway cannot reach a replica.
    Partition {
        /// The gateway.
        node: usize,
        /// The replica; none: all of them.
        replica: Option<usize>,
        /// For how long.
        length: u64,
        /// Whether it is told at once.
        is_refused: bool,
    },
    /// A replica is killed, and is back later.
    ReplicaCrash {
        /// Which.
        replica: usize,
        /// For how long it is away.
        length: u64,
    },
    /// Redis does not answer.
    RedisAway {
        /// For how long.
        length: u64,
        /// Whether calls to it hang, instead of being refused.
        hangs: bool,
    },
    /// Redis takes its time.
    RedisSlow {
        /// For how long.
        length: u64,
        /// A call's time.
        delay: u64,
    },
    /// Redis's replica takes over, without the newest.
    RedisFailsOver {
        /// Its clock less the old one's.
        skew: i64,
    },
    /// A gateway is killed, and is back later.
    NodeCrash {
        /// Which.
        node: usize,
        /// For how long it is away.
        length: u64,
    },
    /// A worker's memory is lost.
    Rebuild {
        /// The gateway.
        node: usize,
        /// The worker.
        worker: usize,
        /// Whether its old roots go on ticking.
        doubles: bool,
    },
    /// Somebody sets a gateway's wall clock.
    WallJumps {
        /// Which.
        node: usize,
        /// By so much.
        by: i64,
    },
    /// Somebody sets the clock that the store goes by.
    StoreClockJumps {
        /// By so much.
        by: i64,
    },
    /// The network is bad for a while.
    BadNetwork {
        /// What it is.
        network: Network,
        /// For how long.
        length: u64,
    },
    /// A slot of a gateway's table holds what nobody wrote.
    SpoiledSlot {
        /// Which gateway.
        node: usize,
    },
    /// All gateways get another policy, one after the other.
    Policy {
        /// Its tiers: as many, of the same names.
        tiers: Vec<Tier>,
        /// Between two gateways.
        pace: u64,
    },
    /// An admin gives a consumer limits of its own, or takes them away.
    Override {
        /// A place among the clients.
        client: usize,
        /// None: it is removed.
        limits: Option<Tier>,
    },
    /// An admin makes a consumer's bucket or month whole.
    Reset {
        /// A place among the clients.
        client: usize,
        /// The bucket.
        bucket: bool,
        /// The month.
        month: bool,
    },
}

/// What has to hold beyond what always has to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims {
    /// Who asks for more than its limit gets 99 % of it: clients with the habit of asking that much, no faults.
    pub is_used_up: bool,
    /// Who asks for less than half of its limit is never refused.
    pub modest_are_served: bool,
    /// Who comes again when it was told to is let through.
    pub waits_are_true: bool,
    /// A node forgets records because its table is too small.
    pub may_evict: bool,
}

impl Rate {
    /// As a policy has it.
    #[must_use]
    pub fn json(&self) -> Value {
        let period = match self.seconds {
            1 => "second",
            60 => "minute",
            3_600 => "hour",
            _ => "day",
        };
        let burst = format!("{}.{:02}", self.burst / 100, self.burst % 100);
        let burst: Value = serde_json::from_str(&burst).unwrap_or_default();
        json!({ "rate": format!("{}/{period}", self.units), "burst": burst })
    }

    /// What a full bucket holds, thousandths.
    #[must_use]
    pub const fn holds(&self) -> u64 {
        self.units * self.burst * 10
    }
}

impl Tier {
    /// As a policy has it.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut tier = json!({});
        if self.rates.is_empty() {
            tier["rate"] = "unlimited".into();
        } else {
            tier["rate"] = self.rates.iter().map(Rate::json).collect();
        }
        if let Some(monthly) = self.monthly {
            tier["monthly"] = monthly.into();
        }
        if let Some(word) = self.on_failure {
            tier["on_failure"] = word.name().into();
        }
        tier
    }
}

impl OnFailure {
    /// As a policy has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ip => "ip",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl Plan {
    /// The gateways' policy with these tiers.
    #[must_use]
    pub fn policy(&self, tiers: &[Tier]) -> Value {
        let (strangers, consumers) = tiers.split_last().unwrap_or_else(|| unreachable!("a plan has tiers"));
        let named: serde_json::Map<String, Value> =
            consumers.iter().map(|tier| (tier.name.clone(), tier.json())).collect();
        json!({
            "namespace": NAMESPACE,
            "tiers": named,
            "default_tier": consumers[0].name,
            "anonymous": strangers.json(),
            "identity": {
                "consumer": [{ "header": "x-consumer-username" }],
                "tier": [{ "header": "x-consumer-groups" }],
            },
            "endpoints": self.costs().iter().map(|cost| json!({
                "path": path_of(*cost), "cost": *cost as f64 / 1_000.0,
            })).collect::<Vec<_>>(),
            "store": {
                "upstream": "127.0.0.1:7600",
                "mode": if self.store.is_strict { "strict" } else { "leased" },
                "timeout": format!("{}ms", self.store.timeout),
                "sync_interval": format!("{}ms", self.store.sync_interval),
                "on_failure": self.store.on_failure.name(),
            },
            "memory": { "clients": self.room },
        })
    }
}

impl Plan {
    /// What requests can cost, thousandths.
    fn costs(&self) -> BTreeSet<u64> {
        self.clients.iter().flat_map(|client| client.costs.iter().copied()).chain([0]).collect()
    }
}

/// The path of an endpoint of that cost.
#[must_use]
pub fn path_of(cost: u64) -> String {
    format!("/cost/{cost}")
}

impl Client {
    /// It asks no more.
    pub fn fall_silent(&mut self) {
        self.habit = Habit::Steady { every: u64::MAX / 8 };
    }

    /// Whether it never asks.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        matches!(self.habit, Habit::Steady { every } if every >= u64::MAX / 8)
    }
}
