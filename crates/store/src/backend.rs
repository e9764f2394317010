//! Where the store's state is kept.
//!
//! A [`Backend`] keeps seven things per namespace: the clients' [accounts](crate::accounts::Account) with their names
//! ([`AccountStore`]), what they use by day ([`DayStore`]), their [reservations](crate::accounts::Reservation)
//! ([`ReservationStore`]), the overrides, the audit log and one small document of the application ([`NamespaceStore`]), whose
//! bytes it does not read, and the consumers' customers ([`CustomerStore`]). Time is the backend's, so all replicas that share a
//! backend agree on it.

mod account_store;
pub mod clock;
mod customer_store;
mod day_store;
pub mod health;
pub mod instrumented;
pub mod memory;
mod namespace_store;
pub mod open;
mod probe;
pub mod redb;
pub mod redis;
mod reservation_store;

use async_trait::async_trait;
use tollgate_core::units::UnixMicros;

pub use self::account_store::{AccountEntry, AccountStore, AppliedBatch, CONSUMER_KEPT, Usage};
pub use self::customer_store::{
    CustomerChange, CustomerPage, CustomerQuery, CustomerRow, CustomerStore, all_customers, read_periods,
};
pub use self::day_store::{DayRow, DayRows, DayStore, Days, DaysUsed, is_kept};
pub use self::namespace_store::{
    AUDIT_KEPT, CHANGES_REMEMBERED, Changed, Condition, Mark, NOTICES_REMEMBERED, NamespaceSnapshot,
    NamespaceStore, OverrideChange, OverrideRow,
};
pub use self::reservation_store::{ReservationKey, ReservationStore, Reserved, Settled};

/// Why a backend did not answer.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The backend cannot be reached, or not in time. Trying again later may help.
    #[error("the backend is away: {0}")]
    Away(String),
    /// The backend answered something impossible.
    #[error("the backend holds what cannot be read: {0}")]
    Corrupt(String),
}

/// All that the store needs of a backend. Every method of it, and of its five parts, is one step: no other call comes
/// between, of whatever replica.
#[async_trait]
pub trait Backend: AccountStore + DayStore + ReservationStore + NamespaceStore + CustomerStore {
    /// The scheme of its URL, for logs: `memory`, `redb`, `redis` …
    fn kind(&self) -> &'static str;

    /// The backend's clock. That it can be read does not mean that anything can be written.
    async fn now(&self) -> Result<UnixMicros, BackendError>;

    /// Writes what a charge writes, in every part of the backend that keeps accounts.
    ///
    /// # Errors
    /// A part takes no writes; the error says which, and why.
    async fn probe(&self) -> Result<(), BackendError>;
}
