//! The part of a backend that keeps reservations.

use async_trait::async_trait;
use tollgate_core::client::ClientId;
use tollgate_core::units::{Cost, UnixMicros};

use super::BackendError;
use crate::accounts::{Account, Decided, Hold, MAX_RESERVATIONS, Reservation, ReservationCount};
use crate::accounts::{ReservationId, Settling};

/// Which reservation: the client's, and its number.
pub type ReservationKey = (ClientId, ReservationId);

/// The result of reserving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It was made.
    Now(Reservation),
    /// There is one with this number, maybe of another cost. Nothing has changed.
    Before(Reservation),
    /// The limits refuse the cost.
    Refused(Decided),
    /// The client has [`MAX_RESERVATIONS`] already.
    TooMany,
}

/// The result of settling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is settled.
    Now(Reservation),
    /// It was settled before, maybe with another cost. Nothing has changed.
    Before(Reservation),
    /// There is none that can be settled: its time is over, or it was never made.
    Unknown,
}

/// Keeps reservations.
#[async_trait]
pub trait ReservationStore: Send + Sync + 'static {
    /// Charges what `hold` wants and remembers the reservation, in one step, by [`Account::reserve`]. `name` is the client's.
    async fn reserve(
        &self,
        namespace: &str,
        key: ReservationKey,
        name: Vec<u8>,
        hold: Hold,
    ) -> Result<Reserved, BackendError>;

    /// Settles a reservation with `cost`, in one step, by [`Reservation::settle`].
    async fn settle(&self, namespace: &str, key: ReservationKey, cost: Cost)
    -> Result<Settled, BackendError>;
}

/// Decides about `hold`, where `kept` is what the backend has under its number.
pub(super) fn reserve(
    account: &mut Account,
    count: &mut ReservationCount,
    kept: Option<Reservation>,
    hold: &Hold,
    now: UnixMicros,
) -> Reserved {
    if let Some(kept) = kept.filter(|kept| kept.forget_at() > now) {
        return Reserved::Before(kept);
    }
    if count.advance(now) >= MAX_RESERVATIONS {
        return Reserved::TooMany;
    }
    match account.reserve(hold, now) {
        Ok(reservation) => {
            count.add(reservation.forget_at());
            Reserved::Now(reservation)
        }
        Err(refused) => Reserved::Refused(refused),
    }
}

/// Settles `kept` with `cost`.
pub(super) fn settle(
    account: &mut Account,
    kept: Option<Reservation>,
    cost: Cost,
    now: UnixMicros,
) -> Settled {
    let Some(mut kept) = kept.filter(|kept| kept.forget_at() > now) else { return Settled::Unknown };
    match kept.settle(account, cost, now) {
        Settling::Now => Settled::Now(kept),
        Settling::Before => Settled::Before(kept),
        Settling::TooLate => Settled::Unknown,
    }
}
