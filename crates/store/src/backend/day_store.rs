//! The part of a backend that keeps what consumers use by day: see [`usage`](crate::accounts::Usage) for the newest day, which
//! the account keeps.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tollgate_core::client::ClientId;
use tollgate_core::limit::{Day, Month};
use tollgate_core::terms::EXACT;
use tollgate_core::units::{Cost, UnixMicros};

use super::BackendError;
use crate::accounts::{Account, MONTHS_KEPT, Moved, month_of};

/// The bytes of one amount in a [`DayRow`].
const AMOUNT: usize = 8;

/// Some days in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    /// The first one.
    pub from: Day,
    /// The one after the last one.
    pub to: Day,
}

/// What one consumer used, by day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaysUsed {
    /// Who.
    pub client: ClientId,
    /// The client's name, or `None` if no gateway has sent it.
    pub name: Option<Vec<u8>>,
    /// The tier that it was last seen in.
    pub tier: String,
    /// The days on which something was used, in their order.
    pub days: Vec<(Day, Cost)>,
}

/// What one client used on the days of one month: 8 bytes for each, little-endian, up to the last one on which it used something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayRow(pub Vec<u8>);

/// The rows of one client, by month.
#[derive(Debug, Default)]
pub struct DayRows(BTreeMap<Month, DayRow>);

impl Days {
    /// What was used on each of them. `account` has the newest day, and `row` those of a month.
    pub fn used<'a>(
        self,
        account: &Account,
        now: UnixMicros,
        row: impl Fn(Month) -> Option<&'a DayRow>,
    ) -> Vec<(Day, Cost)> {
        let days = (self.from.0..self.to.0).map(Day);
        let used = days.map(|day| {
            let kept = row(day.month()).map_or(Cost(0), |row| row.get(day));
            (day, kept.plus(account.used_on_at(day, now)))
        });
        used.filter(|(_, used)| *used > Cost(0)).collect()
    }

    /// The months that they lie in.
    pub fn months(self) -> impl Iterator<Item = Month> {
        let last = Day(self.to.0.saturating_sub(1)).month();
        let is_empty = self.from >= self.to;
        (self.from.month().0..=last.0).filter(move |_| !is_empty).map(Month)
    }
}

impl DayRow {
    /// Adds a change of one of the month's days.
    pub fn add(&mut self, moved: &Moved) {
        let place = place(moved.day);
        if self.0.len() < place.end {
            self.0.resize(place.end, 0);
        }
        let used = self.get(moved.day).plus(moved.more).less(moved.less).min(Cost(EXACT));
        if let Some(bytes) = self.0.get_mut(place) {
            bytes.copy_from_slice(&used.0.to_le_bytes());
        }
    }

    /// What was used on `day`, which is one of the month's.
    #[must_use]
    pub fn get(&self, day: Day) -> Cost {
        let bytes = self.0.get(place(day)).and_then(|bytes| bytes.try_into().ok());
        Cost(bytes.map_or(0, u64::from_le_bytes))
    }
}

impl DayRows {
    /// Adds changes of days that are kept at `now`.
    pub fn add(&mut self, moved: &[Moved], now: UnixMicros) {
        for moved in moved.iter().filter(|moved| is_kept(moved.day.month(), now)) {
            self.0.entry(moved.day.month()).or_default().add(moved);
        }
    }

    /// Forgets the months that are not kept at `now`.
    pub fn forget(&mut self, now: UnixMicros) {
        while let Some(oldest) = self.0.first_entry()
            && !is_kept(*oldest.key(), now)
        {
            oldest.remove();
        }
    }

    /// All of them.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (Month, &DayRow)> {
        self.0.iter().map(|(month, row)| (*month, row))
    }

    /// The row of `month`.
    #[must_use]
    pub fn get(&self, month: Month) -> Option<&DayRow> {
        self.0.get(&month)
    }
}

/// Whether the days of `month` are kept at `now`.
#[must_use]
pub fn is_kept(month: Month, now: UnixMicros) -> bool {
    month.0.saturating_add(MONTHS_KEPT) >= month_of(now)
}

/// Where a day's amount is in its month's row.
fn place(day: Day) -> std::ops::Range<usize> {
    let first = Day::of(day.month().start());
    let start = usize::from(day.0.saturating_sub(first.0)).saturating_mul(AMOUNT);
    start..start.saturating_add(AMOUNT)
}

/// Keeps what consumers use by day.
#[async_trait]
pub trait DayStore: Send + Sync + 'static {
    /// What `client` used on each of `days`, or `None` if the client was never seen.
    async fn days_used(
        &self,
        namespace: &str,
        client: ClientId,
        days: Days,
    ) -> Result<Option<DaysUsed>, BackendError>;

    /// Every consumer with a name that used something on one of `days`, once each and in any order, in constant memory.
    fn all_days_used(
        &self,
        namespace: &str,
        days: Days,
    ) -> BoxStream<'static, Result<DaysUsed, BackendError>>;
}
