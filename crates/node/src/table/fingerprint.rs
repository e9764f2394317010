//! Fingerprints: which client a record belongs to, and in which slot it is.

use core::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};
use tollgate_core::client::{Client, ClientId, Network};

/// The node's secret. Without it nobody can compute which clients share a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FingerprintKey(pub [u8; 16]);

/// 128 bits that stand for a client on this node. They are never zero, which marks an empty way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Whether the client is anonymous; such records are kept apart.
    pub is_anonymous: bool,
    /// The bits.
    pub bits: [u64; 2],
    /// The client's slot, as a fraction of all slots. It depends on the node's secret, so nobody can fill one slot on purpose.
    pub place: u32,
}

impl FingerprintKey {
    /// The fingerprint of `client` in `namespace`, by SipHash-1-3 with 128 bits of output.
    #[must_use]
    pub fn fingerprint(&self, namespace: &str, client: &Client<'_>) -> Fingerprint {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        // A zero byte separates the parts; a namespace, which is plain text, contains none.
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

    /// The fingerprint of a client by its number to the store: the number itself, in a slot that only this node can compute.
    #[must_use]
    pub fn of_id(&self, id: ClientId, is_anonymous: bool) -> Fingerprint {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&id.0);
        let number = u128::from_le_bytes(id.0);
        let bits = [(number as u64).max(1), (number >> 64) as u64];
        Fingerprint { is_anonymous, bits, place: (hasher.finish128().h1 >> 32) as u32 }
    }

    /// The node's number to the store. Kong seeds its random numbers with the clock and the worker's process id, which two nodes
    /// may share, so the gateway's name for the node, `identity`, goes into the number, too.
    #[must_use]
    pub fn node(&self, identity: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(b"node");
        hasher.write(identity);
        hasher.finish128().h2.max(1)
    }
}

impl Fingerprint {
    /// The number of the client whose record has these bits. It is meaningful only with a store.
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
