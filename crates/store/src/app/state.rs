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

/// How often a replica reads what the others have changed. Together with how often gateways report, this bounds how
/// long an override takes to be in force everywhere.
const REFRESH_EVERY: Duration = Duration::from_millis(300);

/// How many namespaces are refreshed at the same time.
const REFRESHED_AT_ONCE: usize = 16;

/// The bounds of this replica.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most concurrent requests; more are asked to come back.
    pub requests: usize,
    /// The longest time of a request until its response headers.
    pub request_time: Duration,
    /// The longest time of one call to the backend.
    pub backend_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { requests: 512, request_time: Duration::from_secs(10), backend_time: Duration::from_secs(2) }
    }
}

/// The state of the [app](super::app).
pub struct Store {
    /// The backend, through [`Self::instrumented`].
    pub backend: Arc<dyn Backend>,
    /// The same backend, and whether it takes writes.
    pub instrumented: Arc<Instrumented>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The tokens that callers need.
    pub tokens: Tokens,
    /// See [`Bounds`].
    pub bounds: Bounds,
    /// One permit per request that is being answered.
    pub requests: Semaphore,
    /// The part of the metrics that remembers leases.
    pub usage_metrics: UsageMetrics,
    /// The policies that applications have sent.
    pub policies: Policies,
    namespaces: Namespaces,
}

impl Store {
    /// A store on `backend`.
    ///
    /// # Errors
    /// Two metrics have the same name.
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
    /// The backend fails.
    pub async fn namespace(&self, name: &str) -> Result<Arc<NamespaceState>, AppError> {
        self.namespaces.get(name, self.backend.as_ref()).await
    }

    /// Replaces the operator's policies, which are keyed by namespace.
    pub fn configure(&self, policies: HashMap<String, Arc<Offered>>) {
        self.namespaces.configure(policies);
    }

    /// The time for [`OverrideIndex::offered`]. Any time will do if no override ends.
    ///
    /// # Errors
    /// The backend fails.
    pub async fn time_for(&self, overrides: &OverrideIndex) -> Result<UnixMicros, AppError> {
        if overrides.has_ending() { Ok(self.backend.now().await?) } else { Ok(UnixMicros(0)) }
    }

    /// Follows the other replicas, and keeps probing the backend, for as long as it is polled.
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

    /// Reads once what other replicas have changed, removes overrides that have ended, and writes new tiers.
    pub async fn refresh(&self) {
        let Ok(now) = self.backend.now().await else { return };
        let refresh = |state: Arc<NamespaceState>| async move {
            let backend = self.backend.as_ref();
            let refreshed = async {
                state.refresh(backend).await?;
                state.remove_ended_overrides(backend, now).await?;
                state.save_tiers(backend).await
            };
            if let Err(why) = refreshed.await {
                // `Instrumented` logs once what is wrong with the backend.
                debug!(namespace = state.name, %why, "could not keep up with the other replicas");
            }
        };
        stream::iter(self.namespaces.in_use()).for_each_concurrent(REFRESHED_AT_ONCE, refresh).await;
    }
}

/// The policies that came with checks. Each is read once, because an application sends the same one every time.
#[derive(Default)]
pub struct Policies(Mutex<HashMap<Box<str>, Arc<Offered>>>);

impl Policies {
    /// How many policies are kept. One is at most as long as a request's body.
    const MOST: usize = 64;

    /// The policy in `text`, read by `read` if it is new.
    ///
    /// # Errors
    /// `read` fails.
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
