//! Reservations in the file: each is made and settled in the transaction that changes its client's account.

use async_trait::async_trait;
use redb::{ReadableTable as _, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tollgate_core::units::{Cost, UnixMicros};

use super::file::File;
use super::row::Row;
use super::{Redb, days, register, table};
use crate::accounts::{Hold, Reservation, ReservationCount};
use crate::backend::{
    BackendError, CONSUMER_KEPT, ReservationKey, ReservationStore, Reserved, Settled, reservation_store,
};

/// The first byte of every reservation and of every count.
const VERSION: u8 = 1;

#[async_trait]
impl ReservationStore for Redb {
    async fn reserve(
        &self,
        namespace: &str,
        key: ReservationKey,
        name: Vec<u8>,
        hold: Hold,
    ) -> Result<Reserved, BackendError> {
        let namespace = namespace.to_owned();
        let work = move |transaction: &WriteTransaction, now| {
            register(transaction, &namespace)?;
            Client { transaction, namespace: &namespace, key }.reserve(&name, &hold, now)
        };
        self.writer.change(work).await
    }

    async fn settle(
        &self,
        namespace: &str,
        key: ReservationKey,
        cost: Cost,
    ) -> Result<Settled, BackendError> {
        let namespace = namespace.to_owned();
        let work = move |transaction: &WriteTransaction, now| {
            Client { transaction, namespace: &namespace, key }.settle(cost, now)
        };
        self.writer.change(work).await
    }
}

/// One client's reservation in a transaction.
struct Client<'a> {
    transaction: &'a WriteTransaction,
    namespace: &'a str,
    key: ReservationKey,
}

impl Client<'_> {
    fn reserve(&self, name: &[u8], hold: &Hold, now: UnixMicros) -> Result<Reserved, BackendError> {
        let (mut row, kept) = (self.row()?, self.reservation()?);
        let mut counts = self.transaction.open_table(table::RESERVATION_COUNTS).map_err(table::failed)?;
        let key = (self.namespace, self.key.0.0);
        let found = counts.get(key).map_err(table::failed)?;
        let mut count: ReservationCount =
            found.map(|bytes| from_bytes(bytes.value())).transpose()?.unwrap_or_default();
        let reserved = reservation_store::reserve(&mut row.account, &mut count, kept, hold, now);
        if let Reserved::Now(_) | Reserved::Refused(_) = reserved {
            row.describe_by(name.to_vec(), hold);
            self.put_row(&mut row, now)?;
        }
        if let Reserved::Now(reservation) = &reserved {
            counts.insert(key, to_bytes(&count).as_slice()).map_err(table::failed)?;
            self.put_reservation(reservation)?;
            let mut ends = self.transaction.open_table(table::RESERVATION_ENDS).map_err(table::failed)?;
            let minute = ReservationCount::minute_of(reservation.forget_at());
            ends.insert((minute, self.namespace, self.key.0.0, self.key.1.0), ()).map_err(table::failed)?;
        }
        Ok(reserved)
    }

    fn settle(&self, cost: Cost, now: UnixMicros) -> Result<Settled, BackendError> {
        let Some(kept) = self.reservation()? else { return Ok(Settled::Unknown) };
        let mut row = self.row()?;
        let settled = reservation_store::settle(&mut row.account, Some(kept), cost, now);
        if let Settled::Now(reservation) = &settled {
            row.forget_at = row.account.at.after(CONSUMER_KEPT);
            self.put_row(&mut row, now)?;
            self.put_reservation(reservation)?;
        }
        Ok(settled)
    }

    fn row(&self) -> Result<Row, BackendError> {
        let accounts = self.transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
        let found = accounts.get((self.namespace, self.key.0.0)).map_err(table::failed)?;
        found.map_or_else(|| Ok(Row::default()), |bytes| Row::from_bytes(bytes.value()))
    }

    fn put_row(&self, row: &mut Row, now: UnixMicros) -> Result<(), BackendError> {
        days::add(self.transaction, self.namespace, self.key.0, &row.account.take_moved(), now)?;
        let mut accounts = self.transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
        let bytes = row.to_bytes();
        accounts.insert((self.namespace, self.key.0.0), bytes.as_slice()).map_err(table::failed)?;
        Ok(())
    }

    fn reservation(&self) -> Result<Option<Reservation>, BackendError> {
        let reservations = self.transaction.open_table(table::RESERVATIONS).map_err(table::failed)?;
        let found = reservations.get((self.namespace, self.key.0.0, self.key.1.0)).map_err(table::failed)?;
        found.map(|bytes| from_bytes(bytes.value())).transpose()
    }

    fn put_reservation(&self, reservation: &Reservation) -> Result<(), BackendError> {
        let mut reservations = self.transaction.open_table(table::RESERVATIONS).map_err(table::failed)?;
        let (key, bytes) = ((self.namespace, self.key.0.0, self.key.1.0), to_bytes(reservation));
        reservations.insert(key, bytes.as_slice()).map_err(table::failed)?;
        Ok(())
    }
}

