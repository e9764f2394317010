//! Accounts in Redis or Valkey: one server, a master that Sentinels name, or a cluster.
//!
//! The arithmetic of an account is a Lua script on the server. Tests against a real server prove that it is equal to
//! [`Account`](crate::accounts::Account). A call has many clients, and a batch takes one round trip. Time is the
//! server's. `docs/redis-keys.md` lists the keys.
//!
//! | module | what it is |
//! | --- | --- |
//! | `target` | the URL |
//! | `connector` | making a connection |
//! | `connection` | a connection that reconnects by itself |
//! | `cluster` | which node has which slots |
//! | `servers` | the servers, and which of them a command is for |
//! | `fault` | why a connection or a command has failed |
//! | `key` | the names of the keys |
//! | `script` | Lua scripts |
//! | `lua` | the constants that the scripts share with this code |
//! | `apply` | a batch as calls of the script, and its answers |
//! | `account` | the bytes of an account |
//! | `reserve` | reservations as calls of their script, and its answers |
//! | `listing` | the usage of all consumers, by month or by day |
//! | `snapshot` | overrides, resets, audit log |
//! | `customers` | who pays for which consumer |
//! | `fuzzing` | what the fuzz targets use |

mod account;
mod apply;
mod bytes;
mod cluster;
mod connection;
mod connector;
mod customers;
#[cfg(test)]
mod equal_tests;
mod fault;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod key;
mod listing;
mod lua;
mod reserve;
mod script;
mod servers;
mod snapshot;
mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tollgate_core::units::UnixMicros;

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use redis::Value;
use tollgate_core::client::ClientId;
use tollgate_core::wire::Answer;

use super::clock;
use super::{
    AccountEntry, AccountStore, AppliedBatch, Backend, BackendError, Changed, DayStore, Days, DaysUsed, Mark,
    NamespaceSnapshot, NamespaceStore, OverrideChange, Usage, probe,
};
use crate::locks;
use account::Stored;
use key::Keys;
use script::Script;
use servers::{Command, Servers};
use snapshot::Scripts;
use target::Target;
pub use target::UrlError;

/// How long Redis is believed to know a namespace. Somebody may have emptied it.
const NAMESPACE_BELIEVED: Duration = Duration::from_secs(60);

/// Accounts in Redis.
pub struct Redis {
    servers: Arc<Servers>,
    apply: Script,
    reserve: Script,
    clean: Arc<Script>,
    snapshot: Scripts,
    customers: customers::Scripts,
    namespaces: Mutex<HashMap<String, Instant>>,
}

impl Redis {
    /// Connects to the Redis that `url` names. It is no error if Redis is away now; the store then keeps trying.
    ///
    /// # Errors
    /// The URL is wrong, or names a file that cannot be read.
    pub async fn open(url: &str) -> Result<Self, UrlError> {
        Ok(Self {
            servers: Arc::new(Servers::start(&Target::parse(url)?).await?),
            apply: apply::script(),
            reserve: reserve::script(),
            clean: Arc::new(Script::new(include_str!("../../scripts/clean.lua"))),
            snapshot: Scripts::new(),
            customers: customers::Scripts::new(),
            namespaces: Mutex::default(),
        })
    }

    fn list<L: listing::Listed + Sync>(
        &self,
        namespace: &str,
        listed: L,
    ) -> BoxStream<'static, Result<L::Item, BackendError>>
    where
        L::Item: 'static,
    {
        listing::all(Arc::clone(&self.servers), Arc::clone(&self.clean), Keys::new(namespace), listed)
    }

    /// Adds `namespace` to the set of all namespaces.
    async fn register(&self, namespace: &str) {
        let known = || locks::lock(&self.namespaces);
        if known().get(namespace).is_some_and(|since| since.elapsed() < NAMESPACE_BELIEVED) {
            return;
        }
        let mut add = redis::cmd("SADD");
        add.arg(key::NAMESPACES).arg(namespace);
        // If this fails, the next batch tries again. This batch may still reach its clients.
        match self.servers.ask(Command::new(key::NAMESPACES, add)).await {
            Ok(_) => drop(known().insert(namespace.to_owned(), Instant::now())),
            Err(error) => tracing::debug!("namespace {namespace} is not listed yet: {error}"),
        }
    }
}

