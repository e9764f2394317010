//! What clients use by day. A day's row changes in the transaction that changes its client's account.

use std::collections::HashMap;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use redb::{ReadTransaction, ReadableTable as _, WriteTransaction};
use tollgate_core::client::ClientId;
use tollgate_core::limit::Month;
use tollgate_core::units::UnixMicros;

use super::file::File;
use super::row::Row;
use super::{PAGE, Page, Redb, table};
use crate::accounts::{MONTHS_KEPT, Moved, month_of};
use crate::backend::{BackendError, DayRow, DayStore, Days, DaysUsed, is_kept};

/// Adds what concerns days that the client's account does not keep.
pub(super) fn add(
    transaction: &WriteTransaction,
    namespace: &str,
    client: ClientId,
    moved: &[Moved],
    now: UnixMicros,
) -> Result<(), BackendError> {
    if moved.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(table::DAYS).map_err(table::failed)?;
    for moved in moved.iter().filter(|moved| is_kept(moved.day.month(), now)) {
        let key = (moved.day.month().0, namespace, client.0);
        let found = table.get(key).map_err(table::failed)?;
        let mut row = DayRow(found.map_or_else(Vec::new, |bytes| bytes.value().to_vec()));
        row.add(moved);
        table.insert(key, row.0.as_slice()).map_err(table::failed)?;
    }
    Ok(())
}

/// Forgets at most `most` rows of months that are older than those that accounts keep.
pub(super) fn forget(file: &File, most: usize, now: UnixMicros) -> Result<(), BackendError> {
    let first_kept = month_of(now).saturating_sub(MONTHS_KEPT);
    let old: Vec<(u16, String, [u8; 16])> = {
        let transaction = file.read()?;
        let table = transaction.open_table(table::DAYS).map_err(table::failed)?;
        let rows =
            table.range::<(u16, &str, [u8; 16])>(..(first_kept, "", [0; 16])).map_err(table::failed)?;
        let owned = rows.take(most).map(|row| {
            let (key, _) = row.map_err(table::failed)?;
            let (month, namespace, client) = key.value();
            Ok((month, namespace.to_owned(), client))
        });
        owned.collect::<Result<_, BackendError>>()?
    };
    if old.is_empty() {
        return Ok(());
    }
    // Only the thread that calls this writes, so nothing has changed in between.
    let transaction = file.write()?;
    {
        let mut table = transaction.open_table(table::DAYS).map_err(table::failed)?;
        for (month, namespace, client) in &old {
            table.remove((*month, namespace.as_str(), *client)).map_err(table::failed)?;
        }
    }
    transaction.commit().map_err(table::failed)
}

#[async_trait]
impl DayStore for Redb {
    async fn days_used(
        &self,
        namespace: &str,
        client: ClientId,
        days: Days,
    ) -> Result<Option<DaysUsed>, BackendError> {
        let (namespace, now) = (namespace.to_owned(), (self.clock)());
        self.read(move |transaction| {
            let accounts = transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
            let found = accounts.get((namespace.as_str(), client.0)).map_err(table::failed)?;
            let row = found.map(|bytes| Row::from_bytes(bytes.value())).transpose()?;
            row.map(|row| Reading { transaction, namespace: &namespace, days, now }.used(client, row))
                .transpose()
        })
        .await
    }

    fn all_days_used(
        &self,
        namespace: &str,
        days: Days,
    ) -> BoxStream<'static, Result<DaysUsed, BackendError>> {
        let now = (self.clock)();
        self.walk(namespace, move |transaction, namespace, after| {
            Reading { transaction, namespace, days, now }.page(after)
        })
    }
}

/// What is read in one transaction.
struct Reading<'a> {
    transaction: &'a ReadTransaction,
    namespace: &'a str,
    days: Days,
    now: UnixMicros,
}

impl Reading<'_> {
    fn used(&self, client: ClientId, row: Row) -> Result<DaysUsed, BackendError> {
        let table = self.transaction.open_table(table::DAYS).map_err(table::failed)?;
        let mut rows: HashMap<Month, DayRow> = HashMap::new();
        for month in self.days.months() {
            let found = table.get((month.0, self.namespace, client.0)).map_err(table::failed)?;
            if let Some(bytes) = found {
                rows.insert(month, DayRow(bytes.value().to_vec()));
            }
        }
        let days = self.days.used(&row.account, self.now, |month| rows.get(&month));
        let (name, tier) = row.into_name_and_tier();
        Ok(DaysUsed { client, name, tier, days })
    }

    /// The consumers after `after`; and the last client that was read, or `None` at the end.
    fn page(&self, after: Option<[u8; 16]>) -> Result<Page<DaysUsed>, BackendError> {
        use std::ops::Bound::{Excluded, Included};
        let accounts = self.transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
        let namespace = self.namespace;
        let start = after.map_or(Included((namespace, [0; 16])), |after| Excluded((namespace, after)));
        let rows = accounts
            .range::<(&str, [u8; 16])>((start, Included((namespace, [0xff; 16]))))
            .map_err(table::failed)?;
        let (mut page, mut last, mut seen) = (Vec::new(), None, 0_usize);
        for row in rows.take(PAGE) {
            let (key, bytes) = row.map_err(table::failed)?;
            let id = key.value().1;
            let row = Row::from_bytes(bytes.value())?;
            if row.has_name() {
                page.push(self.used(ClientId(id), row)?);
            }
            seen = seen.saturating_add(1);
            last = Some(id);
        }
        page.retain(|used| !used.days.is_empty());
        Ok((page, last.filter(|_| seen == PAGE)))
    }
}
