//! The messages between gateway and store, version 2: `POST /v1/leases` with a [`Batch`], answered by a [`Reply`].
//!
//! Both are [postcard](https://postcard.jamesmunns.com/wire-format), after one byte that is the version. Lists are bounded when a
//! message is read; numbers are bounded by [`EXACT`](crate::terms::EXACT) only when they are computed with. A tick sends its
//! batch as the body, a request in a [header]. A store believes a gateway only about its own clients' spending, within what it
//! has lent; a gateway believes the store.
//!
//! A report cannot count twice: `spent` is what the node has let through since `epoch`, so a repeated message adds nothing, and
//! the store ignores a message whose `seq` is older than what it knows. What comes back of it makes `spent` smaller.

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

/// The longest time for which the store remembers that a bucket was empty. No report about a lease that has not ended is later
/// than this.
pub const LONGEST_EMPTY: Micros = Micros(60_000_000);

/// The longest reply that a gateway reads, in bytes: four times the reply to a full batch with as many overrides as a store
/// keeps. A longer one is cut off, and so cannot be read.
pub const MAX_REPLY: usize = 4 * 1_024 * 1_024;

/// What a gateway's worker sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The policy's namespace.
    pub namespace: String,
    /// The node's number, which it drew when it started.
    pub node: u64,
    /// The last [`Reply::revision`] that this worker has applied; 0 if there was none.
    pub revision: u64,
    /// What the tiers of the entries allow.
    pub offers: Vec<Offer>,
    /// One per client, at most [`MAX_ENTRIES`].
    pub entries: Vec<Entry>,
}

/// What a node says about one client. Amounts are thousandths of a cost unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The client's number.
    pub client: ClientId,
    /// Its name, [as it is sent](crate::name::as_sent), until the store is known to have it; `None` for anonymous clients.
    pub name: Option<Vec<u8>>,
    /// Whether it is an anonymous client, whose usage is not kept.
    pub is_anonymous: bool,
    /// Its tier's place in [`Batch::offers`].
    pub offer: u8,
    /// What the store is to do.
    pub ask: Ask,
}

/// What the store is to do for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "AskOnWire", into = "AskOnWire")]
pub enum Ask {
    /// Take a report into account, and lend.
    Lease(LeaseRequest),
    /// Decide about one request of this cost and charge it, without a lease (`strict`, and `POST /v1/check`).
    Charge {
        /// The request's cost.
        cost: Cost,
    },
}

impl Default for Ask {
    fn default() -> Self {
        Self::Lease(LeaseRequest::default())
    }
}

/// An [`Ask`] as it is sent. A report of which something came back is a kind of its own, so that all others are what stores
/// and gateways of version 2 have always exchanged.
#[derive(Serialize, Deserialize)]
enum AskOnWire {
    Lease(LeaseRequest),
    Charge { cost: Cost },
    Returning(LeaseRequest, Returned),
}

impl From<Ask> for AskOnWire {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::Charge { cost } => Self::Charge { cost },
            Ask::Lease(lease) if lease.returned == Returned::default() => Self::Lease(lease),
            Ask::Lease(lease) => Self::Returning(lease, lease.returned),
        }
    }
}

impl From<AskOnWire> for Ask {
    fn from(ask: AskOnWire) -> Self {
        match ask {
            AskOnWire::Charge { cost } => Self::Charge { cost },
            AskOnWire::Lease(lease) => Self::Lease(lease),
            AskOnWire::Returning(lease, returned) => Self::Lease(LeaseRequest { returned, ..lease }),
        }
    }
}

/// What requests cost less in the end than they were charged at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// The sum.
    pub cost: Cost,
    /// How long ago the first of these requests was charged. What a bucket has drained since cannot come back to it.
    pub age: Micros,
}

