//! The part of a backend that keeps clients' accounts.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tollgate_core::client::ClientId;
use tollgate_core::terms::Terms;
use tollgate_core::units::{Cost, Micros, UnixMicros};
use tollgate_core::wire::{Answer, Ask};

use super::BackendError;

/// How long a consumer's account is kept after its last report or charge: 400 days.
pub const CONSUMER_KEPT: Micros = Micros(400 * 86_400 * 1_000_000);

/// One client's entry of a batch, ready to apply.
#[derive(Clone, Debug)]
pub struct AccountEntry {
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
pub struct AppliedBatch {
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

/// Keeps accounts.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Settles a batch: one step an entry, by [`Account::apply`](crate::accounts::Account::apply) or
    /// [`Account::charge`](crate::accounts::Account::charge). What it has answered is durable, as far as the
    /// backend is.
    async fn apply(&self, namespace: &str, entries: Vec<AccountEntry>) -> Result<AppliedBatch, BackendError>;

    /// What `client` used in `month`; none where it was never seen.
    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError>;

    /// Every consumer with a name that used something in `month`, in no particular order, each once, in constant memory.
    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>>;
}
