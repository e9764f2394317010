//! The messages between gateway and store, version 2: `POST /v1/leases` with a [`Batch`], answered by a [`Reply`].
//!
//! Both are [postcard](https://postcard.jamesmunns.com/wire-format), after one byte that is the version. Numbers in a
//! message are bounded by [`EXACT`](crate::terms::EXACT) when they are computed with, not when they are read; lists are
//! bounded here. A tick sends its batch as the body, a request in a [header]. Nothing in it is trusted: a store believes a gateway about its own clients' spending, within what it has
//! lent, and a gateway believes the store.
//!
//! A report cannot count twice: `spent` is what the node has let through since `epoch`, so a repeated message adds
//! nothing, and one that is older than what the store knows (by `seq`) is not looked at.

use serde::{Deserialize, Serialize};

pub mod header;

use crate::client::ClientId;
use crate::name::MAX_NAME;
use crate::terms::Offer;
use crate::units::{Cost, Micros, Millis, UnixMicros};

/// The first byte of every message.
pub const VERSION: u8 = 2;

/// The content type of both messages.
pub const CONTENT_TYPE: &str = "application/vnd.tollgate.lease";

/// The most entries that one batch may have.
pub const MAX_ENTRIES: usize = 2_000;

/// The most tiers that one batch may name.
pub const MAX_OFFERS: usize = 65;

/// For so long at most a bucket is remembered to have been empty, microseconds: more than any report is late that a node
/// makes of a lease that has not ended.
pub const LONGEST_EMPTY: Micros = Micros(60_000_000);

/// The longest reply that a gateway reads, bytes: four times what a full batch's is that comes with as many overrides as
/// a store keeps. A longer one is cut off, and so none.
pub const MAX_REPLY: usize = 4 * 1_024 * 1_024;

/// What a gateway's worker sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The policy's namespace.
    pub namespace: String,
    /// The node: a number that it drew when it started.
    pub node: u64,
    /// The last [`Reply::revision`] that this worker has taken in; 0: none.
    pub revision: u64,
    /// What the entries' tiers offer.
    pub offers: Vec<Offer>,
    /// One a client, at most [`MAX_ENTRIES`].
    pub entries: Vec<Entry>,
}

/// One client's report and wishes. Amounts are thousandths of a cost unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who.
    pub client: ClientId,
    /// Its name, when the node does not know that the store knows it, as [`told`](crate::name::as_sent) has it; none for
    /// anonymous clients.
    pub name: Option<Vec<u8>>,
    /// Whether it is an anonymous client, whose use is not kept.
    pub is_anonymous: bool,
    /// Its tier, a place in [`Batch::offers`].
    pub offer: u8,
    /// What is to be done.
    pub ask: Ask,
}

/// What an entry wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Takes a report and lends.
    Lease(LeaseRequest),
    /// Decides about one request of this cost and charges it, without a lease (`strict`, and `POST /v1/check`).
    Charge {
        /// Its cost.
        cost: Cost,
    },
}

impl Default for Ask {
    fn default() -> Self {
        Self::Lease(LeaseRequest::default())
    }
}

/// A node's report about one client, and what it wants to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// When the node began to count `spent`: higher than that of any record of this client it has had before.
    pub epoch: u64,
    /// Counts up with every message of the epoch.
    pub seq: u32,
    /// What the node has let through since the epoch began, by lease or without one.
    pub spent: Cost,
    /// As much of `spent` as the store need not be told again, should it not know the node: of anonymous clients, whom it forgets,
    /// what it has acknowledged. Of consumers nothing: a store that has lost writes hears all of the epoch anew.
    pub acked: Cost,
    /// What `spent` was when `month` began, if it began since; all before belongs to the month before.
    pub spent_before_month: Cost,
    /// The month of what was spent last, months since January 1970; 0: the store's own.
    pub month: u16,
    /// What it still holds of its lease.
    pub hold: Cost,
    /// What it must hold for a request that waits, the cheapest of its client's; 0: none waits.
    pub need: Cost,
    /// What the other requests that wait need beyond that, as far as there is.
    pub queued: Cost,
    /// What it would like to hold.
    pub want: Cost,
    /// When each bucket took what is reported for the first time: 0, it counts as spent now; 1, before now, and the bucket
    /// was never empty then; more, the bucket was empty at some moment of it, and spending from there on, alone, empties it
    /// again so many microseconds after [`LONGEST_EMPTY`] before now.
    pub since: [Micros; 3],
}

