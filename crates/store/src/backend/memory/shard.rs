//! A part of a namespace's accounts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;
use std::sync::Arc;
use tollgate_core::units::{Cost, UnixMicros};

use crate::accounts::{Account, Applied, Hold, Moved};
use tollgate_core::client::ClientId;
use tollgate_core::wire::{Answer, Ask};

use super::super::reservation_store;
use super::super::{AccountEntry, DayRows, Days, DaysUsed, ReservationKey, Reserved, Settled, Usage};
use super::reservations::Reservations;

/// How many anonymous clients one call may forget: more than one, so that they do not pile up, and few, so that no call
/// waits long.
const FORGOTTEN_AT_ONCE: usize = 4;

/// See the [module](self).
#[derive(Default)]
pub struct Shard {
    records: BTreeMap<ClientId, Record>,
    /// When to look at an anonymous client again. Each is in it once, with a time at which its account may be
    /// forgotten, or an earlier one.
    anonymous: BinaryHeap<Reverse<(UnixMicros, ClientId)>>,
    reservations: Reservations,
}

#[derive(Default)]
struct Record {
    name: Option<Vec<u8>>,
    tier: Arc<str>,
    monthly: Option<Cost>,
    account: Account,
    days: DayRows,
    /// When an anonymous client is as good as never seen.
    forgettable_at: Option<UnixMicros>,
}

impl Shard {
    /// Applies one entry at `now`.
    pub fn apply(&mut self, entry: AccountEntry, now: UnixMicros) -> Answer {
        self.forget(now);
        let record = self.records.entry(entry.client).or_default();
        let answer = match entry.ask {
            Ask::Charge { cost } => Answer::Grant(record.account.charge(&entry.terms, cost, now)),
            Ask::Lease(lease) => match record.account.apply(&entry.terms, entry.node, &lease, now) {
                Applied::Grant(grant) => Answer::Grant(grant),
                Applied::Stale => Answer::Stale,
            },
        };
        let moved = record.account.take_moved();
        if entry.is_anonymous {
            let at = record.account.forgettable_at(&entry.terms);
            if record.forgettable_at.replace(at).is_none() {
                self.anonymous.push(Reverse((at, entry.client)));
            }
            return answer;
        }
        record.keep_days(&moved, now);
        if entry.name.is_some() {
            record.name = entry.name;
        }
        record.tier = entry.tier;
        record.monthly = entry.terms.monthly;
        answer
    }

    /// Reserves what `hold` wants for the client called `name`.
    pub fn reserve(&mut self, key: ReservationKey, name: Vec<u8>, hold: &Hold, now: UnixMicros) -> Reserved {
        self.forget(now);
        let record = self.records.entry(key.0).or_default();
        let kept = self.reservations.get(key).cloned();
        let mut count = self.reservations.take_count(key.0);
        let reserved = reservation_store::reserve(&mut record.account, &mut count, kept, hold, now);
        self.reservations.put_count(key.0, count);
        let moved = record.account.take_moved();
        record.keep_days(&moved, now);
        if let Reserved::Now(_) | Reserved::Refused(_) = reserved {
            record.name = Some(name);
            record.tier = Arc::clone(&hold.tier);
            record.monthly = hold.terms.monthly;
        }
        if let Reserved::Now(reservation) = &reserved {
            self.reservations.put(key, reservation.clone());
        }
        reserved
    }

    /// Settles the reservation under `key`.
    pub fn settle(&mut self, key: ReservationKey, cost: Cost, now: UnixMicros) -> Settled {
        self.forget(now);
        // A reservation's account is never forgotten before it.
        let Some(record) = self.records.get_mut(&key.0) else { return Settled::Unknown };
        let kept = self.reservations.get(key).cloned();
        let settled = reservation_store::settle(&mut record.account, kept, cost, now);
        let moved = record.account.take_moved();
        record.keep_days(&moved, now);
        if let Settled::Now(reservation) = &settled {
            self.reservations.put(key, reservation.clone());
        }
        settled
    }

    /// Resets the bucket or the month of `client`.
    pub fn reset(&mut self, client: ClientId, bucket: bool, month: bool, now: UnixMicros) {
        if let Some(record) = self.records.get_mut(&client) {
            record.account.reset(bucket, month, now);
        }
    }

    /// What `client` used in `month`.
    pub fn usage(&self, client: ClientId, month: u16, now: UnixMicros) -> Option<Usage> {
        self.records.get(&client).map(|record| record.usage(client, month, now))
    }

    /// The usage of the clients that follow `after`, of at most `most` accounts; and the last client, if there may be
    /// more.
    pub fn usages_after(
        &self,
        after: Option<ClientId>,
        month: u16,
        now: UnixMicros,
        most: usize,
    ) -> (Vec<Usage>, Option<ClientId>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut usages, mut last, mut looked_at) = (Vec::new(), None, 0_usize);
        for (client, record) in self.records.range((from, Bound::Unbounded)).take(most) {
            looked_at = looked_at.saturating_add(1);
            last = Some(*client);
            if record.name.is_some() && record.account.used_at(month, now) > Cost(0) {
                usages.push(record.usage(*client, month, now));
            }
        }
        (usages, last.filter(|_| looked_at == most))
    }

    /// What `client` used on each of `days`.
    pub fn days_used(&self, client: ClientId, days: Days, now: UnixMicros) -> Option<DaysUsed> {
        self.records.get(&client).map(|record| record.days_used(client, days, now))
    }

    /// What the clients after `after` used on each of `days`, of at most `most` accounts; and the last client, if there may be
    /// more.
    pub fn all_days_after(
        &self,
        after: Option<ClientId>,
        days: Days,
        now: UnixMicros,
        most: usize,
    ) -> (Vec<DaysUsed>, Option<ClientId>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut all, mut last, mut looked_at) = (Vec::new(), None, 0_usize);
        for (client, record) in self.records.range((from, Bound::Unbounded)).take(most) {
            looked_at = looked_at.saturating_add(1);
            last = Some(*client);
            if record.name.is_some() {
                all.push(record.days_used(*client, days, now));
            }
        }
        all.retain(|used| !used.days.is_empty());
        (all, last.filter(|_| looked_at == most))
    }

    /// How many accounts there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// How many reservations and counts of them there are.
    #[cfg(test)]
    pub fn reservations(&self) -> (usize, usize) {
        self.reservations.len()
    }

    fn forget(&mut self, now: UnixMicros) {
        self.reservations.forget(now);
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some(Reverse((at, client))) = self.anonymous.peek().copied() else { return };
            if at > now {
                return;
            }
            self.anonymous.pop();
            match self.records.get(&client).and_then(|record| record.forgettable_at) {
                Some(later) if later > now => self.anonymous.push(Reverse((later, client))),
                _ => drop(self.records.remove(&client)),
            }
        }
    }
}

impl Record {
    fn keep_days(&mut self, moved: &[Moved], now: UnixMicros) {
        if !moved.is_empty() {
            self.days.add(moved, now);
            self.days.forget(now);
        }
    }

    fn days_used(&self, client: ClientId, days: Days, now: UnixMicros) -> DaysUsed {
        DaysUsed {
            client,
            name: self.name.clone(),
            tier: self.tier.as_ref().to_owned(),
            days: days.used(&self.account, now, |month| self.days.get(month)),
        }
    }

    fn usage(&self, client: ClientId, month: u16, now: UnixMicros) -> Usage {
        Usage {
            client,
            name: self.name.clone(),
            tier: self.tier.as_ref().to_owned(),
            monthly: self.monthly,
            used: self.account.used_at(month, now),
        }
    }
}
