//! The part of a backend that keeps who pays for which consumer.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::{Backend, BackendError};
use crate::customers::Periods;

/// A page ends once its rows have this many bytes, so that a page of long rows needs no more memory than any other.
pub const PAGE_BYTES: usize = 1 << 20;

/// How many rows [`all_customers`] reads at once.
const READ_AT_ONCE: usize = 500;

/// What is kept of one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerRow {
    /// The consumer, as listings write it.
    pub consumer: String,
    /// Its [`Periods`] as bytes.
    pub periods: Vec<u8>,
}

impl CustomerRow {
    /// The periods.
    ///
    /// # Errors
    /// They are damaged.
    pub fn read(&self) -> Result<Periods, BackendError> {
        read_periods(&self.consumer, &self.periods)
    }
}

/// The periods of `consumer` in `bytes`.
///
/// # Errors
/// They are damaged.
pub fn read_periods(consumer: &str, bytes: &[u8]) -> Result<Periods, BackendError> {
    Periods::from_bytes(bytes)
        .ok_or_else(|| BackendError::Corrupt(format!("the customers of {consumer:?} are damaged")))
}

/// A change of one consumer's periods. It is made in one step with its condition and its line in the audit log.
#[derive(Clone, Debug, Default)]
pub struct CustomerChange {
    /// What has to be kept for the change to be made: what [`CustomerStore::customers_of`] has returned.
    pub before: Option<Vec<u8>>,
    /// What is kept afterwards.
    pub after: Option<Vec<u8>>,
    /// The customers that `after` has and `before` has not.
    pub joined: Vec<String>,
    /// The customers that `before` has and `after` has not.
    pub left: Vec<String>,
    /// The line for the log.
    pub line: Vec<u8>,
}

/// Which rows a page has.
#[derive(Clone, Debug, Default)]
pub struct CustomerQuery {
    /// Only consumers that have a period of this customer.
    pub customer: Option<String>,
    /// Only consumers after this one.
    pub after: Option<String>,
    /// The most rows.
    pub limit: usize,
}

/// Some rows, in the order of their consumers' bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomerPage {
    /// The rows.
    pub rows: Vec<CustomerRow>,
    /// Whether there are more rows after these.
    pub has_more: bool,
}

impl CustomerPage {
    /// The consumer to go on after, if there are more.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        self.rows.last().filter(|_| self.has_more).map(|row| row.consumer.as_str())
    }

    /// The first of `rows`: at most `limit`, and at most about [`PAGE_BYTES`]. One row more is read at most.
    pub(super) fn first_of(
        rows: impl Iterator<Item = Result<CustomerRow, BackendError>>,
        limit: usize,
    ) -> Result<Self, BackendError> {
        let (mut page, mut bytes) = (Self::default(), 0_usize);
        for row in rows {
            let row = row?;
            page.has_more = page.rows.len() >= limit || bytes >= PAGE_BYTES;
            if page.has_more {
                break;
            }
            bytes = bytes.saturating_add(row.consumer.len()).saturating_add(row.periods.len());
            page.rows.push(row);
        }
        Ok(page)
    }
}

/// Keeps who pays for which consumer. A consumer is named as listings write it, and a customer's name has no control
/// characters.
#[async_trait]
pub trait CustomerStore: Send + Sync + 'static {
    /// What is kept of `consumer`, if anything is.
    async fn customers_of(&self, namespace: &str, consumer: &str) -> Result<Option<Vec<u8>>, BackendError>;

    /// Makes `change` if its condition holds, and returns whether it does. Condition, change, index and line are one
    /// step.
    async fn change_customers(
        &self,
        namespace: &str,
        consumer: &str,
        change: CustomerChange,
    ) -> Result<bool, BackendError>;

    /// One page. Its cost does not depend on how many consumers the namespace has.
    async fn customer_page(
        &self,
        namespace: &str,
        query: CustomerQuery,
    ) -> Result<CustomerPage, BackendError>;
}

/// Every consumer of `namespace` that has a customer, and its periods, in constant memory. A consumer that is changed
/// meanwhile comes once, as it was or as it is.
pub fn all_customers(
    backend: Arc<dyn Backend>,
    namespace: &str,
) -> BoxStream<'static, Result<(String, Periods), BackendError>> {
    struct Walk {
        backend: Arc<dyn Backend>,
        namespace: String,
        after: Option<String>,
        ready: VecDeque<CustomerRow>,
        is_read: bool,
    }
    let namespace = namespace.to_owned();
    let walk = Walk { backend, namespace, after: None, ready: VecDeque::new(), is_read: false };
    stream::try_unfold(walk, |mut walk| async move {
        loop {
            if let Some(row) = walk.ready.pop_front() {
                let periods = row.read()?;
                return Ok(Some(((row.consumer, periods), walk)));
            }
            if walk.is_read {
                return Ok(None);
            }
            let query = CustomerQuery { customer: None, after: walk.after.take(), limit: READ_AT_ONCE };
            let page = walk.backend.customer_page(&walk.namespace, query).await?;
            walk.after = page.next().map(ToOwned::to_owned);
            walk.is_read = walk.after.is_none();
            walk.ready = page.rows.into();
        }
    })
    .boxed()
}
