//! What the file keeps of one client.

use crate::accounts::{Account, Hold, Level, Loan, Usage as Period};
use serde::{Deserialize, Serialize};
use tollgate_core::client::ClientId;
use tollgate_core::units::{Cost, Micros, UnixMicros, Work};

use crate::backend::{AccountEntry, BackendError, CONSUMER_KEPT, Usage};

/// The first byte of every row that is written.
const VERSION: u8 = 3;

/// The first byte of rows from before requests could cost less in the end than at first.
const BEFORE_RETURNS: u8 = 2;

/// One client. The default is a client who was never seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// The client's name, once a gateway has sent it.
    name: Option<Vec<u8>>,
    /// The tier it was last seen in.
    tier: String,
    /// The quota of that tier.
    monthly: Option<Cost>,
    /// When the row can be removed.
    pub forget_at: UnixMicros,
    /// The client's account.
    pub account: Account,
}

impl Row {
    /// Keeps what `entry`, which was just applied, says about the client.
    pub fn describe(&mut self, entry: &AccountEntry) {
        if let Some(name) = &entry.name {
            self.name = Some(name.clone());
        }
        entry.tier.as_ref().clone_into(&mut self.tier);
        self.monthly = entry.terms.monthly;
        self.forget_at = if entry.is_anonymous {
            self.account.forgettable_at(&entry.terms)
        } else {
            self.account.at.after(CONSUMER_KEPT)
        };
    }

    /// Keeps what `hold`, which was just applied, says about the client called `name`.
    pub fn describe_by(&mut self, name: Vec<u8>, hold: &Hold) {
        self.name = Some(name);
        hold.tier.as_ref().clone_into(&mut self.tier);
        self.monthly = hold.terms.monthly;
        self.forget_at = self.account.at.after(CONSUMER_KEPT);
    }

    /// Whether the client's name is known.
    pub const fn has_name(&self) -> bool {
        self.name.is_some()
    }

    /// The client's name, if it is known, and the tier that it was last seen in.
    pub fn into_name_and_tier(self) -> (Option<Vec<u8>>, String) {
        (self.name, self.tier)
    }

    /// What `client`, whose row this is, used in `month`.
    pub fn usage(&self, client: ClientId, month: u16, now: UnixMicros) -> Usage {
        Usage {
            client,
            name: self.name.clone(),
            tier: self.tier.clone(),
            monthly: self.monthly,
            used: self.account.used_at(month, now),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing to a vector cannot fail. If it did, every reader would refuse the empty row.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BackendError> {
        match bytes.split_first() {
            Some((&VERSION, body)) => whole(body),
            Some((&BEFORE_RETURNS, body)) => whole::<RowBeforeReturns>(body).map(Self::from),
            Some((version, _)) => Err(BackendError::Corrupt(format!(
                "an account is of version {version}, this store writes version {VERSION}"
            ))),
            None => Err(BackendError::Corrupt("an account is empty".into())),
        }
    }
}

/// What a row's `body` says.
fn whole<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BackendError> {
    match postcard::take_from_bytes(body) {
        Ok((row, [])) => Ok(row),
        _ => Err(BackendError::Corrupt("an account is damaged".into())),
    }
}

/// A [`Row`] of version [`BEFORE_RETURNS`], part by part.
#[derive(Deserialize)]
struct RowBeforeReturns {
    name: Option<Vec<u8>>,
    tier: String,
    monthly: Option<Cost>,
    forget_at: UnixMicros,
    at: UnixMicros,
    levels: [LevelBeforeReturns; 3],
    loans: Vec<Loan>,
    usage: Vec<Period>,
}

/// A [`Level`] of that version.
#[derive(Deserialize)]
struct LevelBeforeReturns {
    work: Work,
    weight: u64,
    drain: u64,
    idle: Micros,
}

impl From<RowBeforeReturns> for Row {
    fn from(old: RowBeforeReturns) -> Self {
        let levels = old.levels.map(|LevelBeforeReturns { work, weight, drain, idle }| Level {
            work,
            weight,
            drain,
            idle,
            floor: Work(0),
        });
        let account =
            Account { at: old.at, levels, loans: old.loans, usage: old.usage, ..Account::default() };
        Self { name: old.name, tier: old.tier, monthly: old.monthly, forget_at: old.forget_at, account }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_from_before_requests_could_be_settled_is_read() {
        let level = (Work(7), 3_u64, 5_u64, Micros(0));
        let loan = Loan { node: 1, epoch: 2, seq: 3, spent: Cost(4), lent: Cost(5), ..Loan::default() };
        let usage = Period { period: 682, used: Cost(11_000) };
        let old = (
            (Some(b"acme".to_vec()), "free", Some(Cost(50_000_000)), UnixMicros(99)),
            (UnixMicros(12), [level; 3], vec![loan], vec![usage]),
        );
        let bytes = postcard::to_extend(&old, vec![BEFORE_RETURNS]).unwrap();
        let row = Row::from_bytes(&bytes).unwrap();
        let kept = Level { work: Work(7), weight: 3, drain: 5, idle: Micros(0), floor: Work(0) };
        let account = Account {
            at: UnixMicros(12),
            levels: [kept; 3],
            loans: vec![loan],
            usage: vec![usage],
            ..Account::default()
        };
        assert_eq!((row.name.as_deref(), row.forget_at), (Some(b"acme".as_slice()), UnixMicros(99)));
        assert_eq!(row.account, account);
        assert_eq!(Row::from_bytes(&row.to_bytes()).unwrap(), row);
        assert!(Row::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }
}
