//! What all calls share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tollgate_core::units::UnixMicros;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::access::Tokens;
use super::check::Offered;
use super::namespace::{NamespaceState, Namespaces};
use super::override_index::OverrideIndex;
use super::problem::AppError;
use super::usage_metrics::UsageMetrics;
use crate::backend::Backend;
use crate::backend::instrumented::Instrumented;
use crate::locks;
use crate::metrics::Metrics;

/// How often a replica looks for what others have changed. With the time in which gateways report, it bounds how long an
/// override takes to be in force everywhere.
const REFRESH_EVERY: Duration = Duration::from_millis(300);

/// Namespaces that are refreshed at side by side.
const REFRESHED_AT_ONCE: usize = 16;

/// Bounds of this replica.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests that are worked on at once; more are told to come back.
    pub requests: usize,
    /// The longest that a request may take.
    pub request_time: Duration,
    /// The longest that one call to the backend may take.
    pub backend_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { requests: 512, request_time: Duration::from_secs(10), backend_time: Duration::from_secs(2) }
    }
}

/// The state of the [app](super::app).
pub struct Store {
    /// Where the accounts are.
    pub backend: Arc<dyn Backend>,
    /// The same, and whether it takes writes.
    pub instrumented: Arc<Instrumented>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who may call.
    pub tokens: Tokens,
    /// See [`Bounds`].
    pub bounds: Bounds,
    /// One permit a request that is worked on.
    pub requests: Semaphore,
    /// What was seen of leases.
    pub usage_metrics: UsageMetrics,
    /// Policies that applications have sent.
    pub policies: Policies,
    namespaces: Namespaces,
}

impl Store {
    /// A store on `backend`.
    ///
    /// # Errors
    /// That its metrics cannot be made.
    pub fn new(
        backend: Arc<dyn Backend>,
        tokens: Tokens,
        bounds: Bounds,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let metrics = Arc::new(Metrics::new()?);
        let instrumented = Arc::new(Instrumented::new(backend, Arc::clone(&metrics), bounds.backend_time));
        let backend: Arc<dyn Backend> = instrumented.clone();
        Ok(Arc::new(Self {
            backend,
            instrumented,
            metrics,
            tokens,
            bounds,
            requests: Semaphore::new(bounds.requests.min(Semaphore::MAX_PERMITS)),
            usage_metrics: UsageMetrics::default(),
            policies: Policies::default(),
            namespaces: Namespaces::default(),
        }))
    }

    /// The namespace called `name`, up to date.
    ///
    /// # Errors
    /// The backend's.
    pub async fn namespace(&self, name: &str) -> Result<Arc<NamespaceState>, AppError> {
        self.namespaces.get(name, self.backend.as_ref()).await
    }

    /// Takes `policies`, by namespace, for the operator's, and forgets those before.
    pub fn configure(&self, policies: HashMap<String, Arc<Offered>>) {
        self.namespaces.configure(policies);
    }

    /// The time, for [`OverrideIndex::offered`]; any will do where no override ends.
    ///
    /// # Errors
    /// The backend's.
    pub async fn time_for(&self, overrides: &OverrideIndex) -> Result<UnixMicros, AppError> {
        if overrides.has_ending() { Ok(self.backend.now().await?) } else { Ok(UnixMicros(0)) }
    }

    /// Keeps up with other replicas, and with whether the backend takes writes, for as long as it is polled.
    pub async fn keep_up(&self) {
        tokio::join!(self.keep_refreshing(), self.instrumented.keep_probing());
    }

    async fn keep_refreshing(&self) {
        let mut ticks = interval(REFRESH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.refresh().await;
        }
    }

    /// Looks once for what other replicas have changed, removes overrides that are over, writes down new tiers.
    pub async fn refresh(&self) {
        let Ok(now) = self.backend.now().await else { return };
        let refresh = |space: Arc<NamespaceState>| async move {
            let backend = self.backend.as_ref();
            let refreshed = async {
                space.refresh(backend).await?;
                space.remove_ended_overrides(backend, now).await?;
                space.save_tiers(backend).await
            };
            if let Err(why) = refreshed.await {
                // What is wrong with the backend is said once, where that is instrumented.
                debug!(namespace = space.name, %why, "could not keep up with the other replicas");
            }
        };
        stream::iter(self.namespaces.in_use()).for_each_concurrent(REFRESHED_AT_ONCE, refresh).await;
    }
}

/// The policies that came with checks, read once: an application sends the same one every time.
#[derive(Default)]
pub struct Policies(Mutex<HashMap<Box<str>, Arc<Offered>>>);

impl Policies {
    /// Policies that are kept; one is as long as a request's body at most.
    const MOST: usize = 64;

    /// The policy of `text`, read by `read` if it is a new one.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn get(
        &self,
        text: &str,
        read: impl FnOnce(&str) -> Result<Offered, AppError>,
    ) -> Result<Arc<Offered>, AppError> {
        let known = || locks::lock(&self.0);
        if let Some(policy) = known().get(text) {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(read(text)?);
        let mut known = known();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(text.into(), Arc::clone(&policy));
        Ok(policy)
    }
}
