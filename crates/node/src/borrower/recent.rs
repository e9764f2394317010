//! The numbers of the consumers that a worker has served last.
//!
//! Every request needs its client's number, a cryptographic hash of the name. Most requests come from few consumers, and to
//! look a number up costs a fraction of the hash. The numbers of anonymous clients are computed each time, because there may
//! be any number of them.

use std::hash::BuildHasher;

use tollgate_core::client::{Client, ClientId, ClientSecret, Namespace};

use crate::request::is_same;

/// How many consumers are remembered, in 32 KiB. A name replaces the one that has the same place.
const COUNT: usize = 512;
/// The longest name that is remembered, in bytes.
const LONGEST: usize = 47;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Recent {
    secret: ClientSecret,
    entries: Box<[Entry]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: ClientId,
    /// The name's length; 0 for an unused entry.
    length: u8,
    name: [u8; LONGEST],
}

impl Recent {
    pub(super) fn new(secret: ClientSecret) -> Self {
        let nobody = Entry { id: ClientId::default(), length: 0, name: [0; LONGEST] };
        Self { secret, entries: vec![nobody; COUNT].into() }
    }

    /// The number of `client` in `namespace`, which has to be the same for every call.
    pub(super) fn id(&mut self, namespace: &Namespace, client: &Client<'_>) -> ClientId {
        let Client::Consumer(name) = client else { return namespace.id(client) };
        let index = self.secret.hash_one(name) as usize % COUNT;
        let Some(entry) = self.entries.get_mut(index).filter(|_| !name.is_empty()) else {
            return namespace.id(client);
        };
        let Some(held) = entry.name.get_mut(..name.len()) else { return namespace.id(client) };
        if usize::from(entry.length) != name.len() || !is_same(held, name) {
            held.copy_from_slice(name);
            entry.length = name.len() as u8;
            entry.id = namespace.id(client);
        }
        entry.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::client::Network;

    #[test]
    fn what_is_remembered_is_what_would_be_computed() {
        let namespace = Namespace::new("n");
        let mut recent = Recent::new(ClientSecret::with_seed(7));
        // Far more names than there is room for, of all lengths, each twice in a row and again after others took its place.
        let names: Vec<Vec<u8>> = (0..3 * COUNT)
            .map(|number| {
                let mut name = format!("{number}-").into_bytes();
                name.resize(number % (LONGEST + 4), b'x');
                name
            })
            .collect();
        for name in names.iter().flat_map(|name| [name, name]).chain(&names).chain(names.iter().rev()) {
            let client = Client::Consumer(name);
            assert_eq!(recent.id(&namespace, &client), namespace.id(&client), "{name:?}");
        }
        let anonymous = Client::Anonymous(Network::V4([192, 0, 2, 1]));
        assert_eq!(recent.id(&namespace, &anonymous), namespace.id(&anonymous));
        assert!(
            recent.entries.iter().filter(|entry| entry.length > 0).count() > COUNT / 2,
            "places are used"
        );
    }

    #[test]
    fn a_name_that_another_one_starts_with_is_another() {
        let namespace = Namespace::new("n");
        let mut recent = Recent::new(ClientSecret::with_seed(7));
        for name in [b"acme".as_slice(), b"acme-2", b"acme", b"acm", b""] {
            // Every place has the same name.
            for entry in &mut recent.entries {
                *entry =
                    Entry { id: namespace.id(&Client::Consumer(b"acme")), length: 4, name: padded(b"acme") };
            }
            let client = Client::Consumer(name);
            assert_eq!(recent.id(&namespace, &client), namespace.id(&client), "{name:?}");
        }
    }

    fn padded(name: &[u8]) -> [u8; LONGEST] {
        let mut all = [0; LONGEST];
        all[..name.len()].copy_from_slice(name);
        all
    }
}
