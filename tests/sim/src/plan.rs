//! The plan of a run: what the cluster is, which clients ask, and what breaks. Everything else follows from the plan and its
//! seed, so a plan with less in it is a simpler run of the same kind.

mod fault;
mod policy;

pub use self::fault::Fault;
pub use self::policy::path_of;
use crate::random::PerMillion;

/// A millisecond in nanoseconds.
pub const MILLISECOND: u64 = 1_000_000;
/// A second in nanoseconds.
pub const SECOND: u64 = 1_000 * MILLISECOND;

/// The namespace of every run.
pub const NAMESPACE: &str = "sim";

/// See the [module](self). Times are nanoseconds, and count from the run's beginning unless something else is said.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The seed of all random numbers.
    pub seed: u64,
    /// When the run begins, since the Unix epoch.
    pub start: u64,
    /// How long clients ask.
    pub length: u64,
    /// The tiers; the anonymous clients' comes last.
    pub tiers: Vec<Tier>,
    /// How gateways work with the store.
    pub store: Terms,
    /// How many clients each node's table has room for.
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
    /// The clients.
    pub clients: Vec<Client>,
    /// What breaks or is changed, and when.
    pub faults: Vec<(u64, Fault)>,
    /// How often a client that waits for an answer goes away.
    pub impatience: PerMillion,
    /// The longest time until a response says what its request costs; `None` if responses say nothing.
    pub settling: Option<u64>,
    /// What has to hold in addition to what always has to.
    pub claims: Claims,
}

/// A tier, as the policy has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Its rates; none if it is unlimited.
    pub rates: Vec<Rate>,
    /// Units per month.
    pub monthly: Option<u64>,
    /// Its own `on_failure`, if it has one.
    pub on_failure: Option<OnFailure>,
}

/// A rate of `units` per period, and a bucket of `burst` hundredths of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units per period.
    pub units: u64,
    /// The period in seconds: 1, 60, 3,600 or 86,400.
    pub seconds: u64,
    /// Hundredths, at least 100.
    pub burst: u64,
}

/// The policy's `on_failure`.
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
    /// Whether every request asks.
    pub is_strict: bool,
    /// Whether gateways have no store.
    pub is_local: bool,
    /// A call's timeout in milliseconds.
    pub timeout: u64,
    /// The time between two batches in milliseconds.
    pub sync_interval: u64,
    /// For tiers that have none of their own.
    pub on_failure: OnFailure,
}

/// The kind of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Personality {
    Kong,
    Envoy,
}

/// A gateway.
#[derive(Clone, Debug)]
pub struct Node {
    /// Kong or Envoy.
    pub personality: Personality,
    /// How many workers it has.
    pub workers: usize,
    /// The difference of its wall clock and the true time.
    pub wall: i64,
    /// How much faster than the true time its monotonic clock runs, in millionths.
    pub drift: i64,
    /// What its monotonic clock shows when the run begins.
    pub uptime: u64,
}

/// The network between gateways and replicas. Everything is about a message in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The shortest delay.
    pub least: u64,
    /// The longest delay. All between are equally likely.
    pub most: u64,
    /// How often a message is lost.
    pub loss: PerMillion,
    /// How often a request arrives twice.
    pub twice: PerMillion,
    /// How often a message takes much longer, so that others overtake it.
    pub straggles: PerMillion,
    /// How often a reply is cut off, garbled, or replaced by a proxy's error.
    pub garbled: PerMillion,
}

/// What the replicas share.
#[derive(Clone, Copy, Debug)]
pub struct Redis {
    /// How long a call takes; 0 as if it were in the replica's own memory.
    pub delay: u64,
    /// How often a replica dies while it waits for Redis.
    pub crash: PerMillion,
    /// How far Redis's own replica is behind.
    pub lag: u64,
}

/// What can happen between two steps of a worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// How often another worker of the node acts between a read and a write.
    pub meddling: PerMillion,
    /// How often a write is lost to one that changes nothing.
    pub lost: PerMillion,
    /// How often a read is torn, in Kong.
    pub torn: PerMillion,
}

/// A consumer, or a group of anonymous clients.
#[derive(Clone, Debug)]
pub struct Client {
    /// The consumer's name; `None` for anonymous clients, whose requests come from one of `addresses` addresses.
    pub name: Option<String>,
    /// Its tier's place.
    pub tier: usize,
    /// How many addresses a group of anonymous clients has.
    pub addresses: u32,
    /// How it asks.
    pub habit: Habit,
    /// Where it asks.
    pub place: Place,
    /// The costs of its requests, in thousandths.
    pub costs: Vec<u64>,
}

/// How a client asks.
#[derive(Clone, Copy, Debug)]
pub enum Habit {
    /// At irregular intervals.
    Steady {
        /// The time between two requests, on average.
        every: u64,
    },
    /// At intervals that are exact to the nanosecond.
    Paced {
        /// The time between two requests.
        every: u64,
    },
    /// In bursts, at irregular intervals.
    Burst {
        /// How many requests a burst has.
        size: u32,
        /// The time between two bursts, on average.
        every: u64,
    },
    /// As often as it is let through, and after a refusal when it was told to come again.
    Patient {
        /// The time after a request that was let through, on average.
        every: u64,
    },
}

/// Where a client asks.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// At any gateway.
    Anywhere,
    /// At another gateway every second.
    Moving,
    /// Always at the same one.
    At(usize),
    /// At the first one nine times in ten.
    Skewed,
    /// At the first one 90 times in a hundred, at the second 9 times, at the third once.
    Steep,
}

/// What has to hold in addition to what always has to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims {
    /// A client that asks for more than its limit gets 99 % of it. All clients ask for that much, and nothing breaks.
    pub is_used_up: bool,
    /// A client that asks for less than half of its limit is never refused.
    pub modest_are_served: bool,
    /// A client that keeps to its limit is let through: always at one gateway, and at 80 % of its rate at several.
    pub who_keeps_to_it_is_served: bool,
    /// A client that comes again when it was told to is let through.
    pub waits_are_true: bool,
    /// A node may evict records because its table is too small.
    pub may_evict: bool,
    /// What requests may cost the store. Nothing breaks.
    pub price: Option<Price>,
}

/// What a thousand requests that are let through may cost the store.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// Calls that requests wait for.
    pub asks: u64,
    /// Accounts that the store reads and writes.
    pub entries: u64,
}

impl Client {
    /// Lets it ask no more.
    pub fn fall_silent(&mut self) {
        self.habit = Habit::Steady { every: u64::MAX / 8 };
    }

    /// Whether it never asks.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        matches!(self.habit, Habit::Steady { every } if every >= u64::MAX / 8)
    }
}
