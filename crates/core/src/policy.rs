//! What a node has to enforce: a [`Policy`], which cannot hold a wrong value.
//!
//! ```text
//! JSON text ──serde──▶ raw::Policy ──parse──▶ Policy
//!             shape, unknown fields   values, references, what cannot work
//! ```
//!
//! Both steps report [`Problem`]s: where, what is wrong, what to write instead.

mod decimal;
mod parse;
mod place;
mod problem;
pub mod protobuf;
pub mod raw;
#[cfg(feature = "schema")]
pub mod schema;

use hashbrown::HashMap;

pub use parse::read_json;
pub use problem::{Problem, Visible};

use crate::price::Rule;
use crate::tier::{OnFailure, Tier};
use crate::units::{Cost, Millis};

/// A whole policy, ready to decide with.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Keeps policies apart that share a node or a store.
    pub namespace: String,
    /// What happens with a request that a limit refuses.
    pub enforcement: Enforcement,
    /// The tiers in the order of their names; a [`TierId`] is a place in it.
    pub tiers: Vec<Tier>,
    /// The tier of a known consumer whose tier nothing says.
    pub default_tier: TierId,
    /// The limits of a client without a consumer, one bucket an address. Its name is [`ANONYMOUS`].
    pub anonymous: Tier,
    /// Where consumer and tier are read from.
    pub identity: Identity,
    /// Prices of endpoints, in the policy's order.
    pub endpoints: Vec<Rule>,
    /// The price of a request that no rule matches.
    pub default_cost: Cost,
    /// Consumers whose tier the policy itself says.
    pub overrides: HashMap<String, TierId>,
    /// Which response headers are sent.
    pub headers: HeaderFamilies,
    /// Whether the upstream is told tier and consumer.
    pub tells_upstream: bool,
    /// The store; none: this node alone.
    pub store: Option<Store>,
    /// Client records the table holds.
    pub clients: u32,
}

impl Policy {
    /// The clients that the table has room for where a policy does not say.
    pub const DEFAULT_CLIENTS: u32 = 65_536;

    /// The tier of an id. Every [`TierId`] of this policy names one; of another policy's, the default tier's.
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

/// A place in [`Policy::tiers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TierId(pub usize);

/// What happens with a request that a limit refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// Refuse it.
    #[default]
    Enforce,
    /// Let it pass and count it as `shadow_refused`: decide, count, add headers, never refuse.
    Shadow,
    /// Do nothing at all.
    Off,
}

/// Where consumer and tier are read from, first to last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The first source that yields a value names the consumer.
    pub consumer: Vec<Source>,
    /// The first source whose value, or comma-separated part of it, names a tier gives the tier.
    pub tier: Vec<Source>,
}

/// One place where the gateway tells who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A property of the gateway; the path's segments in order.
    Property(Vec<String>),
    /// A request header, lower case. Only as trustworthy as what set it: see the gateway's own configuration.
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

/// A node's way to work with the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMode {
    /// Spend what the store has lent; no call on the request path while it lasts.
    #[default]
    Leased,
    /// One store call a request.
    Strict,
}

/// Where the gateway's token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// Written in the policy.
    Literal(String),
    /// In an environment variable of this name.
    Env(String),
}

impl Token {
    /// Whether `text` can be a token: 16 to 512 visible ASCII characters.
    #[must_use]
    pub fn fits(text: &str) -> bool {
        (16..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    }
}
