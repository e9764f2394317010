//! What a node enforces: a [`Policy`], which cannot hold a wrong value.
//!
//! ```text
//! JSON text ──serde──▶ raw::Policy ──parse──▶ Policy
//!             shape, unknown fields   values, references, contradictions
//! ```
//!
//! Both steps report [`Problem`]s: the place, what is wrong there, and what to write instead.

pub(crate) mod decimal;
mod parse;
mod place;
mod problem;
pub mod protobuf;
pub mod raw;
mod refund;
#[cfg(feature = "schema")]
pub mod schema;

use hashbrown::HashMap;

pub use parse::read_json;
pub use problem::{Problem, Visible};
pub use refund::Refund;

use crate::price::Rule;
use crate::tier::{OnFailure, Tier};
use crate::units::{Cost, Millis};

/// A whole policy, checked and ready for decisions.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Separates policies that share a node or a store.
    pub namespace: String,
    /// What happens to a request that a limit refuses.
    pub enforcement: Enforcement,
    /// The tiers, sorted by name; a [`TierId`] is an index into it.
    pub tiers: Vec<Tier>,
    /// The tier of a known consumer for whom nothing names another.
    pub default_tier: TierId,
    /// The limits of clients without a consumer, with one bucket per address. Its name is [`ANONYMOUS`](crate::tier::ANONYMOUS).
    pub anonymous: Tier,
    /// Where to read consumer and tier from.
    pub identity: Identity,
    /// Prices of endpoints, in the policy's order.
    pub endpoints: Vec<Rule>,
    /// The price of a request that no rule matches.
    pub default_cost: Cost,
    /// Which responses make their requests cost nothing.
    pub refund: Refund,
    /// Consumers whose tier the policy itself names.
    pub overrides: HashMap<String, TierId>,
    /// Which response headers are sent.
    pub headers: HeaderFamilies,
    /// Whether the upstream is told the tier and the consumer.
    pub tells_upstream: bool,
    /// The store; `None` if this node counts alone.
    pub store: Option<Store>,
    /// The number of client records in the table.
    pub clients: u32,
}

impl Policy {
    /// The number of clients that the table has room for if a policy names none.
    pub const DEFAULT_CLIENTS: u32 = 65_536;

    /// The tier with this id. An id of another policy that is out of range here gives the anonymous tier.
    #[must_use]
    pub fn tier(&self, id: TierId) -> &Tier {
        self.tiers.get(id.0).unwrap_or(&self.anonymous)
    }

    /// The tier called `name`, if there is one.
    #[must_use]
    pub fn tier_named(&self, name: &str) -> Option<TierId> {
        self.tiers.iter().position(|tier| tier.name == name).map(TierId)
    }
}

/// An index into [`Policy::tiers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TierId(pub usize);

/// What happens to a request that a limit refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// Refuse it.
    #[default]
    Enforce,
    /// Let it pass and count it as `shadow_refused`; decisions, counters and headers stay the same.
    Shadow,
    /// Do nothing.
    Off,
}

/// Where to read consumer and tier from, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The first source that yields a value names the consumer.
    pub consumer: Vec<Source>,
    /// The first source with a value that names a tier, or has a comma-separated part that does, gives the tier.
    pub tier: Vec<Source>,
}

/// A place where the gateway says who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A property of the gateway: its path's segments in order.
    Property(Vec<String>),
    /// A request header, in lower case. It is only as trustworthy as what sets it: see the gateway's own configuration.
    Header(String),
}

/// Which families of response headers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderFamilies {
    /// `X-RateLimit-*`.
    pub x_ratelimit: bool,
    /// `RateLimit` and `RateLimit-Policy`.
    pub ietf: bool,
}

/// The store that all nodes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Kong: `host:port`. Envoy: a cluster's name.
    pub upstream: String,
    /// How the node works with it.
    pub mode: StoreMode,
    /// The longest that one call may take.
    pub timeout: Millis,
    /// Time between two reports of a worker.
    pub sync_interval: Millis,
    /// The bearer token of this gateway.
    pub token: Option<Token>,
    /// What to do when the store cannot be asked.
    pub on_failure: OnFailure,
}

/// How a node uses the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMode {
    /// Spend what the store has lent: no call on the request path while it lasts.
    #[default]
    Leased,
    /// One store call per request.
    Strict,
}

/// Where the gateway's token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// It is written in the policy.
    Literal(String),
    /// It is in the environment variable of this name.
    Env(String),
}

impl Token {
    /// Whether `text` can be a token: 16 to 512 visible ASCII characters.
    #[must_use]
    pub fn fits(text: &str) -> bool {
        (16..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    }
}
