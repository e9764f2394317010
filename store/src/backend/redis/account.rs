//! The bytes of an account, as `settle.lua` packs them.

use tollgate::lease::account::{Account, Level, Loan, Usage as Month};
use tollgate::lease::client::ClientId;

use super::bytes::Reader;
use crate::backend::{BackendError, Usage};

/// The first byte of every account.
const VERSION: u8 = 1;

/// What is kept of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub name: Option<Vec<u8>>,
    pub tier: String,
    pub monthly: Option<u64>,
    pub account: Account,
}

impl Stored {
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BackendError> {
        Self::read(bytes)
            .ok_or_else(|| BackendError::Corrupt("an account is damaged, or of a newer version".into()))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.byte()? != VERSION {
            return None;
        }
        let has = reader.byte()?;
        let mut account = Account { at: reader.long()?, ..Account::default() };
        let (description, name) = (reader.short()?, reader.short()?);
        let (loans, months) = (reader.short()?, reader.byte()?);
        for index in 0..usize::from(has % 16) {
            let level =
                Level { work: reader.long()?, weight: reader.int()?.into(), drain: reader.int()?.into() };
            *account.levels.get_mut(index)? = level;
        }
        let mut description = Reader(reader.take(description.into())?);
        let (has_month, monthly) = (description.byte()? != 0, description.long()?);
        let tier = String::from_utf8(description.0.to_vec()).ok()?;
        let name = reader.take(name.into())?.to_vec();
        for _ in 0..loans {
            account.loans.push(Loan {
                node: reader.long()?,
                epoch: reader.long()?,
                seq: reader.int()?,
                spent: reader.long()?,
                out: reader.long()?,
                lost: reader.long()?,
                month: reader.short()?,
                ends: reader.long()?,
            });
        }
        for _ in 0..months {
            account.usage.push(Month { month: reader.short()?, used: reader.long()? });
        }
        reader.is_empty().then_some(Self {
            name: (has & 16 != 0).then_some(name),
            tier,
            monthly: has_month.then_some(monthly),
            account,
        })
    }

    /// What `client`, whose account this is, used in `month`.
    pub fn usage(self, client: ClientId, month: u16, now: u64) -> Usage {
        Usage {
            client,
            name: self.name,
            tier: self.tier,
            monthly: self.monthly,
            used: self.account.used_at(month, now),
        }
    }
}
