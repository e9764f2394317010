//! The part of a backend that keeps what a namespace's replicas share: overrides, resets, the audit log and a document.

use async_trait::async_trait;
use tollgate_core::client::ClientId;

use super::BackendError;

/// One consumer's override, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideRow {
    /// The revision of the change.
    pub revision: u64,
    /// The consumer.
    pub consumer: String,
    /// What the application wrote, or `None` if the override was removed. Removals are kept for a while, for nodes that
    /// have missed them.
    pub value: Option<Vec<u8>>,
}

/// What nodes have to know of a namespace: all of it, or what has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceSnapshot {
    /// The newest revision. Every change of an override and every reset increments it.
    pub revision: u64,
    /// When the newest change was made, as far as that is still known.
    pub at: u64,
    /// The revision that this starts from: it has all later changes and nothing else. 0 means that it has everything.
    pub after: u64,
    /// Every override and the removals since [`Self::since`], or the overrides that have changed.
    pub overrides: Vec<OverrideRow>,
    /// The clients that were reset since [`Self::since`] and the revisions of these resets, or the new resets.
    pub resets: Vec<(u64, ClientId)>,
    /// Removals and resets up to this revision are forgotten.
    pub since: u64,
}

/// The newest change that a reader knows. A backend that has lost writes goes on with an older number, and may reach
/// the same number with another change. The time tells these two apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its revision, or 0 if none is known.
    pub revision: u64,
    /// When it was made, by the backend's clock, in microseconds since the Unix epoch.
    pub at: u64,
}

/// The least number of removals and resets that a [`NamespaceSnapshot`] has.
pub const NOTICES_REMEMBERED: usize = 256;

/// How many of the newest changes can be read one by one. A reader that has missed more reads everything.
pub const CHANGES_REMEMBERED: u64 = 1_024;

/// How many lines of a namespace's audit log are kept.
pub const AUDIT_KEPT: u64 = 10_000;

/// A change of one consumer's override. It is made in one step with its condition, its revision and its line of the
/// log.
#[derive(Clone, Debug, Default)]
pub struct OverrideChange {
    /// What the application writes, or `None` to remove the override.
    pub value: Option<Vec<u8>>,
    /// The line for the log.
    pub line: Vec<u8>,
    /// Where the line has to contain the previous override, as the application wrote it, or `null` if there was none.
    pub before_at: Option<usize>,
    /// What must hold.
    pub condition: Condition,
    /// The most overrides of the namespace. A new one beyond is refused.
    pub most: u64,
}

/// What must hold for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing must hold.
    #[default]
    None,
    /// The consumer has an override.
    IsSet,
    /// The consumer's override is the one of this revision.
    IsOf(u64),
}

/// The result of a change of an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The change was made, and this is its revision.
    To(u64),
    /// The condition did not hold, and nothing was changed.
    NotMet,
    /// The namespace has too many overrides, and nothing was changed.
    Full,
}

impl OverrideChange {
    /// Why the change may not be made, if so. `current` is the revision of the consumer's override, and `count` counts
    /// the namespace's.
    pub(super) fn refused(&self, current: Option<u64>, count: impl FnOnce() -> u64) -> Option<Changed> {
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

    /// The line with the previous override.
    pub(super) fn line_with(&self, before: Option<&[u8]>) -> Vec<u8> {
        match self.before_at.and_then(|at| self.line.split_at_checked(at)) {
            Some((head, tail)) => [head, before.unwrap_or(b"null"), tail].concat(),
            None => self.line.clone(),
        }
    }
}

/// Keeps the state of namespaces.
#[async_trait]
pub trait NamespaceStore: Send + Sync + 'static {
    /// Fills the buckets of `client`, sets its current month back to zero, or both, and adds the line `audit` to the
    /// log. The result is the new revision.
    async fn reset(
        &self,
        namespace: &str,
        client: ClientId,
        bucket: bool,
        month: bool,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError>;

    /// Sets or removes a consumer's override if that is allowed. The condition, the count, the change, its revision and
    /// its line are one step.
    async fn change_override(
        &self,
        namespace: &str,
        consumer: &str,
        change: OverrideChange,
    ) -> Result<Changed, BackendError>;

    /// The namespace's revision alone. This is cheap, because it is called several times per second.
    async fn revision(&self, namespace: &str) -> Result<u64, BackendError>;

    /// What has changed after `after` if that can still be read one by one, otherwise all overrides and recent resets.
    async fn snapshot(&self, namespace: &str, after: Mark) -> Result<NamespaceSnapshot, BackendError>;

    /// The newest `limit` lines of the log, or those with numbers below `before`, newest first. A line comes with its
    /// number, which counts from 1. The newest [`AUDIT_KEPT`] lines of a namespace are kept.
    async fn audit(
        &self,
        namespace: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError>;

    /// The application's document about the namespace: the tiers that its gateways know.
    async fn document(&self, namespace: &str) -> Result<Option<Vec<u8>>, BackendError>;

    /// Replaces the document.
    async fn put_document(&self, namespace: &str, document: Vec<u8>) -> Result<(), BackendError>;

    /// The namespaces that have accounts.
    async fn namespaces(&self) -> Result<Vec<String>, BackendError>;
}
