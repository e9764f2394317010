//! Who is calling, and which tier that gives them.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::policy::{Policy, Source, TierId};
use crate::request::{Gateway, Request};
use crate::table::{Client, Network};

/// The header by which Kong's auth plugins say that the consumer they name is a stand-in for nobody.
const ANONYMOUS_CONSUMER: &str = "x-anonymous-consumer";

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
    Stranger,
}

impl Caller<'_> {
    /// Whose record counts.
    pub fn client<'a, G: Gateway>(&'a self, request: &Request<'_, G>) -> Client<'a> {
        match self {
            Self::Consumer { name, .. } => Client::Consumer(name),
            Self::Stranger => {
                let peer = request.gateway.property(&["source", "address"]);
                Client::Stranger(peer.map_or(Network::Unknown, |address| network(&address)))
            }
        }
    }
}

/// Who sent `request`. The first of the policy's sources that yields a value names the consumer; then an override,
/// the first source that names a tier, or the default gives its tier.
pub fn caller<'a, G: Gateway>(policy: &Policy, request: &Request<'a, G>) -> Caller<'a> {
    // Kong names its anonymous consumer in the headers of known ones and marks it beside them. Asked for only when a
    // header is about to be believed.
    let mut headers_speak_of_nobody = None;
    let mut read = |source: &Source| match source {
        Source::Property(path) => {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            request.gateway.property(&path).map(Cow::Owned)
        }
        Source::Header(name) => {
            let value = request.header(name)?;
            let of_nobody =
                *headers_speak_of_nobody.get_or_insert_with(|| request.header(ANONYMOUS_CONSUMER).as_deref() == Some(b"true"));
            (!of_nobody).then_some(value)
        }
    };
    let name = policy.identity.consumer.iter().find_map(|source| read(source).filter(|value| !value.is_empty()));
    let Some(name) = name else { return Caller::Stranger };
    let overridden = || {
        if policy.overrides.is_empty() {
            return None;
        }
        policy.overrides.get(std::str::from_utf8(&name).ok()?).copied()
    };
    let tier = overridden()
        .or_else(|| policy.identity.tier.iter().find_map(|source| tier_in(policy, &read(source)?)))
        .unwrap_or(policy.default_tier);
    Caller::Consumer { name, tier }
}

/// The first of the comma-separated parts of `groups` that is a tier's name.
fn tier_in(policy: &Policy, groups: &[u8]) -> Option<TierId> {
    groups
        .split(|byte| *byte == b',')
        .find_map(|group| policy.tiers.iter().position(|tier| tier.name.as_bytes() == group.trim_ascii()))
        .map(TierId)
}

/// What one stranger has to itself of the address that the gateway reports: `192.0.2.1`, `192.0.2.1:4711`,
/// `2001:db8::1` or `[2001:db8::1]:4711`.
#[must_use]
pub fn network(address: &[u8]) -> Network {
    let Ok(text) = std::str::from_utf8(address) else { return Network::Unknown };
    let parsed = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    match parsed.map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => Network::V4(ip.octets()),
        Ok(IpAddr::V6(ip)) => ip.octets().first_chunk().map_or(Network::Unknown, |prefix| Network::V6(*prefix)),
        Err(_) => Network::Unknown,
    }
}

#[cfg(test)]
#[path = "identity/tests.rs"]
mod tests;