/// What the store answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The store's clock.
    pub now: UnixMicros,
    /// The namespace's overrides are those of this revision once `changes` are taken in.
    pub revision: u64,
    /// Whether `changes` are all overrides there are, and others are to be forgotten.
    pub is_whole: bool,
    /// What has changed since [`Batch::revision`].
    pub changes: Vec<Change>,
    /// One an entry, in the batch's order.
    pub answers: Vec<Answer>,
}

/// Something that every node has to know at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whom it is about.
    pub client: ClientId,
    /// What it is.
    pub what: ChangeKind,
}

/// See [`Change`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// From now on this is what the client is offered, whatever its tier.
    Override(Offer),
    /// From now on its tier is what counts.
    NoOverride,
    /// Its bucket or month was reset: what the node knows of a refusal is void.
    Reset,
}

/// The store's answer to one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The report is taken, and this is how the client stands.
    Grant(Grant),
    /// The message is older than what the store knows; it changed nothing.
    Stale,
    /// The entry's tier is not in [`Batch::offers`], or cannot be computed with; it changed nothing.
    Unusable,
    /// The backend did not answer for this client; whether it took the report is not known.
    Failed,
}

/// How a client stands with the store. Amounts are thousandths of a cost unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The `epoch` of the entry; 0 for a charge.
    pub epoch: u64,
    /// The `seq` of the entry.
    pub seq: u32,
    /// The `spent` that the store knows and computed `hold` with: what the node has spent since has to come off `hold`.
    /// The entry's, but for a message that repeats another's `seq`: then the first one's.
    pub spent: Cost,
    /// What the node may now hold, all in all.
    pub hold: Cost,
    /// For how long, from when the node sent its message.
    pub ttl: Millis,
    /// A lease that is not spent from for this long is to be given back.
    pub idle: Millis,
    /// What each bucket has taken that has not drained yet, without what is lent and not spent; rounded up.
    pub used: [Cost; 3],
    /// The store's month.
    pub month: u16,
    /// Spent in it, as far as reported.
    pub month_used: Cost,
    /// Why `need` or the charge was refused; none: it was not.
    pub refusal: Option<Refusal>,
}

/// Why not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which limits refuse; bit 0 is the tier's first.
    pub limits: u8,
    /// Whether the month refuses.
    pub month: bool,
    /// Whether this cost can never be allowed.
    pub never: bool,
    /// From now until it would be allowed, were nothing else to arrive: the node need not ask before.
    pub wait: Micros,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It is of this version, not of [`VERSION`].
    Version(u8),
    /// It is not a message.
    Malformed,
    /// It has more in it than a message may.
    TooLong,
}

impl std::fmt::Display for WireError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(version) => {
                write!(out, "a message of version {version}; this end speaks version {VERSION}")
            }
            Self::Malformed => out.write_str("not a message of the lease protocol"),
            Self::TooLong => write!(out, "a batch has at most {MAX_ENTRIES} entries and {MAX_OFFERS} tiers"),
        }
    }
}

impl std::error::Error for WireError {}

impl Batch {
    /// The message's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// The batch in `bytes`.
    ///
    /// # Errors
    /// [`WireError`] when they are not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let batch: Self = from_bytes(bytes)?;
        let names_fit =
            batch.entries.iter().all(|entry| entry.name.as_ref().is_none_or(|name| name.len() <= MAX_NAME));
        let fits = batch.entries.len() <= MAX_ENTRIES && batch.offers.len() <= MAX_OFFERS;
        if fits && names_fit && batch.namespace.len() <= MAX_NAME {
            Ok(batch)
        } else {
            Err(WireError::TooLong)
        }
    }
}

impl Reply {
    /// The message's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// The reply in `bytes`.
    ///
    /// # Errors
    /// [`WireError`] when they are not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        from_bytes(bytes)
    }
}

fn to_bytes(message: &impl Serialize) -> Vec<u8> {
    // Writing to a vector does not fail; should it, an empty message is refused by every reader.
    postcard::to_extend(message, vec![VERSION]).unwrap_or_default()
}

fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    let (version, body) = bytes.split_first().ok_or(WireError::Malformed)?;
    if *version != VERSION {
        return Err(WireError::Version(*version));
    }
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(WireError::Malformed),
    }
}

#[cfg(test)]
mod tests;