#[async_trait]
impl Backend for Redis {
    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn now(&self) -> Result<UnixMicros, BackendError> {
        time(&self.servers).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        let keys = &Keys::new(probe::NAMESPACE);
        let parts =
            self.servers.parts((0..key::SHARDS).map(|shard| (key::slot_of(&keys.names(shard)), shard)));
        let probed = parts.into_iter().map(|(part, shard)| async move {
            let entry = [probe::charge(key::client_of(shard))];
            let applied = apply::apply(&self.servers, &self.apply, keys, &entry, None).await;
            let failed = match applied {
                Ok(batch) if batch.answers.contains(&Answer::Failed) => {
                    BackendError::Corrupt("its account cannot be read".into())
                }
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match (part, failed) {
                (Some(part), BackendError::Away(why)) => Err(BackendError::Away(format!("{part}: {why}"))),
                (_, error) => Err(error),
            }
        });
        join_all(probed).await.into_iter().collect()
    }
}

#[async_trait]
impl AccountStore for Redis {
    async fn apply(&self, namespace: &str, entries: Vec<AccountEntry>) -> Result<AppliedBatch, BackendError> {
        self.register(namespace).await;
        apply::apply(&self.servers, &self.apply, &Keys::new(namespace), &entries, None).await
    }

    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError> {
        let key = Keys::new(namespace).account(client);
        let mut get = redis::cmd("GET");
        get.arg(&key);
        match self.servers.ask(Command::new(&key, get)).await? {
            Value::BulkString(bytes) => {
                Ok(Some(Stored::from_bytes(&bytes)?.usage(client, month, clock::now())))
            }
            _ => Ok(None),
        }
    }

    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>> {
        self.list(namespace, listing::OfMonth(month))
    }
}

#[async_trait]
impl DayStore for Redis {
    async fn days_used(
        &self,
        namespace: &str,
        client: ClientId,
        days: Days,
    ) -> Result<Option<DaysUsed>, BackendError> {
        listing::days_used(&self.servers, &Keys::new(namespace), client, days).await
    }

    fn all_days_used(
        &self,
        namespace: &str,
        days: Days,
    ) -> BoxStream<'static, Result<DaysUsed, BackendError>> {
        self.list(namespace, days)
    }
}

#[async_trait]
impl NamespaceStore for Redis {
    async fn reset(
        &self,
        namespace: &str,
        client: ClientId,
        bucket: bool,
        month: bool,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError> {
        let keys = Keys::new(namespace);
        // The account is reset first, so that a node which learns of the reset finds it done.
        apply::reset(&self.servers, &self.apply, &keys, client, (bucket, month), None).await?;
        self.snapshot.reset(&self.servers, &keys, client, audit).await
    }

    async fn change_override(
        &self,
        namespace: &str,
        consumer: &str,
        change: OverrideChange,
    ) -> Result<Changed, BackendError> {
        self.snapshot.change_override(&self.servers, &Keys::new(namespace), consumer, change).await
    }

    async fn revision(&self, namespace: &str) -> Result<u64, BackendError> {
        snapshot::revision(&self.servers, &Keys::new(namespace)).await
    }

    async fn snapshot(&self, namespace: &str, after: Mark) -> Result<NamespaceSnapshot, BackendError> {
        self.snapshot.read(&self.servers, &Keys::new(namespace), after).await
    }

    async fn audit(
        &self,
        namespace: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        self.snapshot.audit(&self.servers, &Keys::new(namespace), before, limit).await
    }

    async fn document(&self, namespace: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let key = Keys::new(namespace).document();
        let mut get = redis::cmd("GET");
        get.arg(&key);
        match self.servers.ask(Command::new(&key, get)).await? {
            Value::BulkString(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    async fn put_document(&self, namespace: &str, document: Vec<u8>) -> Result<(), BackendError> {
        let key = Keys::new(namespace).document();
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(document);
        self.servers.ask(Command::new(&key, set)).await?;
        Ok(())
    }

    async fn namespaces(&self) -> Result<Vec<String>, BackendError> {
        let mut members = redis::cmd("SMEMBERS");
        members.arg(key::NAMESPACES);
        let names = self.servers.ask(Command::new(key::NAMESPACES, members)).await?;
        redis::from_redis_value(names).map_err(|error| BackendError::Corrupt(error.to_string()))
    }
}

/// The server's clock.
async fn time(servers: &Servers) -> Result<UnixMicros, BackendError> {
    let (seconds, micros): (u64, u64) = redis::from_redis_value(servers.time().await?)
        .map_err(|error| BackendError::Corrupt(format!("the time cannot be read: {error}")))?;
    Ok(UnixMicros(seconds.saturating_mul(1_000_000).saturating_add(micros)))
}
