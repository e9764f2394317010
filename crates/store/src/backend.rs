//! Where accounts are kept: one trait, and what it is made of.
//!
//! A backend keeps four things a namespace: the clients' [accounts](crate::accounts::Account) with their names,
//! the overrides (opaque here), an audit log (opaque lines), and one small document of the application's. Time is the
//! backend's: all replicas of the store that share it agree on it.

pub mod health;
pub mod instrumented;
pub mod memory;
pub mod open;
mod probe;
pub mod redb;
pub mod redis;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::sync::Arc;
use tollgate_core::client::ClientId;
use tollgate_core::terms::Terms;
use tollgate_core::units::{Cost, UnixMicros};
use tollgate_core::wire::{Answer, Ask};

/// One client's entry of a batch, ready to settle.
#[derive(Clone, Debug)]
pub struct Settle {
    /// Who.
    pub client: ClientId,
    /// Its name, where the gateway has told it. Whoever has a name appears in [`Backend::usages`].
    pub name: Option<Vec<u8>>,
    /// Anonymous clients' accounts are forgotten once their buckets are full again; they have no usage.
    pub is_anonymous: bool,
    /// The name of the tier that `terms` are of; kept with the account, for billing.
    pub tier: Arc<str>,
    /// What it may have.
    pub terms: Arc<Terms>,
    /// Which node asks; unused by a charge.
    pub node: u64,
    /// What is to be done.
    pub ask: Ask,
}

/// What a batch came to.
#[derive(Clone, Debug)]
pub struct SettledBatch {
    /// The backend's clock, microseconds since the Unix epoch.
    pub now: UnixMicros,
    /// One an entry, in their order. A client whose part of the backend is away has [`Answer::Failed`].
    pub answers: Vec<Answer>,
}

/// What one consumer used in one month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Who.
    pub client: ClientId,
    /// Its name; none when no gateway has told it yet.
    pub name: Option<Vec<u8>>,
    /// The tier that it was last seen in.
    pub tier: String,
    /// The month's quota of that tier, thousandths of a unit; none: unlimited.
    pub monthly: Option<Cost>,
    /// Thousandths of a unit.
    pub used: Cost,
}

/// One consumer's override as it stands since a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideRow {
    /// The revision that made it so.
    pub revision: u64,
    /// Whose.
    pub consumer: String,
    /// What the application wrote; none: removed. Removed ones are kept as long as the log is short.
    pub value: Option<Vec<u8>>,
}

/// All that a namespace's nodes have to know at once, or what of it has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceSnapshot {
    /// Counts up with every change of an override and every reset.
    pub revision: u64,
    /// When the newest change was made, as far as that is still known.
    pub at: u64,
    /// The revision that this starts from: what changed after it is here, and nothing else. 0: this is all there is.
    pub after: u64,
    /// Every override, and those removed since [`Self::since`]; or those that have changed.
    pub overrides: Vec<OverrideRow>,
    /// Who was reset, and the revision of it, since [`Self::since`]; or those of the resets that are new.
    pub resets: Vec<(u64, ClientId)>,
    /// Removals and resets of this revision and before are forgotten.
    pub since: u64,
}

/// The newest change that somebody knows of. A backend that has lost writes counts on from an older number, and may reach
/// the same one by another change; by the time those two can be told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its revision; 0: none is known.
    pub revision: u64,
    /// When it was made, by the backend's clock, microseconds since the Unix epoch.
    pub at: u64,
}

/// How many removals and resets a [`NamespaceSnapshot`] remembers at the least.
pub const BULLETIN_REMEMBERS: usize = 256;

/// How many of the newest changes are remembered one by one. Whoever has missed more reads everything anew.
pub const CHANGES_REMEMBERED: u64 = 1_024;

/// Lines of a namespace's audit log that are kept.
pub const AUDIT_KEPT: u64 = 10_000;

/// A change of one consumer's override, made in one step with its conditions, its revision and its line of the log.
#[derive(Clone, Debug, Default)]
pub struct OverrideChange {
    /// What the application writes; none: the override is removed.
    pub value: Option<Vec<u8>>,
    /// The line for the log.
    pub line: Vec<u8>,
    /// Where in the line the override that this one replaces is written, as the application wrote it then; `null` where
    /// there was none.
    pub before_at: Option<usize>,
    /// What has to hold.
    pub condition: Condition,
    /// How many overrides the namespace may have; a new one beyond is not made.
    pub most: u64,
}

