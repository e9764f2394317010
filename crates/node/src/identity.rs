//! Finds who is calling, and which tier the caller has.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;
use tollgate_core::client::{Client, ClientId, Namespace, Network};
use tollgate_core::name;
use tollgate_core::name::MAX_NAME;
use tollgate_core::policy::{Policy, Source, TierId};

use crate::request::{Gateway, Introduced, Request};

/// The header by which Kong's auth plugins say that the consumer they name stands for anonymous clients.
const ANONYMOUS_CONSUMER: &str = "x-anonymous-consumer";

/// The client's address, as the gateway finds it behind the proxies that it trusts.
const SOURCE_ADDRESS: &str = "source\0address";

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// A consumer that the gateway knows.
    Consumer {
        /// Its name, as the gateway has it.
        name: Cow<'a, [u8]>,
        /// Its tier.
        tier: TierId,
    },
    /// Any other client.
    Anonymous,
}

impl Caller<'_> {
    /// The client whose record counts.
    pub fn client<'a, G: Gateway>(&'a self, request: &Request<'_, G>) -> Client<'a> {
        match self {
            Self::Consumer { name, .. } => Client::Consumer(name),
            Self::Anonymous => Client::Anonymous(peer(request.gateway)),
        }
    }
}

/// The network that the request at hand comes from.
pub fn peer(gateway: &impl Gateway) -> Network {
    gateway.property(SOURCE_ADDRESS).map_or(Network::Unknown, |address| network(&address))
}

/// The identity part of a policy, compiled.
#[derive(Clone, Debug)]
pub struct Identities {
    consumer: Vec<Place>,
    tier: Vec<Place>,
    tiers: Vec<Box<[u8]>>,
    default_tier: TierId,
    overrides: HashMap<Box<[u8]>, TierId>,
    /// The overrides of names that are too long to be written out.
    long_overrides: HashMap<ClientId, TierId>,
    namespace: Namespace,
}

/// A [`Source`], as the gateway names it.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Property(String),
    /// A property that has both consumer and tier; see [`name_and_tier`].
    Both(String),
    Header(String),
}

impl From<&Source> for Place {
    fn from(source: &Source) -> Self {
        match source {
            Source::Property(path) => Self::Property(path.join("\0")),
            Source::Header(name) => Self::Header(name.clone()),
        }
    }
}

