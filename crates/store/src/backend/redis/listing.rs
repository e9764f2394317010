//! The usage of all consumers, a page at a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tollgate_core::units::Cost;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use redis::Value;
use tollgate_core::client::ClientId;
use tollgate_core::limit::Month;

use super::account::Stored;
use super::key::{Keys, SHARDS, shard_of};
use super::script::{Call, Script};
use super::servers::{Command, Servers};
use crate::backend::{BackendError, DayRow, Days, DaysUsed, Usage, clock};

/// About how many clients are read at once.
const PAGE: usize = 256;

/// The most keys that are read at once. Redis does nothing else meanwhile.
const KEYS: usize = 512;

/// A client's days, by month.
type Rows = HashMap<Month, DayRow>;

/// What is listed of each client.
pub(super) trait Listed: Copy + Send + 'static {
    type Item: Send;

    /// The months whose days are needed.
    fn months(&self) -> Vec<Month>;

    /// What is listed of `client`, if anything: `stored` is its account, and `rows` are its days.
    fn item(&self, client: ClientId, stored: Stored, rows: &Rows) -> Option<Self::Item>;
}

/// What was used in a month.
#[derive(Clone, Copy)]
pub(super) struct OfMonth(pub u16);

impl Listed for OfMonth {
    type Item = Usage;

    fn months(&self) -> Vec<Month> {
        Vec::new()
    }

    fn item(&self, client: ClientId, stored: Stored, _: &Rows) -> Option<Usage> {
        let usage = stored.usage(client, self.0, clock::now());
        (usage.name.is_some() && usage.used > Cost(0)).then_some(usage)
    }
}

impl Listed for Days {
    type Item = DaysUsed;

    fn months(&self) -> Vec<Month> {
        Days::months(*self).collect()
    }

    fn item(&self, client: ClientId, stored: Stored, rows: &Rows) -> Option<DaysUsed> {
        let used = stored.days_used(client, *self, clock::now(), rows);
        (used.name.is_some() && !used.days.is_empty()).then_some(used)
    }
}

/// The state of a listing. It reads one shard after the other, by SSCAN.
struct Listing<L: Listed> {
    servers: Arc<Servers>,
    clean: Arc<Script>,
    keys: Keys,
    listed: L,
    shard: u16,
    cursor: u64,
    /// The clients of this shard that were seen, because SSCAN may return one twice. This is a 256th of all names.
    seen: HashSet<String>,
    ready: VecDeque<L::Item>,
}

/// What is listed of every consumer with a name, once each.
pub(super) fn all<L: Listed + Sync>(
    servers: Arc<Servers>,
    clean: Arc<Script>,
    keys: Keys,
    listed: L,
) -> BoxStream<'static, Result<L::Item, BackendError>>
where
    L::Item: 'static,
{
    let (seen, ready) = (HashSet::new(), VecDeque::new());
    let listing = Listing { servers, clean, keys, listed, shard: 0, cursor: 0, seen, ready };
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

impl<L: Listed> Listing<L> {
    async fn turn_page(&mut self) -> Result<(), BackendError> {
        let names = self.keys.names(self.shard);
        let mut scan = redis::cmd("SSCAN");
        scan.arg(&names).arg(self.cursor).arg("COUNT").arg(PAGE);
        let page = self.servers.ask(Command::new(&names, scan)).await?;
        let (cursor, members): (u64, Vec<String>) = redis::from_redis_value(page).map_err(unreadable)?;
        let members: Vec<String> =
            members.into_iter().filter(|member| self.seen.insert(member.clone())).collect();
        let months = self.listed.months();
        // A small set comes whole, whatever page size was asked for.
        let at_once = KEYS.checked_div(months.len().saturating_add(1)).unwrap_or(1).clamp(1, PAGE);
        for members in members.chunks(at_once) {
            self.read(members, &months).await?;
        }
        self.cursor = cursor;
        if cursor == 0 {
            self.shard = self.shard.saturating_add(1);
            self.seen.clear();
        }
        Ok(())
    }

    /// Reads accounts and their days by one command, so that no day moves from one to the other meanwhile.
    async fn read(&mut self, members: &[String], months: &[Month]) -> Result<(), BackendError> {
        let shard = self.shard;
        let is_here = |client: &ClientId| shard_of(*client) == shard;
        let client = |member: &String| client(member).filter(is_here).ok_or_else(|| unreadable(member));
        let clients: Vec<ClientId> = members.iter().map(client).collect::<Result<_, _>>()?;
        let of = |client: &ClientId| account_and_days(&self.keys, *client, months);
        let keys: Vec<String> = clients.iter().flat_map(of).collect();
        let values = read(&self.servers, &keys).await?;
        let per_client = months.len().saturating_add(1);
        for ((member, client), values) in members.iter().zip(clients).zip(values.chunks(per_client)) {
            match stored(values, months)? {
                Some((account, rows)) => self.ready.extend(self.listed.item(client, account, &rows)),
                // The account has expired, so the name goes, too.
                None => {
                    let keys = vec![self.keys.names(self.shard), self.keys.account(client)];
                    let call = Call { keys, arguments: vec![member.clone().into_bytes()] };
                    self.clean.call(&self.servers, call).await?;
                }
            }
        }
        Ok(())
    }
}

/// What `client` used on each of `days`.
pub(super) async fn days_used(
    servers: &Servers,
    keys: &Keys,
    client: ClientId,
    days: Days,
) -> Result<Option<DaysUsed>, BackendError> {
    let months: Vec<Month> = days.months().collect();
    let values = read(servers, &account_and_days(keys, client, &months)).await?;
    let found = stored(&values, &months)?;
    Ok(found.map(|(account, rows)| account.days_used(client, days, clock::now(), &rows)))
}

fn account_and_days(keys: &Keys, client: ClientId, months: &[Month]) -> Vec<String> {
    std::iter::once(keys.account(client))
        .chain(months.iter().map(|month| keys.days(client, *month)))
        .collect()
}

async fn read(servers: &Servers, keys: &[String]) -> Result<Vec<Value>, BackendError> {
    let Some(first) = keys.first() else { return Ok(Vec::new()) };
    let mut get = redis::cmd("MGET");
    get.arg(keys);
    redis::from_redis_value(servers.ask(Command::new(first, get)).await?).map_err(unreadable)
}

/// An account and its days, of the values of [`account_and_days`]; `None` if there is no account.
fn stored(values: &[Value], months: &[Month]) -> Result<Option<(Stored, Rows)>, BackendError> {
    let Some((Value::BulkString(account), rows)) = values.split_first() else { return Ok(None) };
    let rows = months.iter().zip(rows).filter_map(|(month, row)| match row {
        Value::BulkString(bytes) => Some((*month, DayRow(bytes.clone()))),
        _ => None,
    });
    Ok(Some((Stored::from_bytes(account)?, rows.collect())))
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
