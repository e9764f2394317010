//! What an application holds for one of its requests until it knows what that request really costs.
//!
//! A reservation charges its cost at once, as [`Account::charge`] does, and is remembered. Settling replaces that cost by the
//! real one, as [`Account::settle`] does, once. What nobody settles in time stays spent, so nothing has to happen then: the
//! reservation is only forgotten. A call that is repeated gets the remembered answer and charges nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_core::terms::Terms;
use tollgate_core::units::{Cost, Micros, UnixMicros};
use tollgate_core::wire::Grant;

use super::{Account, exact};

/// How much longer than its own time a reservation is remembered, so that a repeated call is still answered alike if the
/// first one came late.
pub const LATE: Micros = Micros(60_000_000);

/// The most reservations of one client that are remembered, settled or not. An unlimited tier has no bucket that would bound
/// them, and neither has a client whose reservations are all settled with 0.
pub const MAX_RESERVATIONS: u32 = 50_000;

/// [`ReservationCount`] counts by this.
pub const MINUTE: Micros = Micros(60_000_000);

/// The number of a reservation among those of its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReservationId(pub [u8; 16]);

/// What is to be reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The name of the tier of `terms`.
    pub tier: Arc<str>,
    /// The limits and the quota.
    pub terms: Arc<Terms>,
    /// The cost that is charged at once.
    pub cost: Cost,
    /// For how long it may be settled.
    pub ttl: Micros,
    /// The application's bytes. They are kept and not read.
    pub context: Vec<u8>,
}

/// One decision about a reservation, and what it left of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// When, by the account's time.
    pub at: UnixMicros,
    /// What the request costs by this decision.
    pub cost: Cost,
    /// What is used then, and why the cost was refused if it was.
    pub grant: Grant,
}

/// A reservation that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The name of the tier of `terms`.
    pub tier: String,
    /// The limits and the quota that it was made under. It is settled under the same.
    pub terms: Terms,
    /// What was charged at first.
    pub reserved: Decided,
    /// Until when it may be settled.
    pub expires: UnixMicros,
    /// See [`Hold::context`].
    pub context: Vec<u8>,
    /// What it cost in the end, if it was settled.
    pub settled: Option<Decided>,
}

/// What [`Reservation::settle`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settling {
    /// It is settled now.
    Now,
    /// It was settled before. Nothing has changed.
    Before,
    /// Its time is over, and what it was charged stays spent.
    TooLate,
}

impl Account {
    /// Charges what `hold` wants, and makes the reservation of it. A refusal charges nothing and reserves nothing.
    ///
    /// # Errors
    /// The limits refuse the cost.
    pub fn reserve(&mut self, hold: &Hold, now: UnixMicros) -> Result<Reservation, Decided> {
        let cost = exact(hold.cost);
        let grant = self.charge(&hold.terms, cost, now);
        let reserved = Decided { at: self.at, cost, grant };
        if grant.refusal.is_some() {
            return Err(reserved);
        }
        Ok(Reservation {
            tier: hold.tier.as_ref().to_owned(),
            terms: Terms::clone(&hold.terms),
            reserved,
            expires: self.at.after(hold.ttl),
            context: hold.context.clone(),
            settled: None,
        })
    }
}

impl Reservation {
    /// When it is forgotten.
    #[must_use]
    pub const fn forget_at(&self) -> UnixMicros {
        self.expires.after(LATE)
    }

    /// Settles it with `cost`, if it was not settled before and its time is not over.
    pub fn settle(&mut self, account: &mut Account, cost: Cost, now: UnixMicros) -> Settling {
        if self.settled.is_some() {
            return Settling::Before;
        }
        if self.expires <= now {
            return Settling::TooLate;
        }
        let (first, cost) = (self.reserved, exact(cost));
        let grant = account.settle(&self.terms, first.cost, cost, first.at, now);
        self.settled = Some(Decided { at: account.at, cost, grant });
        Settling::Now
    }
}

/// How many reservations of one client are remembered, by the minute at whose end they are forgotten. There are few such
/// minutes, because no reservation lasts long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationCount {
    /// Each minute since 1970 once, and how many it has.
    pub minutes: Vec<(u32, u32)>,
}

impl ReservationCount {
    /// The minute at whose end a reservation is forgotten that is remembered until `moment`.
    #[must_use]
    pub fn minute_of(moment: UnixMicros) -> u32 {
        u32::try_from(moment.0.div_ceil(MINUTE.0)).unwrap_or(u32::MAX)
    }

    /// Forgets the minutes that are over at `now`. The result is how many reservations are left.
    pub fn advance(&mut self, now: UnixMicros) -> u32 {
        self.minutes.retain(|(minute, _)| u64::from(*minute).saturating_mul(MINUTE.0) > now.0);
        self.minutes.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Counts a reservation that is remembered until `moment`.
    pub fn add(&mut self, moment: UnixMicros) {
        let minute = Self::minute_of(moment);
        match self.minutes.iter_mut().find(|(known, _)| *known == minute) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.minutes.push((minute, 1)),
        }
    }
}
