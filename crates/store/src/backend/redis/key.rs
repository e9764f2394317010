//! The names of the keys; docs/redis-keys.md lists them.
//!
//! Namespaces are percent-encoded, so no namespace can end a hash tag or look like another key.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tollgate_core::client::ClientId;
use tollgate_core::limit::Month;

use crate::accounts::ReservationId;

/// The set of all namespaces.
pub(super) const NAMESPACES: &str = "tollgate:namespaces";

/// How many sets the names of a namespace are spread over. The clients of a set share its slot.
pub(super) const SHARDS: u16 = 256;

/// The characters that are not encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The keys of one namespace.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    namespace: String,
}

impl Keys {
    pub fn new(namespace: &str) -> Self {
        Self { namespace: utf8_percent_encode(namespace, ENCODED).to_string() }
    }

    /// A client's account.
    pub fn account(&self, client: ClientId) -> String {
        format!("tollgate:a:{{{}:{:02x}}}:{client}", self.namespace, shard_of(client))
    }

    /// What a client used on the days of `month`.
    pub fn days(&self, client: ClientId, month: Month) -> String {
        format!("tollgate:u:{{{}:{:02x}}}:{client}:{}", self.namespace, shard_of(client), month.0)
    }

    /// How many reservations a client has.
    pub fn reservation_count(&self, client: ClientId) -> String {
        format!("tollgate:h:{{{}:{:02x}}}:{client}", self.namespace, shard_of(client))
    }

    /// One reservation of a client.
    pub fn reservation(&self, client: ClientId, id: ReservationId) -> String {
        // A number is written as a client's is.
        format!("{}:{}", self.reservation_count(client), ClientId(id.0))
    }

    /// The set of the clients of one shard that have names.
    pub fn names(&self, shard: u16) -> String {
        format!("tollgate:n:{{{}:{shard:02x}}}", self.namespace)
    }

    /// The counters: revision, since, lines, and the count of overrides.
    pub fn counters(&self) -> String {
        format!("tollgate:c:{{{}:}}", self.namespace)
    }

    /// The list of removals and resets.
    pub fn notices(&self) -> String {
        format!("tollgate:w:{{{}:}}", self.namespace)
    }

    /// The list of the newest changes.
    pub fn changes(&self) -> String {
        format!("tollgate:r:{{{}:}}", self.namespace)
    }

    /// The overrides.
    pub fn overrides(&self) -> String {
        format!("tollgate:o:{{{}:}}", self.namespace)
    }

    /// The audit log.
    pub fn audit(&self) -> String {
        format!("tollgate:l:{{{}:}}", self.namespace)
    }

    /// The application's document.
    pub fn document(&self) -> String {
        format!("tollgate:d:{{{}:}}", self.namespace)
    }

    /// Who pays for which consumer.
    pub fn customers(&self) -> String {
        format!("tollgate:p:{{{}:}}", self.namespace)
    }

    /// The order of the consumers that have customers, and each customer's consumers.
    pub fn customer_index(&self) -> String {
        format!("tollgate:i:{{{}:}}", self.namespace)
    }
}

/// The shard of `client`.
pub(super) fn shard_of(client: ClientId) -> u16 {
    let [first, ..] = client.0;
    first.into()
}

/// A client of that shard.
pub(super) fn client_of(shard: u16) -> ClientId {
    let [_, byte] = shard.to_be_bytes();
    ClientId([byte; 16])
}

/// The slot of `key` in a cluster: CRC-16/XMODEM of its hash tag, as the cluster specification says.
pub(super) fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let tag = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("{user1000}.following"), slot_of("user1000"));
        assert_eq!(slot_of("foo{}{bar}"), slot_of("foo{}{bar}"));
        assert_ne!(slot_of("foo{}{bar}"), slot_of("bar"));
        assert_eq!(slot_of("foo{{bar}}zap"), slot_of("{bar"));
    }

    #[test]
    fn no_namespace_leaves_its_slot_or_takes_anothers_keys() {
        let client = ClientId([0x5e; 16]);
        for name in ["", "}", "{", "a}:{b", "%7D", "a:5e", "ä\u{0}\n"] {
            let keys = Keys::new(name);
            assert_eq!(slot_of(&keys.account(client)), slot_of(&keys.names(0x5e)), "{name:?}");
            let (reservation, days) =
                (keys.reservation(client, ReservationId([7; 16])), keys.days(client, Month(682)));
            let of_client = [keys.reservation_count(client), reservation, days];
            assert!(of_client.iter().all(|key| slot_of(key) == slot_of(&keys.account(client))), "{name:?}");
            let all = [
                keys.counters(),
                keys.notices(),
                keys.changes(),
                keys.overrides(),
                keys.audit(),
                keys.document(),
                keys.customers(),
                keys.customer_index(),
            ];
            assert!(all.iter().all(|key| slot_of(key) == slot_of(&all[0])), "{name:?}");
        }
        assert_ne!(Keys::new("a").names(0x5e), Keys::new("a:5e").names(0x5e));
        assert_ne!(Keys::new("}").counters(), Keys::new("%7D").counters());
    }
}
