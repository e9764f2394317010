//! The reservations of a part of a namespace's clients.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use async_trait::async_trait;
use tollgate_core::client::ClientId;
use tollgate_core::units::{Cost, UnixMicros};

use super::Memory;
use crate::accounts::{Hold, Reservation, ReservationCount};
use crate::backend::{BackendError, ReservationKey, ReservationStore, Reserved, Settled};

/// How many reservations one call may forget: more than it can make, so that they do not pile up, and few, so that no call
/// waits long.
const FORGOTTEN_AT_ONCE: usize = 4;

/// The reservations of one shard.
#[derive(Default)]
pub struct Reservations {
    by_key: BTreeMap<ReservationKey, Reservation>,
    counts: BTreeMap<ClientId, ReservationCount>,
    /// When to forget each. The minute of its client's count is over by then, too.
    ends: BinaryHeap<Reverse<(u32, ReservationKey)>>,
}

impl Reservations {
    /// The reservation under `key`.
    pub fn get(&self, key: ReservationKey) -> Option<&Reservation> {
        self.by_key.get(&key)
    }

    /// Keeps `reservation`, which may have been there.
    pub fn put(&mut self, key: ReservationKey, reservation: Reservation) {
        let minute = ReservationCount::minute_of(reservation.forget_at());
        if self.by_key.insert(key, reservation).is_none() {
            self.ends.push(Reverse((minute, key)));
        }
    }

    /// Takes out how many reservations `client` has, to be [put back](Self::put_count).
    pub fn take_count(&mut self, client: ClientId) -> ReservationCount {
        self.counts.remove(&client).unwrap_or_default()
    }

    /// Keeps how many reservations `client` has.
    pub fn put_count(&mut self, client: ClientId, count: ReservationCount) {
        if !count.minutes.is_empty() {
            self.counts.insert(client, count);
        }
    }

    /// Forgets some of those whose time is over at `now`.
    pub fn forget(&mut self, now: UnixMicros) {
        let minute = ReservationCount::minute_of(now);
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some(Reverse((end, key))) = self.ends.peek().copied().filter(|end| end.0.0 < minute) else {
                return;
            };
            self.ends.pop();
            // A later one may have taken the number of one whose time was over.
            match self.by_key.get(&key).map(|kept| ReservationCount::minute_of(kept.forget_at())) {
                Some(later) if later > end => self.ends.push(Reverse((later, key))),
                _ => drop(self.by_key.remove(&key)),
            }
            if self.counts.get_mut(&key.0).is_some_and(|count| count.advance(now) == 0) {
                self.counts.remove(&key.0);
            }
        }
    }

    /// How many reservations and counts there are.
    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.by_key.len(), self.counts.len())
    }
}

#[async_trait]
impl ReservationStore for Memory {
    async fn reserve(
        &self,
        namespace: &str,
        key: ReservationKey,
        name: Vec<u8>,
        hold: Hold,
    ) -> Result<Reserved, BackendError> {
        let now = (self.clock)();
        Ok(self.state_or_new(namespace).shard(key.0).reserve(key, name, &hold, now))
    }

    async fn settle(
        &self,
        namespace: &str,
        key: ReservationKey,
        cost: Cost,
    ) -> Result<Settled, BackendError> {
        let now = (self.clock)();
        Ok(self.state(namespace).map_or(Settled::Unknown, |state| state.shard(key.0).settle(key, cost, now)))
    }
}