impl Identities {
    /// The identities of `policy`.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let namespace = Namespace::new(&policy.namespace);
        let (mut overrides, mut long_overrides) = (HashMap::new(), HashMap::new());
        for (consumer, tier) in &policy.overrides {
            match name::read(consumer, &namespace) {
                Some(named) if named.is_whole => drop(overrides.insert(named.stored.into(), *tier)),
                Some(named) => drop(long_overrides.insert(named.client, *tier)),
                None => {}
            }
        }
        let identity = &policy.identity;
        let places = |own: &[Source], other: &[Source]| {
            let place = |source: &Source| match Place::from(source) {
                Place::Property(path) if other.contains(source) => Place::Both(path),
                place => place,
            };
            own.iter().map(place).collect()
        };
        Self {
            consumer: places(&identity.consumer, &identity.tier),
            tier: places(&identity.tier, &identity.consumer),
            tiers: policy.tiers.iter().map(|tier| tier.name.as_bytes().into()).collect(),
            default_tier: policy.default_tier,
            overrides,
            long_overrides,
            namespace,
        }
    }

    /// Who sent `request`. The first source with a value names the consumer. Its tier comes from an override, or else from the
    /// first source that names a tier, or else it is the default.
    pub fn caller<'a, G: Gateway>(&self, request: &Request<'a, G>) -> Caller<'a> {
        if let Some(introduced) = request.gateway.introduced() {
            return self.introduced(introduced);
        }
        // Kong names its anonymous consumer in the same headers as others, and marks it by one more. That one is read only when
        // a header is about to be believed.
        let mut headers_speak_of_nobody = None;
        let mut believes_headers = || {
            !*headers_speak_of_nobody
                .get_or_insert_with(|| request.header(ANONYMOUS_CONSUMER).as_deref() == Some(b"true"))
        };
        // The tier that came with the consumer's name, and from which place: to ask again would cost a call.
        let mut told: Option<(&Place, Option<TierId>)> = None;
        let name = self.consumer.iter().find_map(|place| {
            let value = match place {
                Place::Property(path) => request.gateway.property(path).map(Cow::Owned)?,
                Place::Both(path) => {
                    let value = request.gateway.property(path).unwrap_or_default();
                    let (name, tier) = name_and_tier(&value);
                    told = Some((place, self.tier_in(tier)));
                    Cow::Owned(name.to_vec())
                }
                Place::Header(name) => request.header(name).filter(|_| believes_headers())?,
            };
            (!value.is_empty()).then_some(value)
        });
        let Some(name) = name else { return Caller::Anonymous };
        let tier = self
            .override_of(&name)
            .or_else(|| {
                self.tier.iter().find_map(|place| match place {
                    Place::Property(path) => self.tier_in(&request.gateway.property(path)?),
                    Place::Both(path) => match told {
                        Some((asked, tier)) if asked == place => tier,
                        _ => self.tier_in(name_and_tier(&request.gateway.property(path)?).1),
                    },
                    Place::Header(name) => {
                        request.find_in_list(name, |line| self.tier_in(line)).filter(|_| believes_headers())
                    }
                })
            })
            .unwrap_or(self.default_tier);
        Caller::Consumer { name, tier }
    }

    /// The client that the host has introduced: its tier is an override's, the one that was told, or the default.
    fn introduced<'a>(&self, client: Introduced<'a>) -> Caller<'a> {
        let Some(name) = client.consumer.filter(|name| !name.is_empty()) else { return Caller::Anonymous };
        let told = || self.tier_in(client.tier?);
        let tier = self.override_of(name).or_else(told).unwrap_or(self.default_tier);
        Caller::Consumer { name: name.into(), tier }
    }

    /// The tier that the policy gives the consumer called `name`.
    fn override_of(&self, name: &[u8]) -> Option<TierId> {
        if name.len() > MAX_NAME && !self.long_overrides.is_empty() {
            return self.long_overrides.get(&self.namespace.id(&Client::Consumer(name))).copied();
        }
        if self.overrides.is_empty() { None } else { self.overrides.get(name).copied() }
    }

    /// The first of the comma-separated parts of `groups` that is a tier's name.
    fn tier_in(&self, groups: &[u8]) -> Option<TierId> {
        groups
            .split(|byte| *byte == b',')
            .find_map(|group| self.tiers.iter().position(|tier| tier.as_ref() == group.trim_ascii()))
            .map(TierId)
    }
}

/// The consumer and the tier in the value of a property that has both, divided by its last newline. A name may contain
/// newlines, a tier cannot.
fn name_and_tier(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().rposition(|byte| *byte == b'\n');
    let (name, rest) = value.split_at(end.unwrap_or(value.len()));
    (name, rest.get(1..).unwrap_or_default())
}

/// The network that one anonymous client has to itself, from the address that the gateway reports: `192.0.2.1`,
/// `192.0.2.1:4711`, `2001:db8::1` or `[2001:db8::1]:4711`.
#[must_use]
pub fn network(address: &[u8]) -> Network {
    let Ok(text) = std::str::from_utf8(address) else { return Network::Unknown };
    let parsed = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    match parsed.map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => Network::V4(ip.octets()),
        Ok(IpAddr::V6(ip)) => {
            ip.octets().first_chunk().map_or(Network::Unknown, |prefix| Network::V6(*prefix))
        }
        Err(_) => Network::Unknown,
    }
}

#[cfg(test)]
mod tests;
