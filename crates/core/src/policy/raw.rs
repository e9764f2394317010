//! A policy as it is written: which fields exist, and which of them are required.
//!
//! Single values stay as the document has them ([`Value`], [`Given`]); `parse` checks what they mean, and reports all wrong
//! ones at once. The JSON Schema is generated from these types, field by field.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

#[cfg(feature = "schema")]
use super::schema::value;

/// What Tollgate enforces: who may spend how much, and what requests cost.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a policy")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Policy {
    /// Separates policies that share a node or a store.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::namespace"))]
    pub namespace: Given,
    /// enforce: refuse what is over a limit; shadow: decide, count and add headers, but never refuse; off: do nothing.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::enforcement"))]
    pub enforcement: Given,
    /// What consumers may spend, by tier name.
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::tiers"))]
    pub tiers: Tiers,
    /// The tier of a known consumer for whom nothing names another.
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::tier_name"))]
    pub default_tier: Value,
    /// What a client without a consumer may spend, with one bucket per IPv4 address or IPv6 /64.
    pub anonymous: Anonymous,
    /// Where to read consumer and tier from.
    #[serde(default)]
    pub identity: Identity,
    /// Prices of endpoints; the most specific match wins.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 10_000)))]
    pub endpoints: List<Endpoint>,
    /// The price of a request that no endpoint matches.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::cost"))]
    pub default_cost: Given,
    /// Statuses of responses whose requests cost nothing after all.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::refund"))]
    pub refund: List<Value>,
    /// Consumers whose tier is set here, whatever the gateway says.
    #[serde(default)]
    pub overrides: List<Override>,
    /// Which response headers are sent.
    #[serde(default)]
    pub headers: Headers,
    /// The store that all nodes share; without one each node counts alone.
    #[serde(default, deserialize_with = "not_null")]
    #[cfg_attr(feature = "schema", schemars(with = "Store"))]
    pub store: Option<Store>,
    /// What a node's memory holds.
    #[serde(default)]
    pub memory: Memory,
}

/// Tiers by name.
pub type Tiers = BTreeMap<String, Tier>;

/// What the consumers of one tier may spend.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a tier; write { rate: 100/minute }, with burst, monthly and on_failure as needed"
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tier {
    /// N/second, N/minute, N/hour, N/day, unlimited, or a list of up to three.
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::rate"))]
    pub rate: Value,
    /// What a full bucket holds, as a multiple of the rate's N.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::burst"))]
    pub burst: Given,
    /// Cost units per calendar month (UTC), or unlimited.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::monthly"))]
    pub monthly: Given,
    /// What to do for this tier when the store cannot be asked.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::on_failure"))]
    pub on_failure: Given,
}

/// What a client without a consumer may spend.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "the limits of clients without a consumer; write { rate: 30/minute }"
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Anonymous {
    /// N/second, N/minute, N/hour, N/day, unlimited, or a list of up to three.
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::rate"))]
    pub rate: Value,
    /// What a full bucket holds, as a multiple of the rate's N.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::burst"))]
    pub burst: Given,
    /// What to do for these clients when the store cannot be asked.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::on_failure"))]
    pub on_failure: Given,
}

/// Where to read consumer and tier from.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a set of sources; write { consumer: [{ header: x-consumer-username }], tier: [{ header: x-consumer-groups }] }"
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Identity {
    /// The first source that yields a value names the consumer.
    #[serde(default, deserialize_with = "not_null")]
    #[cfg_attr(feature = "schema", schemars(with = "List<Source>", length(max = 8)))]
    pub consumer: Option<List<Source>>,
    /// The first source with a value that names a tier, or has a comma-separated part that does, gives the tier.
    #[serde(default, deserialize_with = "not_null")]
    #[cfg_attr(feature = "schema", schemars(with = "List<Source>", length(max = 8)))]
    pub tier: Option<List<Source>>,
}

/// A place where the gateway says who is calling: a property or a header.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a source; write { header: x-consumer-username } or { property: a.b.c }"
)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(extend("minProperties" = 1, "maxProperties" = 1))
)]
pub struct Source {
    /// A property of the gateway.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::property"))]
    pub property: Given,
    /// A request header.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::header"))]
    pub header: Given,
}

/// The price of some requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an endpoint's price; write { path: /search, cost: 2 }")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Endpoint {
    /// An exact path, or all paths below one: /search, /v1/*.
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::path"))]
    pub path: Value,
    /// The methods that it is for; all if absent.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::methods"))]
    pub methods: Given,
    /// Cost units per request; with 0 it is never limited and never counted.
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::cost"))]
    pub cost: Value,
    /// Whether the upstream's response header X-Quota-Cost replaces the cost.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::settle"))]
    pub settle: Given,
}

/// One consumer's tier.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an override; write { consumer: NAME, tier: TIER }")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Override {
    /// The consumer, as the sources of identity.consumer name it.
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::consumer"))]
    pub consumer: Value,
    /// Its tier.
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::tier_name"))]
    pub tier: Value,
}

/// Which headers are sent to the client, and to the upstream.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a choice of headers; write { x_ratelimit: true, ietf: true }")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Headers {
    /// X-RateLimit-Limit, -Remaining and -Reset.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::switch"))]
    pub x_ratelimit: Given,
    /// RateLimit and RateLimit-Policy.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::switch"))]
    pub ietf: Given,
    /// X-Quota-Tier and X-Quota-Consumer, for the upstream.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::switch"))]
    pub upstream: Given,
}

/// The store that all nodes share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a store; write { upstream: 127.0.0.1:7600 }, or leave store out")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Store {
    /// Kong's host:port, or the name of an Envoy cluster.
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::upstream"))]
    pub upstream: Value,
    /// leased: spend what the store has lent; strict: ask it on every request.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::mode"))]
    pub mode: Given,
    /// The longest time for one call.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::timeout"))]
    pub timeout: Given,
    /// The time between two reports of a worker.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::sync_interval"))]
    pub sync_interval: Given,
    /// The bearer token of this gateway, or the environment variable that holds it.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::token"))]
    pub token: Given,
    /// What to do when the store cannot be asked.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::on_failure"))]
    pub on_failure: Given,
}

/// What a node's memory holds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a size of memory; write { clients: 65536 }")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Memory {
    /// The number of client records in the node's table.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "value::clients"))]
    pub clients: Given,
}

/// The value of an optional field. An explicit `null` is a value, and a wrong one: `monthly:` with nothing behind it is
/// more likely half an edit than a wish for no limit.
#[derive(Debug, Default)]
pub struct Given(pub Option<Value>);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

/// Reads a section that may be absent, but not null.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A list. `{}` counts as an empty one: Lua's empty table is both, and Kong turns `[]` into `{}` on the way here.
#[derive(Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(transparent))]
pub struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Entries(PhantomData))
    }
}

struct Entries<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = List<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list; put each entry into its own line behind \"- \", or into [ ]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<List<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            list.push(entry);
        }
        Ok(List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<List<T>, A::Error> {
        match fields.next_key::<String>()? {
            None => Ok(List::default()),
            Some(_) => Err(serde::de::Error::invalid_type(serde::de::Unexpected::Map, &self)),
        }
    }
}
