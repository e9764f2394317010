//! The part of a backend that keeps clients' accounts.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tollgate_core::client::ClientId;
use tollgate_core::terms::Terms;
use tollgate_core::units::{Cost, Micros, UnixMicros};
use tollgate_core::wire::{Answer, Ask};

use super::BackendError;

/// How long a consumer's account is kept after its last report or charge: as long as the days on which it used something.
pub const CONSUMER_KEPT: Micros = Micros(490 * 86_400 * 1_000_000);

/// One client's entry of a batch.
#[derive(Clone, Debug)]
pub struct AccountEntry {
    /// The client.
    pub client: ClientId,
    /// The client's name, if the gateway sends it. Every client with a name is in [`AccountStore::usages`].
    pub name: Option<Vec<u8>>,
    /// Whether the client is anonymous. Such an account is forgotten once its buckets are full again, and has no usage.
    pub is_anonymous: bool,
    /// The name of the tier of `terms`. It is kept with the account, for billing.
    pub tier: Arc<str>,
    /// The limits and the quota.
    pub terms: Arc<Terms>,
    /// The node that asks. A charge does not use it.
    pub node: u64,
    /// What is asked for.
    pub ask: Ask,
}

/// The answers to a batch.
#[derive(Clone, Debug)]
pub struct AppliedBatch {
    /// The backend's clock.
    pub now: UnixMicros,
    /// One answer per entry, in their order. It is [`Answer::Failed`] if the client's part of the backend is away.
    pub answers: Vec<Answer>,
}

/// What one consumer used in one month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Who.
    pub client: ClientId,
    /// The client's name, or `None` if no gateway has sent it.
    pub name: Option<Vec<u8>>,
    /// The tier that it was last seen in.
    pub tier: String,
    /// The month's quota of that tier, or `None` if it is unlimited.
    pub monthly: Option<Cost>,
    /// What was used.
    pub used: Cost,
}

/// Keeps accounts.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Applies a batch, one step per entry, by [`Account::apply`](crate::accounts::Account::apply) or
    /// [`Account::charge`](crate::accounts::Account::charge). What is answered is as durable as the backend.
    async fn apply(&self, namespace: &str, entries: Vec<AccountEntry>) -> Result<AppliedBatch, BackendError>;

    /// What `client` used in `month`, or `None` if the client was never seen.
    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError>;

    /// Every consumer with a name that used something in `month`, once each and in any order, in constant memory.
    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>>;
}
