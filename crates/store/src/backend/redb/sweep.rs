//! Forgets old accounts, by a slow walk that starts again and again, and reservations whose time is over.
//!
//! Each step looks at a few hundred accounts, and at more if there are many calls. Calls can create anonymous clients
//! quickly, and the file must not grow with every client who was ever seen.

use super::file::File;
use super::row::Row;
use super::{days, reservation, table};
use crate::backend::BackendError;
use tollgate_core::units::UnixMicros;

/// How many accounts a step looks at while there are few calls.
const STEP: usize = 512;

/// How many accounts a step looks at per call since the last step. One call usually brings fewer anonymous clients.
const STEP_A_CALL: usize = 256;

/// The most accounts of a step, because calls wait for it.
const STEP_AT_MOST: usize = 16_384;

type Key = (String, [u8; 16]);

/// The state of the walk.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    after: Option<Key>,
    calls: usize,
}

impl Sweep {
    /// Makes the next step longer, because of this many calls.
    pub fn expect(&mut self, calls: usize) {
        self.calls = self.calls.saturating_add(calls);
    }

    /// Looks at the next accounts, and removes those that may be forgotten at `now`.
    pub fn step(&mut self, file: &File, now: UnixMicros) -> Result<(), BackendError> {
        let most = self.calls.saturating_mul(STEP_A_CALL).clamp(STEP, STEP_AT_MOST);
        self.calls = 0;
        reservation::forget(file, most, now)?;
        days::forget(file, most, now)?;
        let old = self.next_forgettable(file, most, now)?;
        if old.is_empty() {
            return Ok(());
        }
        // Only this thread writes, so nothing has changed in between.
        let transaction = file.write()?;
        {
            let mut accounts = transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
            for (namespace, client) in &old {
                accounts.remove((namespace.as_str(), *client)).map_err(table::failed)?;
            }
        }
        transaction.commit().map_err(table::failed)
    }

    fn next_forgettable(
        &mut self,
        file: &File,
        most: usize,
        now: UnixMicros,
    ) -> Result<Vec<Key>, BackendError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let transaction = file.read()?;
        let accounts = transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
        let after = self.after.take();
        let start =
            after.as_ref().map_or(Unbounded, |(namespace, client)| Excluded((namespace.as_str(), *client)));
        let rows = accounts.range::<(&str, [u8; 16])>((start, Unbounded)).map_err(table::failed)?;
        let (mut old, mut seen) = (Vec::new(), 0_usize);
        for row in rows.take(most) {
            let (key, bytes) = row.map_err(table::failed)?;
            let (namespace, client) = key.value();
            seen = seen.saturating_add(1);
            if seen == most {
                self.after = Some((namespace.to_owned(), client));
            }
            // A row that cannot be read stays, so that somebody can find out why.
            if Row::from_bytes(bytes.value()).is_ok_and(|row| row.forget_at <= now) {
                old.push((namespace.to_owned(), client));
            }
        }
        Ok(old)
    }
}
