//! Who is calling, and which tier that gives them.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;

use crate::request::{Gateway, Request};
use tollgate_core::client::{Client, Network};
use tollgate_core::client::{ClientId, Namespace};
use tollgate_core::name;
use tollgate_core::name::MAX_NAME;
use tollgate_core::policy::{Policy, Source, TierId};

/// The header by which Kong's auth plugins say that the consumer they name is a stand-in for nobody.
const ANONYMOUS_CONSUMER: &str = "x-anonymous-consumer";

/// The peer's address, after whatever proxies the gateway trusts.
const SOURCE_ADDRESS: &str = "source\0address";

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// A consumer that the gateway knows.
    Consumer {
        /// Its name, as the gateway says it.
        name: Cow<'a, [u8]>,
        /// Its tier.
        tier: TierId,
    },
    /// Anybody else.
    Anonymous,
}

impl Caller<'_> {
    /// Whose record counts.
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

/// The policy's part about identity, ready to read requests with.
#[derive(Clone, Debug)]
pub struct Identities {
    consumer: Vec<Place>,
    tier: Vec<Place>,
    tiers: Vec<Box<[u8]>>,
    default_tier: TierId,
    overrides: HashMap<Box<[u8]>, TierId>,
    /// Those of names that are too long to be written out.
    long_overrides: HashMap<ClientId, TierId>,
    namespace: Namespace,
}

/// A [`Source`] in the words of the gateway.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Property(String),
    /// A property that tells both consumer and tier: see [`name_and_tier`].
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

    /// Who sent `request`. The first source that yields a value names the consumer; then an override, the first
    /// source that names a tier, or the default gives its tier.
    pub fn caller<'a, G: Gateway>(&self, request: &Request<'a, G>) -> Caller<'a> {
        // Kong names its anonymous consumer in the headers of known ones and marks it beside them. Looked for only
        // when a header is about to be believed.
        let mut headers_speak_of_nobody = None;
        let mut believes_headers = || {
            !*headers_speak_of_nobody
                .get_or_insert_with(|| request.header(ANONYMOUS_CONSUMER).as_deref() == Some(b"true"))
        };
        // What was told with the consumer's name, and where: it costs a call to ask again.
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

    /// The tier that the policy says of the consumer called `name`.
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

/// Consumer and tier in the value of a property that tells both: what stands before its last newline and what behind. A name may
/// have newlines in it, a tier has none.
fn name_and_tier(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().rposition(|byte| *byte == b'\n');
    let (name, rest) = value.split_at(end.unwrap_or(value.len()));
    (name, rest.get(1..).unwrap_or_default())
}

/// What one anonymous client has to itself of the address that the gateway reports: `192.0.2.1`, `192.0.2.1:4711`,
/// `2001:db8::1` or `[2001:db8::1]:4711`.
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