/// Forgets at most `most` reservations whose time is over at `now`, the oldest first.
pub(super) fn forget(file: &File, most: usize, now: UnixMicros) -> Result<(), BackendError> {
    let over = over(file, most, now)?;
    if over.is_empty() {
        return Ok(());
    }
    // Only the thread that calls this writes, so nothing has changed in between.
    let transaction = file.write()?;
    {
        let mut ends = transaction.open_table(table::RESERVATION_ENDS).map_err(table::failed)?;
        let mut reservations = transaction.open_table(table::RESERVATIONS).map_err(table::failed)?;
        let mut counts = transaction.open_table(table::RESERVATION_COUNTS).map_err(table::failed)?;
        for (minute, namespace, client, number) in &over {
            ends.remove((*minute, namespace.as_str(), *client, *number)).map_err(table::failed)?;
            let key = (namespace.as_str(), *client, *number);
            let found = reservations.get(key).map_err(table::failed)?;
            let kept = found.map(|bytes| from_bytes::<Reservation>(bytes.value()));
            // A later one may have taken the number. One that cannot be read is of no use to anybody.
            if kept.is_none_or(|kept| kept.is_ok_and(|kept| kept.forget_at() > now)) {
                continue;
            }
            reservations.remove(key).map_err(table::failed)?;
        }
        let mut clients: Vec<_> = over.iter().map(|(_, namespace, client, _)| (namespace, client)).collect();
        clients.dedup();
        for (namespace, client) in clients {
            let key = (namespace.as_str(), *client);
            let found = counts.get(key).map_err(table::failed)?;
            let count = found.map(|bytes| from_bytes::<ReservationCount>(bytes.value()));
            if count.is_some_and(|count| count.map_or(0, |mut count| count.advance(now)) == 0) {
                counts.remove(key).map_err(table::failed)?;
            }
        }
    }
    transaction.commit().map_err(table::failed)
}

type End = (u32, String, [u8; 16], [u8; 16]);

/// The first reservations whose minute is over.
fn over(file: &File, most: usize, now: UnixMicros) -> Result<Vec<End>, BackendError> {
    let transaction = file.read()?;
    let ends = transaction.open_table(table::RESERVATION_ENDS).map_err(table::failed)?;
    let first = (ReservationCount::minute_of(now), "", [0; 16], [0; 16]);
    let over = ends.range::<table::ReservationEnd<'_>>(..first).map_err(table::failed)?;
    let owned = over.take(most).map(|end| {
        let (key, _) = end.map_err(table::failed)?;
        let (minute, namespace, client, number) = key.value();
        Ok((minute, namespace.to_owned(), client, number))
    });
    owned.collect()
}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // Writing to a vector cannot fail. If it did, every reader would refuse the empty value.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default()
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BackendError> {
    let damaged = || BackendError::Corrupt("a reservation is damaged, or of a newer version".into());
    let (_, body) = bytes.split_first().filter(|(version, _)| **version == VERSION).ok_or_else(damaged)?;
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(damaged()),
    }
}
