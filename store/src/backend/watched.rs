//! A backend whose calls are timed, bounded, and looked at for whether it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, timeout};
use tollgate::lease::client::ClientId;
use tracing::{error, info, warn};

use super::{Backend, BackendError, Bulletin, Settle, SettledBatch, Usage};
use crate::app::metrics::Metrics;

/// See the [module](self).
pub struct Watched {
    backend: Arc<dyn Backend>,
    metrics: Arc<Metrics>,
    /// The longest that one call may take.
    longest: Duration,
    is_up: AtomicBool,
}

impl Watched {
    /// Watches `backend`, which is taken to be there until it is not.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, metrics: Arc<Metrics>, longest: Duration) -> Self {
        metrics.backend_up.set(1);
        Self { backend, metrics, longest, is_up: AtomicBool::new(true) }
    }

    async fn call<T>(
        &self,
        name: &'static str,
        future: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let began = Instant::now();
        let result = timeout(self.longest, future).await.unwrap_or_else(|_| {
            Err(BackendError::Away(format!("no answer to {name} within {} ms", self.longest.as_millis())))
        });
        self.metrics.backend_seconds.with_label_values(&[name]).observe(began.elapsed().as_secs_f64());
        match &result {
            Ok(_) => self.note(None),
            Err(BackendError::Away(why)) => self.note(Some(why)),
            Err(BackendError::Corrupt(what)) => {
                error!(call = name, what, "the backend holds what cannot be read")
            }
        }
        result
    }

    /// One line when it goes, one when it is back: not one a request.
    fn note(&self, away: Option<&str>) {
        if self.is_up.swap(away.is_none(), Ordering::Relaxed) == away.is_none() {
            return;
        }
        self.metrics.backend_up.set(i64::from(away.is_none()));
        match away {
            Some(why) => warn!(backend = self.backend.kind(), why, "the backend is away"),
            None => info!(backend = self.backend.kind(), "the backend is back"),
        }
    }
}

#[async_trait]
impl Backend for Watched {
    fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    async fn now(&self) -> Result<u64, BackendError> {
        self.call("now", self.backend.now()).await
    }

    async fn settle(&self, namespace: &str, entries: Vec<Settle>) -> Result<SettledBatch, BackendError> {
        self.call("settle", self.backend.settle(namespace, entries)).await
    }

    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError> {
        self.call("usage", self.backend.usage(namespace, client, month)).await
    }

    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>> {
        // As long as it takes; the client's connection bounds it.
        let logged = self.backend.usages(namespace, month).inspect(|usage| {
            if let Err(why) = usage {
                warn!(%why, "a walk over all usage has broken off");
            }
        });
        logged.boxed()
    }

    async fn reset(
        &self,
        namespace: &str,
        client: ClientId,
        bucket: bool,
        month: bool,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError> {
        self.call("reset", self.backend.reset(namespace, client, bucket, month, audit)).await
    }

    async fn put_override(
        &self,
        namespace: &str,
        consumer: &str,
        value: Option<Vec<u8>>,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError> {
        self.call("put_override", self.backend.put_override(namespace, consumer, value, audit)).await
    }

    async fn revision(&self, namespace: &str) -> Result<u64, BackendError> {
        self.call("revision", self.backend.revision(namespace)).await
    }

    async fn bulletin(&self, namespace: &str) -> Result<Bulletin, BackendError> {
        self.call("bulletin", self.backend.bulletin(namespace)).await
    }

    async fn audit(
        &self,
        namespace: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        self.call("audit", self.backend.audit(namespace, before, limit)).await
    }

    async fn document(&self, namespace: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.call("document", self.backend.document(namespace)).await
    }

    async fn put_document(&self, namespace: &str, document: Vec<u8>) -> Result<(), BackendError> {
        self.call("put_document", self.backend.put_document(namespace, document)).await
    }

    async fn namespaces(&self) -> Result<Vec<String>, BackendError> {
        self.call("namespaces", self.backend.namespaces()).await
    }
}
