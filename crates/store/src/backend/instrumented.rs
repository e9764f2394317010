//! A backend whose calls are timed and bounded, and that knows whether it takes writes: see [`health`](super::health).

use std::sync::Arc;
use std::time::Duration;
use tollgate_core::units::{Cost, UnixMicros};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tollgate_core::client::ClientId;
use tollgate_core::wire::Answer;
use tracing::{error, info, warn};

use super::health::{Health, Transition};
use super::{
    AccountEntry, AccountStore, AppliedBatch, Backend, BackendError, Changed, CustomerChange, CustomerPage,
    CustomerQuery, CustomerStore, DayStore, Days, DaysUsed, Mark, NamespaceSnapshot, NamespaceStore,
    OverrideChange, ReservationKey, ReservationStore, Reserved, Settled, Usage,
};
use crate::accounts::Hold;
use crate::metrics::Metrics;

/// A backend whose writes take longer than this is not ready.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// How long after a failed probe a second one is made. A connection may just have been closed.
const PROBE_AGAIN: Duration = Duration::from_millis(100);

/// How often the backend is probed while it is up and no call fails.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// How often the backend is probed while it is away, and at most while it is up.
const PROBE_SOON: Duration = Duration::from_millis(300);

/// See the [module](self).
pub struct Instrumented {
    backend: Arc<dyn Backend>,
    metrics: Arc<Metrics>,
    /// The longest time of one call.
    longest: Duration,
    health: Health,
    /// Held during a probe. A caller that has waited for one needs no other.
    probing: Mutex<()>,
    /// Notified when a call has failed.
    doubted: Notify,
}

impl Instrumented {
    /// Wraps `backend`, which counts as up until it fails.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, metrics: Arc<Metrics>, longest: Duration) -> Self {
        metrics.backend_up.set(1);
        let (health, probing, doubted) = (Health::new(), Mutex::default(), Notify::new());
        Self { backend, metrics, longest, health, probing, doubted }
    }

    /// Whether the backend takes writes, by a probe that ended at most `age` ago.
    pub async fn is_up(&self, age: Duration) -> bool {
        let asked = Instant::now();
        let _alone = self.probing.lock().await;
        if self.health.probed().is_none_or(|probed| asked.duration_since(probed) > age) {
            let probed = self.try_probe().await;
            let transition = self.health.probe_ended(probed.is_ok(), Instant::now());
            self.log(transition, probed.err().as_ref());
        }
        self.health.is_up()
    }

    /// Keeps probing the backend for as long as it is polled.
    pub async fn keep_probing(&self) {
        loop {
            self.is_up(Duration::ZERO).await;
            sleep(PROBE_SOON).await;
            if self.health.is_up() {
                let _ = timeout(PROBE_EVERY, self.doubted.notified()).await;
            }
        }
    }

    async fn try_probe(&self) -> Result<(), BackendError> {
        let ends = Instant::now().checked_add(PROBE_TIME).unwrap_or_else(Instant::now);
        let tries = async {
            if self.timed("probe", self.backend.probe()).await.is_ok() {
                return Ok(());
            }
            sleep(PROBE_AGAIN).await;
            self.timed("probe", self.backend.probe()).await
        };
        let late = |_| Err(BackendError::Away(format!("no write within {} ms", PROBE_TIME.as_millis())));
        timeout_at(ends, tries).await.unwrap_or_else(late)
    }

    async fn timed<T>(
        &self,
        name: &'static str,
        future: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let began = Instant::now();
        let result = timeout(self.longest, future).await.unwrap_or_else(|_| {
            Err(BackendError::Away(format!("no answer to {name} within {} ms", self.longest.as_millis())))
        });
        self.metrics.backend_seconds.with_label_values(&[name]).observe(began.elapsed().as_secs_f64());
        result
    }

    async fn read<T>(
        &self,
        name: &'static str,
        future: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let result = self.timed(name, future).await;
        match &result {
            Err(BackendError::Away(_)) => self.doubted.notify_one(),
            Err(BackendError::Corrupt(what)) => {
                error!(call = name, what, "the backend holds what cannot be read")
            }
            Ok(_) => {}
        }
        result
    }

    async fn write<T>(
        &self,
        name: &'static str,
        future: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let result = self.read(name, future).await;
        match &result {
            Ok(_) => self.health.write_taken(),
            Err(why) => self.count_failed(why),
        }
        result
    }

    fn count_failed(&self, why: &BackendError) {
        if matches!(why, BackendError::Away(_)) {
            self.log(self.health.write_failed(Instant::now()), Some(why));
        }
    }

    /// Logs one line when the backend goes away and one when it is back, not one per request.
    fn log(&self, transition: Option<Transition>, why: Option<&BackendError>) {
        let Some(transition) = transition else { return };
        self.metrics.backend_up.set(i64::from(transition == Transition::Back));
        let backend = self.backend.kind();
        match transition {
            Transition::Away => {
                let why = why.map(|why| match why {
                    BackendError::Away(why) | BackendError::Corrupt(why) => why.as_str(),
                });
                warn!(backend, why = why.unwrap_or_default(), "the backend is away");
            }
            Transition::Back => info!(backend, "the backend is back"),
        }
    }
}

