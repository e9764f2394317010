//! Who a record belongs to, in 128 bits that nobody outside the node can aim.

use core::hash::Hasher;
use siphasher::sip128::{Hasher128, SipHasher13};
use tollgate_core::client::{Client, ClientId, Network};

/// The node's secret: without it nobody can compute which clients share a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FingerprintKey(pub [u8; 16]);

/// 128 bits that stand for a client on this node. Never zero: that is an empty way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Whether the client is an anonymous client, whose records are kept apart.
    pub is_anonymous: bool,
    /// The bits.
    pub bits: [u64; 2],
    /// Which slot it has, as a fraction of all: a secret of the node's, so that nobody can fill one on purpose.
    pub place: u32,
}

impl FingerprintKey {
    /// The fingerprint of `client` in `namespace`, by SipHash-1-3 with 128 bits of output.
    #[must_use]
    pub fn fingerprint(&self, namespace: &str, client: &Client<'_>) -> Fingerprint {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        // A byte that neither part can hold separates them: namespaces are plain text.
        hasher.write(namespace.as_bytes());
        let is_anonymous = match client {
            Client::Consumer(name) => {
                hasher.write(&[0, b'c']);
                hasher.write(name);
                false
            }
            Client::Anonymous(network) => {
                hasher.write(&[0, b's']);
                match network {
                    Network::V4(address) => hasher.write(address),
                    Network::V6(prefix) => hasher.write(prefix),
                    Network::Unknown => {}
                }
                true
            }
        };
        let hash = hasher.finish128();
        Fingerprint { is_anonymous, bits: [hash.h1.max(1), hash.h2], place: (hash.h1 >> 32) as u32 }
    }

    /// The fingerprint of a client whose number the store knows too: the number itself, in a slot that only this node
    /// can compute.
    #[must_use]
    pub fn of_id(&self, id: ClientId, is_anonymous: bool) -> Fingerprint {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&id.0);
        let number = u128::from_le_bytes(id.0);
        let bits = [(number as u64).max(1), (number >> 64) as u64];
        Fingerprint { is_anonymous, bits, place: (hasher.finish128().h1 >> 32) as u32 }
    }

    /// The node's number to the store. Kong's random numbers start from the clock and the worker's process id, which two
    /// nodes may share; so what the gateway calls the node, `identity`, goes into it too.
    #[must_use]
    pub fn node(&self, identity: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(b"node");
        hasher.write(identity);
        hasher.finish128().h2.max(1)
    }
}

impl Fingerprint {
    /// The number of a client whose record has these bits, if the store knows it by one.
    #[must_use]
    pub const fn id_of(bits: [u64; 2]) -> ClientId {
        let [first, second] = bits;
        ClientId(((second as u128) << 64 | first as u128).to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_namespaces_and_nodes_are_told_apart() {
        let key = FingerprintKey([7; 16]);
        let seen = [
            key.fingerprint("default", &Client::Consumer(b"acme")),
            key.fingerprint("default", &Client::Consumer(b"acm")),
            key.fingerprint("defaultc", &Client::Consumer(b"acme")),
            key.fingerprint("default", &Client::Consumer(&[10, 0, 0, 1])),
            key.fingerprint("default", &Client::Anonymous(Network::V4([10, 0, 0, 1]))),
            key.fingerprint("default", &Client::Anonymous(Network::V6([10, 0, 0, 1, 0, 0, 0, 0]))),
            key.fingerprint("default", &Client::Anonymous(Network::Unknown)),
            FingerprintKey([8; 16]).fingerprint("default", &Client::Consumer(b"acme")),
        ];
        for (index, one) in seen.iter().enumerate() {
            assert!(seen.iter().skip(index + 1).all(|other| other.bits != one.bits), "{one:?}");
        }
        assert_eq!(seen[0], key.fingerprint("default", &Client::Consumer(b"acme")));
    }
}
