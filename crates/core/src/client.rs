//! How gateway and store identify a client: by 128 bits that both compute from its name.
//!
//! A node's table has no room for names, and a worker does not know the names behind another worker's records. So reports
//! use this number, which every node computes alike; the store gets the name when a client is first seen. The hash is
//! BLAKE2s, because consumers may choose their names: nobody may be able to choose one with another's number.

use blake2::{Blake2s256, Digest};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

/// A client that limits are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client<'a> {
    /// A consumer, by the name that the gateway gives it.
    Consumer(&'a [u8]),
    /// An anonymous client, by the network its address belongs to.
    Anonymous(Network),
}

/// The part of an address that identifies one anonymous client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// One IPv4 address.
    V4([u8; 4]),
    /// An IPv6 /64: the least that a provider gives to a single customer.
    V6([u8; 8]),
    /// The gateway gives no address that can be read. All such clients share one bucket.
    Unknown,
}

/// The number of one client in one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub [u8; 16]);

/// A map of clients. Two maps with the same [`ClientSecret`] and the same history have the same order.
pub type ClientMap<T> = HashMap<ClientId, T, ClientSecret>;

/// Decides where a [`ClientMap`] has its entries, since consumers may choose their names and so their numbers.
pub type ClientSecret = foldhash::fast::FixedState;

/// Computes the numbers of one namespace's clients.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Has already hashed the namespace.
    hasher: Blake2s256,
}

impl Namespace {
    /// The namespace called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        // A byte that no namespace contains ends it.
        Self { hasher: Blake2s256::new().chain_update(b"tollgate\x01").chain_update(name).chain_update([0]) }
    }

    /// The number of `client`.
    #[must_use]
    pub fn id(&self, client: &Client<'_>) -> ClientId {
        let hasher = self.hasher.clone();
        let hash = match client {
            Client::Consumer(name) => hasher.chain_update(b"c").chain_update(name),
            Client::Anonymous(Network::V4(address)) => hasher.chain_update(b"4").chain_update(address),
            Client::Anonymous(Network::V6(prefix)) => hasher.chain_update(b"6").chain_update(prefix),
            Client::Anonymous(Network::Unknown) => hasher.chain_update(b"u"),
        }
        .finalize();
        ClientId(hash.first_chunk().copied().unwrap_or_default())
    }

    /// The number of the reservation that an application calls `id` and makes for `client`. Every store computes it alike,
    /// so that a repeated call finds what the first one has reserved.
    #[must_use]
    pub fn reservation(&self, client: ClientId, id: &str) -> [u8; 16] {
        let hash = self.hasher.clone().chain_update(b"r").chain_update(client.0).chain_update(id).finalize();
        hash.first_chunk().copied().unwrap_or_default()
    }
}

impl std::fmt::Display for ClientId {
    /// Writes 32 hexadecimal digits.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_consumers_and_anonymous_clients_are_told_apart() {
        let (one, two) = (Namespace::new("one"), Namespace::new("two"));
        let clients = [
            Client::Consumer(b"acme"),
            Client::Consumer(&[10, 0, 0, 1]),
            Client::Anonymous(Network::V4([10, 0, 0, 1])),
            Client::Anonymous(Network::V6([10, 0, 0, 1, 0, 0, 0, 0])),
            Client::Anonymous(Network::Unknown),
        ];
        let mut ids: Vec<ClientId> =
            clients.iter().flat_map(|client| [one.id(client), two.id(client)]).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 2 * clients.len());
    }

    #[test]
    fn the_number_never_changes_between_releases() {
        let id = Namespace::new("fingerprint").id(&Client::Consumer(b"acme"));
        assert_eq!(id.to_string(), GOLDEN);
    }

    #[test]
    fn a_reservation_has_one_number_per_namespace_client_and_name() {
        let (one, two) = (Namespace::new("one"), Namespace::new("two"));
        let (acme, globex) = (ClientId([1; 16]), ClientId([2; 16]));
        let number = one.reservation(acme, "request 7");
        assert_eq!(number, one.reservation(acme, "request 7"));
        for other in [
            one.reservation(acme, "request 8"),
            one.reservation(globex, "request 7"),
            two.reservation(acme, "request 7"),
        ] {
            assert_ne!(number, other);
        }
        // Stores of two releases may run side by side.
        assert_eq!(ClientId(number).to_string(), "71208acc85a7133da9441261f77c24c5");
    }

    const GOLDEN: &str = "cb7c40b509b8e08591334c181dc2317c";
}