#[async_trait]
impl Backend for Instrumented {
    fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    async fn now(&self) -> Result<UnixMicros, BackendError> {
        self.read("now", self.backend.now()).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.timed("probe", self.backend.probe()).await
    }
}

#[async_trait]
impl AccountStore for Instrumented {
    async fn apply(&self, namespace: &str, entries: Vec<AccountEntry>) -> Result<AppliedBatch, BackendError> {
        // The label keeps its old name, which dashboards use.
        let applied = self.read("settle", self.backend.apply(namespace, entries)).await;
        match &applied {
            Ok(batch) => {
                if batch.answers.iter().any(|answer| *answer != Answer::Failed) {
                    self.health.write_taken();
                }
                // Some part of the backend may be away.
                if batch.answers.contains(&Answer::Failed) {
                    self.doubted.notify_one();
                }
            }
            Err(why) => self.count_failed(why),
        }
        applied
    }

    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError> {
        self.read("usage", self.backend.usage(namespace, client, month)).await
    }

    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>> {
        // This may take long. The client's connection bounds it.
        let logged = self.backend.usages(namespace, month).inspect(|usage| {
            if let Err(why) = usage {
                warn!(%why, "a listing of all usage has failed");
            }
        });
        logged.boxed()
    }
}

#[async_trait]
impl DayStore for Instrumented {
    async fn days_used(
        &self,
        namespace: &str,
        client: ClientId,
        days: Days,
    ) -> Result<Option<DaysUsed>, BackendError> {
        self.read("usage", self.backend.days_used(namespace, client, days)).await
    }

    fn all_days_used(
        &self,
        namespace: &str,
        days: Days,
    ) -> BoxStream<'static, Result<DaysUsed, BackendError>> {
        let logged = self.backend.all_days_used(namespace, days).inspect(|used| {
            if let Err(why) = used {
                warn!(%why, "a listing of all usage by day has failed");
            }
        });
        logged.boxed()
    }
}

#[async_trait]
impl ReservationStore for Instrumented {
    async fn reserve(
        &self,
        namespace: &str,
        key: ReservationKey,
        name: Vec<u8>,
        hold: Hold,
    ) -> Result<Reserved, BackendError> {
        self.write("reserve", self.backend.reserve(namespace, key, name, hold)).await
    }

    async fn settle(
        &self,
        namespace: &str,
        key: ReservationKey,
        cost: Cost,
    ) -> Result<Settled, BackendError> {
        // `settle` is what dashboards know the batches of gateways by.
        self.write("settle_reservation", self.backend.settle(namespace, key, cost)).await
    }
}

#[async_trait]
impl NamespaceStore for Instrumented {
    async fn reset(
        &self,
        namespace: &str,
        client: ClientId,
        bucket: bool,
        month: bool,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError> {
        self.write("reset", self.backend.reset(namespace, client, bucket, month, audit)).await
    }

    async fn change_override(
        &self,
        namespace: &str,
        consumer: &str,
        change: OverrideChange,
    ) -> Result<Changed, BackendError> {
        self.write("change_override", self.backend.change_override(namespace, consumer, change)).await
    }

    async fn revision(&self, namespace: &str) -> Result<u64, BackendError> {
        self.read("revision", self.backend.revision(namespace)).await
    }

    async fn snapshot(&self, namespace: &str, after: Mark) -> Result<NamespaceSnapshot, BackendError> {
        self.read("snapshot", self.backend.snapshot(namespace, after)).await
    }

    async fn audit(
        &self,
        namespace: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        self.read("audit", self.backend.audit(namespace, before, limit)).await
    }

    async fn document(&self, namespace: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.read("document", self.backend.document(namespace)).await
    }

    async fn put_document(&self, namespace: &str, document: Vec<u8>) -> Result<(), BackendError> {
        self.write("put_document", self.backend.put_document(namespace, document)).await
    }

    async fn namespaces(&self) -> Result<Vec<String>, BackendError> {
        self.read("namespaces", self.backend.namespaces()).await
    }
}

#[async_trait]
impl CustomerStore for Instrumented {
    async fn customers_of(&self, namespace: &str, consumer: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.read("customers_of", self.backend.customers_of(namespace, consumer)).await
    }

    async fn change_customers(
        &self,
        namespace: &str,
        consumer: &str,
        change: CustomerChange,
    ) -> Result<bool, BackendError> {
        // It does not count as a write: a Redis user of an older version may not make it, and still be fine for gateways.
        let changed =
            self.read("change_customers", self.backend.change_customers(namespace, consumer, change)).await;
        changed.inspect_err(|why| warn!(%why, "a consumer's customers could not be changed"))
    }

    async fn customer_page(
        &self,
        namespace: &str,
        query: CustomerQuery,
    ) -> Result<CustomerPage, BackendError> {
        let page = self.read("customer_page", self.backend.customer_page(namespace, query)).await;
        page.inspect_err(|why| warn!(%why, "customers could not be listed"))
    }
}
