//! The part of a backend that keeps what a namespace's replicas share: overrides, resets, the audit log and a document.

use async_trait::async_trait;
use tollgate_core::client::ClientId;

use super::BackendError;

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
pub const NOTICES_REMEMBERED: usize = 256;

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

    /// The line, with what was there before.
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

    /// Names of the namespaces that were ever applied in.
    async fn namespaces(&self) -> Result<Vec<String>, BackendError>;
}
