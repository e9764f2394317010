//! What the file keeps of one client.

use crate::accounts::Account;
use serde::{Deserialize, Serialize};
use tollgate_core::client::ClientId;
use tollgate_core::units::{Cost, UnixMicros};

use crate::backend::{AccountEntry, BackendError, CONSUMER_KEPT, Usage};

/// The first byte of every row.
const VERSION: u8 = 2;

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
            Some((&VERSION, body)) => match postcard::take_from_bytes(body) {
                Ok((row, [])) => Ok(row),
                _ => Err(BackendError::Corrupt("an account is damaged".into())),
            },
            Some((version, _)) => Err(BackendError::Corrupt(format!(
                "an account is of version {version}, this store writes version {VERSION}"
            ))),
            None => Err(BackendError::Corrupt("an account is empty".into())),
        }
    }
}