/// A node's report about one client, and what it wants to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// When the node began to count `spent`. It is higher than that of any earlier record of this client.
    pub epoch: u64,
    /// The number of the message within the epoch.
    pub seq: u32,
    /// What the node has let through since the epoch began, by lease or without one, less what came back of it.
    pub spent: Cost,
    /// How much of `spent` does not count again if the store does not know the node. For anonymous clients, which the store
    /// forgets, it is what the store has acknowledged. For consumers it is what the epoch began with, so that a store that has
    /// lost writes learns the whole epoch again.
    pub acked: Cost,
    /// What `spent` was when `day` began, if it began in this epoch. All before belongs to the day before.
    pub spent_before_day: Cost,
    /// The day of what was spent last, in days since 1970-01-01. What is no day of this century stands for the store's own: 0,
    /// and the months that gateways once sent.
    pub day: u16,
    /// What it still holds of its lease.
    pub hold: Cost,
    /// What it must hold for the cheapest request that waits; 0 if none waits.
    pub need: Cost,
    /// What the other waiting requests need in addition. The store lends it as far as it can.
    pub queued: Cost,
    /// What it would like to hold in all.
    pub want: Cost,
    /// For each bucket, when the spending happened that is reported for the first time. 0 means that it counts as spent now. 1
    /// means that it was spent before now, while the bucket was never empty. More means that the bucket was empty at some
    /// moment; the spending since then, alone, drains until this time after the moment [`LONGEST_EMPTY`] before now.
    pub since: [Micros; 3],
    /// What came back of `spent` since the last message that was answered. If the store has taken a part of it into account
    /// already, because its answer was lost, that part counts once.
    #[serde(skip)]
    pub returned: Returned,
}

/// What the store answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The store's clock.
    pub now: UnixMicros,
    /// The revision of the namespace's overrides, once `changes` are applied.
    pub revision: u64,
    /// Whether `changes` are all overrides that exist, so that others are to be forgotten.
    pub is_whole: bool,
    /// What has changed since [`Batch::revision`].
    pub changes: Vec<Change>,
    /// One per entry, in the batch's order.
    pub answers: Vec<Answer>,
}

/// A change to a client that every node has to know at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The client.
    pub client: ClientId,
    /// What has changed.
    pub what: ChangeKind,
}

/// What a [`Change`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// The client has these limits, whatever its tier.
    Override(Offer),
    /// The client has its tier's limits again.
    NoOverride,
    /// The client's bucket or month was reset, so refusals that the node remembers are void.
    Reset,
}

/// The store's answer to one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The report counts, and this is where the client stands.
    Grant(Grant),
    /// The message is older than what the store knows, and changed nothing.
    Stale,
    /// The entry's tier is not in [`Batch::offers`] or cannot be computed with, and the entry changed nothing.
    Unusable,
    /// The backend did not answer for this client. Whether the report counts is not known.
    Failed,
}

/// Where a client stands with the store. Amounts are thousandths of a cost unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The `epoch` of the entry; 0 for a charge.
    pub epoch: u64,
    /// The `seq` of the entry.
    pub seq: u32,
    /// The `spent` by which the store has computed `hold`; what the node has spent since then comes off `hold`. It is the
    /// entry's, unless the message repeats an earlier one's `seq`: then it is the earlier one's.
    pub spent: Cost,
    /// What the node may now hold in all.
    pub hold: Cost,
    /// How long the lease lasts, from the moment at which the node sent its message.
    pub ttl: Millis,
    /// How long the lease may lie unspent before it has to be given back.
    pub idle: Millis,
    /// What each bucket holds that has not drained yet, without what is lent and not spent; rounded up.
    pub used: [Cost; 3],
    /// The store's month.
    pub month: u16,
    /// What was spent in that month, as far as it was reported.
    pub month_used: Cost,
    /// Why `need` or the charge was refused; `None` if it was not.
    pub refusal: Option<Refusal>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which limits refuse; bit 0 is the tier's first.
    pub limits: u8,
    /// Whether the month refuses.
    pub month: bool,
    /// Whether this cost can never be allowed.
    pub never: bool,
    /// How long until it would be allowed if nothing else arrived. The node need not ask before.
    pub wait: Micros,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It has this version instead of [`VERSION`].
    Version(u8),
    /// It is not a message.
    Malformed,
    /// It has more entries, tiers or longer names than are allowed.
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
    // Writing to a vector does not fail. If it did, every reader would refuse the empty message.
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
