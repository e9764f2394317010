//! The overrides and resets of a namespace, ready to decide with and to tell nodes of.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tollgate::lease::client::{ClientId, Namespace};
use tollgate::lease::name;
use tollgate::lease::wire::{Change, News};
use tollgate::table::Client;
use tracing::error;

use super::grant::Grant;
use super::tier::{Known, Tiers};
use crate::backend::Bulletin;

/// One consumer's override, or that it has none any more.
#[derive(Clone, Debug)]
pub struct Row {
    /// The revision that made it so.
    pub revision: u64,
    /// Whose.
    pub client: ClientId,
    /// What is granted; none: removed.
    pub grant: Option<Grant>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Board {
    /// Of the bulletin that this was made of.
    pub revision: u64,
    since: u64,
    rows: BTreeMap<String, Row>,
    resets: Vec<(u64, ClientId)>,
    /// What clients with an override are offered.
    offered: HashMap<ClientId, Offered>,
}

#[derive(Debug)]
struct Offered {
    tier: Arc<Known>,
    expires_at: Option<u64>,
}

impl Board {
    /// What `bulletin` says, in the terms of `tiers`. A row that cannot be read counts as none, and is logged.
    #[must_use]
    pub fn new(bulletin: Bulletin, ids: &Namespace, tiers: &Tiers) -> Self {
        let rows = bulletin.overrides.into_iter().map(|row| {
            let grant = row.value.and_then(|value| {
                let read = serde_json::from_slice(&value);
                read.inspect_err(|why| error!(consumer = row.consumer, %why, "an override cannot be read"))
                    .ok()
            });
            // One from before names had one text each may be none.
            let named = name::read(&row.consumer, ids).map(|named| named.client);
            let client = named.unwrap_or_else(|| ids.id(&Client::Consumer(row.consumer.as_bytes())));
            (row.consumer, Row { revision: row.revision, client, grant })
        });
        let board = Self {
            revision: bulletin.revision,
            since: bulletin.since,
            rows: rows.collect(),
            resets: bulletin.resets,
            offered: HashMap::new(),
        };
        board.with(tiers)
    }

    /// The same in the terms of other tiers.
    #[must_use]
    pub fn with(&self, tiers: &Tiers) -> Self {
        let offered = self.rows.values().filter_map(|row| {
            let grant = row.grant.as_ref()?;
            let tier = tiers.find(&grant.offer(tiers))?;
            Some((row.client, Offered { tier, expires_at: grant.expires_at }))
        });
        Self {
            revision: self.revision,
            since: self.since,
            offered: offered.collect(),
            rows: self.rows.clone(),
            resets: self.resets.clone(),
        }
    }

    /// What `client` is offered at `now` whatever its tier.
    #[must_use]
    pub fn offered(&self, client: ClientId, now: u64) -> Option<&Arc<Known>> {
        let offered = self.offered.get(&client)?;
        offered.expires_at.is_none_or(|expires_at| now < expires_at).then_some(&offered.tier)
    }

    /// Whether it takes a clock to say what is offered: it costs a call.
    #[must_use]
    pub fn has_ending(&self) -> bool {
        self.offered.values().any(|offered| offered.expires_at.is_some())
    }

    /// Whether an override counts on the tier called `name`.
    #[must_use]
    pub fn has_of(&self, name: &str) -> bool {
        self.rows
            .values()
            .filter_map(|row| row.grant.as_ref())
            .any(|grant| grant.wish.tier.as_deref() == Some(name))
    }

    /// `consumer`'s override and its revision.
    #[must_use]
    pub fn get(&self, consumer: &str) -> Option<(u64, &Grant)> {
        let row = self.rows.get(consumer)?;
        Some((row.revision, row.grant.as_ref()?))
    }

    /// Every override, by consumer.
    pub fn grants(&self) -> impl Iterator<Item = (&str, u64, &Grant)> {
        self.rows
            .iter()
            .filter_map(|(consumer, row)| Some((consumer.as_str(), row.revision, row.grant.as_ref()?)))
    }

    /// Whose overrides are over at `now`.
    pub fn over(&self, now: u64) -> impl Iterator<Item = &str> {
        self.grants().filter(move |(.., grant)| grant.is_over(now)).map(|(consumer, ..)| consumer)
    }

    /// What a node has to be told that knows revision `known`; and whether that is all there is.
    #[must_use]
    pub fn news(&self, known: u64, now: u64) -> (bool, Vec<Change>) {
        // A node from before what is remembered, or from a future that this backend has lost.
        let is_whole = known == 0 || known < self.since || known > self.revision;
        if known == self.revision && !is_whole {
            return (false, Vec::new());
        }
        let after = if is_whole { 0 } else { known };
        let overrides = self.rows.values().filter(|row| row.revision > after);
        let overrides = overrides.filter_map(|row| {
            let what = match self.offered(row.client, now) {
                Some(tier) => News::Override(tier.offer.clone()),
                None if is_whole => return None,
                None => News::NoOverride,
            };
            Some(Change { client: row.client, what })
        });
        let resets = self.resets.iter().filter(|(revision, _)| *revision > after);
        let resets = resets.map(|(_, client)| Change { client: *client, what: News::Reset });
        (is_whole, overrides.chain(resets).collect())
    }
}
