//! Overrides, resets and the audit log of a namespace.

use redis::Value;
use tollgate_core::client::ClientId;

use super::bytes::Reader;
use super::key::Keys;
use super::lua;
use super::script::{Call, Script};
use super::servers::{Command, Servers};
use crate::backend::{
    AUDIT_KEPT, BackendError, Changed, Condition, Mark, NamespaceSnapshot, OverrideChange, OverrideRow,
};

type Bytes = Vec<u8>;

/// The scripts.
pub(super) struct Scripts {
    change: Script,
    read: Script,
    audit: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            change: Script::new(lua::of_namespaces(include_str!("../../../scripts/change.lua"))),
            read: Script::new(lua::of_namespaces(include_str!("../../../scripts/snapshot.lua"))),
            audit: Script::new(include_str!("../../../scripts/audit.lua")),
        }
    }

    /// Records that `client` was reset.
    pub async fn reset(
        &self,
        servers: &Servers,
        keys: &Keys,
        client: ClientId,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError> {
        let change = OverrideChange { line: audit, ..OverrideChange::default() };
        match self.record(servers, keys, "reset", client.0.to_vec(), change).await? {
            Changed::To(revision) => Ok(revision),
            Changed::NotMet | Changed::Full => Err(unreadable("a reset's answer")),
        }
    }

    /// Sets or removes an override if that is allowed.
    pub async fn change_override(
        &self,
        servers: &Servers,
        keys: &Keys,
        consumer: &str,
        change: OverrideChange,
    ) -> Result<Changed, BackendError> {
        let what = if change.value.is_some() { "set" } else { "removed" };
        self.record(servers, keys, what, consumer.as_bytes().to_vec(), change).await
    }

    async fn record(
        &self,
        servers: &Servers,
        keys: &Keys,
        what: &str,
        whom: Vec<u8>,
        change: OverrideChange,
    ) -> Result<Changed, BackendError> {
        let number = |number: u64| number.to_string().into_bytes();
        let call = Call {
            keys: vec![keys.counters(), keys.notices(), keys.overrides(), keys.audit(), keys.changes()],
            arguments: vec![
                what.into(),
                whom,
                change.value.unwrap_or_default(),
                change.line,
                change.before_at.map_or_else(Vec::new, |at| at.to_string().into_bytes()),
                match change.condition {
                    Condition::None => Vec::new(),
                    Condition::IsSet => b"set".to_vec(),
                    Condition::IsOf(revision) => number(revision),
                },
                number(change.most),
            ],
        };
        let answer: i64 =
            redis::from_redis_value(self.change.call(servers, call).await?).map_err(unreadable)?;
        match u64::try_from(answer) {
            Ok(0) => Ok(Changed::NotMet),
            Ok(revision) => Ok(Changed::To(revision)),
            Err(_) => Ok(Changed::Full),
        }
    }

    /// What has changed after `after`, or all overrides and recent resets.
    pub async fn read(
        &self,
        servers: &Servers,
        keys: &Keys,
        after: Mark,
    ) -> Result<NamespaceSnapshot, BackendError> {
        let arguments = [after.revision, after.at].map(|number| number.to_string().into_bytes());
        let keys = vec![keys.counters(), keys.notices(), keys.overrides(), keys.changes()];
        read_snapshot(self.read.call(servers, Call { keys, arguments: arguments.into() }).await?)
    }

    /// Lines of the log, newest first.
    pub async fn audit(
        &self,
        servers: &Servers,
        keys: &Keys,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        let before = before.map_or_else(Vec::new, |before| before.min(1 << 52).to_string().into_bytes());
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).min(AUDIT_KEPT).to_string().into_bytes();
        let call = Call { keys: vec![keys.counters(), keys.audit()], arguments: vec![before, limit] };
        read_lines(self.audit.call(servers, call).await?)
    }
}

/// Reads what `snapshot.lua` returns.
pub(super) fn read_snapshot(answer: Value) -> Result<NamespaceSnapshot, BackendError> {
    type Parts = (u64, u64, u64, u64, Vec<Bytes>, Vec<(Bytes, Bytes)>);
    let parts: Parts = redis::from_redis_value(answer).map_err(unreadable)?;
    let (revision, at, since, after, notices, overrides) = parts;
    let overrides = overrides.into_iter().map(|(consumer, row)| read_override(consumer, &row));
    let resets = notices.iter().filter_map(|bytes| read_reset(bytes).transpose());
    Ok(NamespaceSnapshot {
        revision,
        at,
        after,
        overrides: overrides.collect::<Option<_>>().ok_or_else(|| unreadable("an override"))?,
        resets: resets.collect::<Result<_, _>>()?,
        since,
    })
}

/// Reads what `audit.lua` returns.
pub(super) fn read_lines(answer: Value) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
    let (newest, lines): (u64, Vec<Vec<u8>>) = redis::from_redis_value(answer).map_err(unreadable)?;
    Ok((0..=newest).rev().zip(lines).collect())
}

/// The revision alone.
pub(super) async fn revision(servers: &Servers, keys: &Keys) -> Result<u64, BackendError> {
    let mut get = redis::cmd("HGET");
    get.arg(keys.counters()).arg("revision");
    let answer = servers.ask(Command::new(&keys.counters(), get)).await?;
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

/// Reads a reset, or `None` if the row is something else.
fn read_reset(bytes: &[u8]) -> Result<Option<(u64, ClientId)>, BackendError> {
    let mut reader = Reader(bytes);
    let (Some(revision), Some(what)) = (reader.long(), reader.byte()) else {
        return Err(unreadable("a reset or removal"));
    };
    if char::from(what) != lua::change::RESET {
        return Ok(None);
    }
    let client = reader.0.try_into().map_err(|_| unreadable("a reset"))?;
    Ok(Some((revision, ClientId(client))))
}

fn unreadable(what: impl std::fmt::Display) -> BackendError {
    BackendError::Corrupt(format!("a namespace's overrides or log cannot be read: {what}"))
}