/// What has to hold for an override to be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// The consumer has an override.
    IsSet,
    /// The consumer has the override that this revision made.
    IsOf(u64),
}

/// What a change of an override came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is made; this is the new revision.
    To(u64),
    /// Its condition did not hold: nothing has happened.
    NotMet,
    /// The namespace has as many overrides as it may have: nothing has happened.
    Full,
}

impl OverrideChange {
    /// Whether it may be made where the consumer's override is `current`, its revision and its value, in a namespace of
    /// `count` overrides.
    fn refused(&self, current: Option<u64>, count: impl FnOnce() -> u64) -> Option<Changed> {
        let is_met = match self.condition {
            Condition::None => true,
            Condition::IsSet => current.is_some(),
            Condition::IsOf(revision) => current == Some(revision),
        };
        if !is_met {
            return Some(Changed::NotMet);
        }
        let is_new = self.value.is_some() && current.is_none();
        (is_new && count() >= self.most).then_some(Changed::Full)
    }

    /// The line, with what was there before.
    fn line_with(&self, before: Option<&[u8]>) -> Vec<u8> {
        match self.before_at.and_then(|at| self.line.split_at_checked(at)) {
            Some((head, tail)) => [head, before.unwrap_or(b"null"), tail].concat(),
            None => self.line.clone(),
        }
    }
}

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

/// Where accounts are kept. Every method is one step that no other call, of whatever replica, can get between.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The scheme of its URL, for logs and metrics: `memory`, `redb`, `redis` …
    fn kind(&self) -> &'static str;

    /// Its clock, microseconds since the Unix epoch. That it can be read does not say that anything can be written.
    async fn now(&self) -> Result<UnixMicros, BackendError>;

    /// Writes what a charge writes, in every part of it that clients' accounts are in. Whether it takes writes now is
    /// what comes back, and if not, why, and which part.
    async fn probe(&self) -> Result<(), BackendError>;

    /// Settles a batch: one step an entry, by [`Account::settle`](crate::accounts::Account::settle) or
    /// [`Account::charge`](crate::accounts::Account::charge). What it has answered is durable, as far as the
    /// backend is.
    async fn settle(&self, namespace: &str, entries: Vec<Settle>) -> Result<SettledBatch, BackendError>;

    /// What `client` used in `month`; none where it was never seen.
    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError>;

    /// Every consumer with a name that used something in `month`, in no particular order, each once, in constant memory.
    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>>;

    /// Makes `client`'s bucket full, or its running month untouched, or both; adds the line `audit` to the log. What
    /// comes back is the new revision.
    async fn reset(
        &self,
        namespace: &str,
        client: ClientId,
        bucket: bool,
        month: bool,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError>;

    /// Sets a consumer's override, or removes it, if that may be: the condition, the count, the change, its revision and
    /// its line are one step.
    async fn change_override(
        &self,
        namespace: &str,
        consumer: &str,
        change: OverrideChange,
    ) -> Result<Changed, BackendError>;

    /// The namespace's revision alone: cheap, asked for several times a second.
    async fn revision(&self, namespace: &str) -> Result<u64, BackendError>;

    /// What has changed after `after`, where that is still known one by one; else all overrides and recent resets.
    async fn snapshot(&self, namespace: &str, after: Mark) -> Result<NamespaceSnapshot, BackendError>;

    /// The log's lines, newest first, at most `limit`, those with a number below `before` (none: from the newest). A
    /// line comes with its number, which counts up from 1. The newest
    /// [`AUDIT_KEPT`] lines of a namespace are kept.
    async fn audit(
        &self,
        namespace: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError>;

    /// The application's document about the namespace (which tiers its gateways know).
    async fn document(&self, namespace: &str) -> Result<Option<Vec<u8>>, BackendError>;

    /// Replaces it.
    async fn put_document(&self, namespace: &str, document: Vec<u8>) -> Result<(), BackendError>;

    /// Names of the namespaces that were ever settled in.
    async fn namespaces(&self) -> Result<Vec<String>, BackendError>;
}
