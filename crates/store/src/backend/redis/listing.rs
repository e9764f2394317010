//! The usage of all consumers, a page at a time.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use tollgate_core::units::Cost;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use redis::Value;
use tollgate_core::client::ClientId;

use super::account::Stored;
use super::key::{Keys, SHARDS};
use super::script::{Call, Script};
use super::servers::{Command, Servers};
use crate::backend::{BackendError, Usage, clock};

/// About how many clients are read at once.
const PAGE: usize = 256;

/// The state of a listing. It reads one shard after the other, by SSCAN.
struct Listing {
    servers: Arc<Servers>,
    clean: Arc<Script>,
    keys: Keys,
    month: u16,
    shard: u16,
    cursor: u64,
    /// The clients of this shard that were seen, because SSCAN may return one twice. This is a 256th of all names.
    seen: HashSet<String>,
    ready: VecDeque<Usage>,
}

/// Every consumer with a name that used something in `month`, once each.
pub(super) fn usages(
    servers: Arc<Servers>,
    clean: Arc<Script>,
    keys: Keys,
    month: u16,
) -> BoxStream<'static, Result<Usage, BackendError>> {
    let (seen, ready) = (HashSet::new(), VecDeque::new());
    let listing = Listing { servers, clean, keys, month, shard: 0, cursor: 0, seen, ready };
    stream::try_unfold(listing, |mut listing| async move {
        loop {
            if let Some(usage) = listing.ready.pop_front() {
                return Ok(Some((usage, listing)));
            }
            if listing.shard >= SHARDS {
                return Ok(None);
            }
            listing.turn_page().await?;
        }
    })
    .boxed()
}

impl Listing {
    async fn turn_page(&mut self) -> Result<(), BackendError> {
        let names = self.keys.names(self.shard);
        let mut scan = redis::cmd("SSCAN");
        scan.arg(&names).arg(self.cursor).arg("COUNT").arg(PAGE);
        let page = self.servers.ask(Command::new(&names, scan)).await?;
        let (cursor, members): (u64, Vec<String>) = redis::from_redis_value(page).map_err(unreadable)?;
        let members: Vec<String> =
            members.into_iter().filter(|member| self.seen.insert(member.clone())).collect();
        // A small set comes whole, whatever page size was asked for.
        for members in members.chunks(PAGE) {
            self.read(members).await?;
        }
        self.cursor = cursor;
        if cursor == 0 {
            self.shard = self.shard.saturating_add(1);
            self.seen.clear();
        }
        Ok(())
    }

    async fn read(&mut self, members: &[String]) -> Result<(), BackendError> {
        let keys: Vec<String> =
            members.iter().map(|member| self.keys.account_of(self.shard, member)).collect();
        let Some(first) = keys.first() else { return Ok(()) };
        let mut get = redis::cmd("MGET");
        get.arg(&keys);
        let values = self.servers.ask(Command::new(first, get)).await?;
        let values: Vec<Value> = redis::from_redis_value(values).map_err(unreadable)?;
        for ((member, key), value) in members.iter().zip(&keys).zip(values) {
            match value {
                Value::BulkString(bytes) => {
                    let client = client(member).ok_or_else(|| unreadable(member))?;
                    let usage = Stored::from_bytes(&bytes)?.usage(client, self.month, clock::now());
                    if usage.name.is_some() && usage.used > Cost(0) {
                        self.ready.push_back(usage);
                    }
                }
                // The account has expired, so the name goes, too.
                _ => {
                    let keys = vec![self.keys.names(self.shard), key.clone()];
                    let call = Call { keys, arguments: vec![member.clone().into_bytes()] };
                    self.clean.call(&self.servers, call).await?;
                }
            }
        }
        Ok(())
    }
}

/// The client that `member` names: its identifier in 32 lower-case hexadecimal digits.
pub(super) fn client(member: &str) -> Option<ClientId> {
    let client = ClientId(u128::from_str_radix(member, 16).ok()?.to_be_bytes());
    // A sign or capitals would give a client two members, and its usage would be listed twice.
    (client.to_string() == member).then_some(client)
}

fn unreadable(what: impl std::fmt::Display) -> BackendError {
    BackendError::Corrupt(format!("a list of names cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_one_member_and_other_spellings_are_none() {
        let id = ClientId([0xAB; 16]);
        assert_eq!(client(&id.to_string()), Some(id));
        for other in ["", "ab", &"AB".repeat(16), &format!("+{}", "a".repeat(31)), &"g".repeat(32)] {
            assert_eq!(client(other), None, "{other}");
        }
    }
}
