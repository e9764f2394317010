//! Overrides, resets and the audit log of a namespace.

use redis::Value;
use tollgate::lease::client::ClientId;

use super::bytes::Reader;
use super::fleet::{Fleet, Order};
use super::key::Keys;
use super::script::{Call, Script};
use crate::backend::{BULLETIN_REMEMBERS, BackendError, Bulletin, OverrideRow};

/// Lines of the log that are kept.
const AUDIT_KEPT: usize = 10_000;

type Bytes = Vec<u8>;

/// What is told.
pub(super) enum News<'a> {
    /// This consumer's override, as the application wrote it.
    Set(&'a str, &'a [u8]),
    /// This consumer has no override any more.
    Removed(&'a str),
    /// This client was reset.
    Reset(ClientId),
}

/// The scripts.
pub(super) struct Scripts {
    tell: Script,
    read: Script,
    audit: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            tell: Script::new(include_str!("../../../scripts/tell.lua")),
            read: Script::new(include_str!("../../../scripts/bulletin.lua")),
            audit: Script::new(include_str!("../../../scripts/audit.lua")),
        }
    }

    /// Counts the revision up, remembers `news` and writes the line.
    pub async fn tell(
        &self,
        fleet: &Fleet,
        keys: &Keys,
        news: News<'_>,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError> {
        let (what, whom, value) = match news {
            News::Set(consumer, value) => ("set", consumer.as_bytes().to_vec(), value),
            News::Removed(consumer) => ("removed", consumer.as_bytes().to_vec(), &[][..]),
            News::Reset(client) => ("reset", client.0.to_vec(), &[][..]),
        };
        let call = Call {
            keys: vec![keys.counters(), keys.news(), keys.overrides(), keys.audit()],
            arguments: vec![
                what.into(),
                whom,
                value.to_vec(),
                audit,
                BULLETIN_REMEMBERS.to_string().into_bytes(),
                AUDIT_KEPT.to_string().into_bytes(),
            ],
        };
        redis::from_redis_value(self.tell.call(fleet, call).await?).map_err(unreadable)
    }

    /// All overrides and recent resets.
    pub async fn read(&self, fleet: &Fleet, keys: &Keys) -> Result<Bulletin, BackendError> {
        let keys = vec![keys.counters(), keys.news(), keys.overrides()];
        read_bulletin(self.read.call(fleet, Call { keys, arguments: vec![] }).await?)
    }

    /// The log's lines.
    pub async fn audit(
        &self,
        fleet: &Fleet,
        keys: &Keys,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        let before = before.map_or_else(Vec::new, |before| before.min(1 << 52).to_string().into_bytes());
        let limit = limit.min(AUDIT_KEPT).to_string().into_bytes();
        let call = Call { keys: vec![keys.counters(), keys.audit()], arguments: vec![before, limit] };
        read_lines(self.audit.call(fleet, call).await?)
    }
}

/// What `bulletin.lua` returns.
pub(super) fn read_bulletin(answer: Value) -> Result<Bulletin, BackendError> {
    let (revision, since, news, overrides): (u64, u64, Vec<Bytes>, Vec<(Bytes, Bytes)>) =
        redis::from_redis_value(answer).map_err(unreadable)?;
    let overrides = overrides.into_iter().map(|(consumer, row)| read_override(consumer, &row));
    let resets = news.iter().filter_map(|bytes| read_reset(bytes).transpose());
    Ok(Bulletin {
        revision,
        overrides: overrides.collect::<Option<_>>().ok_or_else(|| unreadable("an override"))?,
        resets: resets.collect::<Result<_, _>>()?,
        since,
    })
}

/// What `audit.lua` returns.
pub(super) fn read_lines(answer: Value) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
    let (newest, lines): (u64, Vec<Vec<u8>>) = redis::from_redis_value(answer).map_err(unreadable)?;
    Ok((0..=newest).rev().zip(lines).collect())
}

/// The revision alone.
pub(super) async fn revision(fleet: &Fleet, keys: &Keys) -> Result<u64, BackendError> {
    let mut get = redis::cmd("HGET");
    get.arg(keys.counters()).arg("revision");
    let answer = fleet.ask(Order::new(&keys.counters(), get)).await?;
    if answer == Value::Nil {
        return Ok(0);
    }
    redis::from_redis_value(answer).map_err(unreadable)
}

fn read_override(consumer: Vec<u8>, row: &[u8]) -> Option<OverrideRow> {
    let mut reader = Reader(row);
    let (revision, is_set) = (reader.long()?, reader.byte()? != 0);
    let value = is_set.then(|| reader.0.to_vec());
    Some(OverrideRow { revision, consumer: String::from_utf8(consumer).ok()?, value })
}

/// A reset; none: it is something else.
fn read_reset(bytes: &[u8]) -> Result<Option<(u64, ClientId)>, BackendError> {
    let mut reader = Reader(bytes);
    let (Some(revision), Some(what)) = (reader.long(), reader.byte()) else {
        return Err(unreadable("a reset or removal"));
    };
    if what != b'r' {
        return Ok(None);
    }
    let client = reader.0.try_into().map_err(|_| unreadable("a reset"))?;
    Ok(Some((revision, ClientId(client))))
}

fn unreadable(what: impl std::fmt::Display) -> BackendError {
    BackendError::Corrupt(format!("a namespace's overrides or log cannot be read: {what}"))
}
