//! The bytes of an account, as `apply.lua` packs them.

use crate::accounts::{Account, Level, Loan, Usage as Period};
use tollgate_core::client::ClientId;
use tollgate_core::units::{Cost, Micros, UnixMicros, Work};

use super::bytes::Reader;
use super::lua::{ACCOUNT_VERSION, HAS_FLOORS, HAS_NAME, WAS_REFILLED};
use crate::backend::{BackendError, DayRow, Days, DaysUsed, Usage};
use std::collections::HashMap;
use tollgate_core::limit::Month;

/// What is kept of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name, if it has one.
    pub name: Option<Vec<u8>>,
    /// The tier that it was last seen in.
    pub tier: String,
    /// The month's quota of that tier, or `None` if it is unlimited.
    pub monthly: Option<Cost>,
    /// Everything else.
    pub account: Account,
}

impl Stored {
    /// Reads what `apply.lua` has packed.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BackendError> {
        Self::read(bytes)
            .ok_or_else(|| BackendError::Corrupt("an account is damaged, or of a newer version".into()))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.byte()? != ACCOUNT_VERSION {
            return None;
        }
        let has = reader.byte()?;
        // An unknown flag may change the meaning of the rest.
        if has >= 2 * WAS_REFILLED {
            return None;
        }
        let (has, was_refilled) = (has % WAS_REFILLED, has >= WAS_REFILLED);
        let (has, has_floors) = (has % HAS_FLOORS, has >= HAS_FLOORS);
        let mut account = Account { at: UnixMicros(reader.long()?), ..Account::default() };
        let (description, name) = (reader.short()?, reader.short()?);
        let (loans, months) = (reader.short()?, reader.byte()?);
        for index in 0..usize::from(has % HAS_NAME) {
            // If the bucket is empty, its work is negative: how long it has been empty.
            let work = reader.long()?.cast_signed();
            let level = Level {
                work: Work(work.max(0).unsigned_abs()),
                idle: Micros(work.min(0).unsigned_abs()),
                weight: reader.int()?.into(),
                drain: reader.int()?.into(),
                floor: Work(0),
            };
            *account.levels.get_mut(index)? = level;
        }
        let mut description = Reader(reader.take(description.into())?);
        let (has_month, monthly) = (description.byte()?, description.long()?);
        let tier = String::from_utf8(description.0.to_vec()).ok()?;
        let name = reader.take(name.into())?.to_vec();
        if has_month > 1 || (has < HAS_NAME && !name.is_empty()) {
            return None;
        }
        for _ in 0..loans {
            account.loans.push(Loan {
                node: reader.long()?,
                epoch: reader.long()?,
                seq: reader.int()?,
                spent: Cost(reader.long()?),
                lent: Cost(reader.long()?),
                forfeited: Cost(reader.long()?),
                period: reader.short()?,
                ends: UnixMicros(reader.long()?),
            });
        }
        for _ in 0..months {
            account.usage.push(Period { period: reader.short()?, used: Cost(reader.long()?) });
        }
        if has_floors {
            for level in &mut account.levels {
                level.floor = Work(reader.long()?);
            }
        }
        if was_refilled {
            account.refilled = UnixMicros(reader.long()?);
        }
        reader.is_empty().then_some(Self {
            name: (has >= HAS_NAME).then_some(name),
            tier,
            monthly: (has_month == 1).then_some(Cost(monthly)),
            account,
        })
    }

    /// What `client`, whose account this is, used on each of `days`, of which `rows` has those that the account does not keep.
    pub fn days_used(
        self,
        client: ClientId,
        days: Days,
        now: UnixMicros,
        rows: &HashMap<Month, DayRow>,
    ) -> DaysUsed {
        let used = days.used(&self.account, now, |month| rows.get(&month));
        DaysUsed { client, name: self.name, tier: self.tier, days: used }
    }

    /// What `client`, whose account this is, used in `month`.
    pub fn usage(self, client: ClientId, month: u16, now: UnixMicros) -> Usage {
        Usage {
            client,
            name: self.name,
            tier: self.tier,
            monthly: self.monthly,
            used: self.account.used_at(month, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_script_has_packed_is_no_account() {
        let good =
            [&[1, HAS_NAME][..], &[0; 8], &[13, 0, 1, 0, 0, 0, 0], &[1], &[7; 8], b"free", b"x"].concat();
        assert_eq!(Stored::read(&good).unwrap().name, Some(b"x".to_vec()));
        // An unknown version, an unknown flag, four levels, a name without its flag, and a flag that is neither 0 nor
        // 1.
        for (at, byte) in [
            (0, 2),
            (1, HAS_NAME | 128),
            (1, HAS_NAME | WAS_REFILLED),
            (1, HAS_NAME | HAS_FLOORS),
            (1, HAS_NAME | 4),
            (1, 0),
            (17, 2),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(Stored::read(&bad), None, "{byte} at {at}");
        }
        assert_eq!(Stored::read(&good[..good.len() - 1]), None);
    }
}
