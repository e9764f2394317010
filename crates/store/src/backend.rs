//! Where accounts are kept: one trait, and what it is made of.
//!
//! A backend keeps four things a namespace: the clients' [accounts](crate::accounts::Account) with their names,
//! the overrides (opaque here), an audit log (opaque lines), and one small document of the application's. Time is the
//! backend's: all replicas of the store that share it agree on it.

mod account_store;
pub mod clock;
pub mod health;
pub mod instrumented;
pub mod memory;
mod namespace_store;
pub mod open;
mod probe;
pub mod redb;
pub mod redis;

use async_trait::async_trait;
use tollgate_core::units::UnixMicros;

pub use self::account_store::{AccountEntry, AccountStore, AppliedBatch, CONSUMER_KEPT, Usage};
pub use self::namespace_store::{
    AUDIT_KEPT, CHANGES_REMEMBERED, Changed, Condition, Mark, NOTICES_REMEMBERED, NamespaceSnapshot,
    NamespaceStore, OverrideChange, OverrideRow,
};

/// Why a backend did not answer.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It cannot be reached, or not in time; trying again later may help.
    #[error("the backend is away: {0}")]
    Away(String),
    /// It answered something that cannot be.
    #[error("the backend holds what cannot be read: {0}")]
    Corrupt(String),
}

/// All that the store needs of a backend. Every method of it and of its parts is one step: no other call, of whatever
/// replica, comes between.
#[async_trait]
pub trait Backend: AccountStore + NamespaceStore {
    /// The scheme of its URL, for logs and metrics: `memory`, `redb`, `redis` …
    fn kind(&self) -> &'static str;

    /// Its clock, microseconds since the Unix epoch. That it can be read does not say that anything can be written.
    async fn now(&self) -> Result<UnixMicros, BackendError>;

    /// Writes what a charge writes, in every part of it that clients' accounts are in. Whether it takes writes now is
    /// what comes back, and if not, why, and which part.
    async fn probe(&self) -> Result<(), BackendError>;
}
