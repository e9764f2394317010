//! All that is decided about a run before it begins: what there is, who asks, what breaks. From it and its seed follows
//! the rest, so a plan with less in it is a simpler run of the same kind.

mod fault;
mod policy;

pub use self::fault::Fault;
pub use self::policy::path_of;
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
    /// The tiers; the anonymous clients' comes last.
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
    /// Gateways have no store.
    pub is_local: bool,
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
    /// A consumer's name; none: anonymous clients, each request from one of `addresses` addresses.
    pub name: Option<String>,
    /// A place among the tiers.
    pub tier: usize,
    /// How many anonymous clients.
    pub addresses: u32,
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
    /// Every so often, to the nanosecond.
    Paced {
        /// Between two requests.
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

/// What has to hold beyond what always has to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims {
    /// Who asks for more than its limit gets 99 % of it: clients with the habit of asking that much, no faults.
    pub is_used_up: bool,
    /// Who asks for less than half of its limit is never refused.
    pub modest_are_served: bool,
    /// Who keeps to its limit is let through: at one gateway always, at several at 80 % of its rate.
    pub who_keeps_to_it_is_served: bool,
    /// Who comes again when it was told to is let through.
    pub waits_are_true: bool,
    /// A node forgets records because its table is too small.
    pub may_evict: bool,
    /// What the store costs: no faults.
    pub price: Option<Price>,
}

/// What a thousand requests that are let through may cost.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// Calls that requests wait for.
    pub asks: u64,
    /// Accounts that the store reads and writes.
    pub entries: u64,
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
