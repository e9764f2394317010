//! One namespace as this replica knows it, and how it follows the other replicas.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tollgate_core::units::UnixMicros;

use tokio::time::Instant;
use tollgate_core::client::{ClientId, Namespace};
use tollgate_core::name;
use tracing::debug;

use super::check::Offered;
use super::override_index::OverrideIndex;
use super::problem::AppError;
use super::tier::{CompiledTier, Tiers};
use crate::backend::{Backend, Condition, OverrideChange};
use crate::locks;

/// The most namespaces in memory. Beyond, the one that was used the longest ago is dropped.
const MAX_NAMESPACES: usize = 1_024;

/// How old the state may be before a call refreshes it. A namespace in use is refreshed more often than this.
const STALE: Duration = Duration::from_secs(1);

/// How long after its last call a namespace counts as in use.
const IN_USE: Duration = Duration::from_secs(60);

/// See the [module](self).
pub struct NamespaceState {
    /// Its name.
    pub name: String,
    ids: Namespace,
    /// The operator's policy for the namespace. The default has no tiers.
    configured: RwLock<Arc<Offered>>,
    tiers: RwLock<Tiers>,
    overrides: RwLock<Arc<OverrideIndex>>,
    times: Mutex<Times>,
    /// Held during a refresh. A call that has waited for one needs no other.
    refreshing: tokio::sync::Mutex<()>,
}

struct Times {
    used: Instant,
    /// When the state was last known to be the backend's.
    refreshed: Option<Instant>,
}

impl NamespaceState {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ids: Namespace::new(name),
            configured: RwLock::default(),
            tiers: RwLock::default(),
            overrides: RwLock::default(),
            times: Mutex::new(Times { used: Instant::now(), refreshed: None }),
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    /// Whether `stored` is a name that a gateway may send for `client`.
    #[must_use]
    pub fn is_name(&self, stored: &[u8], client: ClientId) -> bool {
        name::is_of(stored, client, &self.ids)
    }

    /// The overrides and resets.
    #[must_use]
    pub fn overrides(&self) -> Arc<OverrideIndex> {
        Arc::clone(&locks::read(&self.overrides))
    }

    /// Reads the tiers.
    pub fn tiers<T>(&self, read: impl FnOnce(&Tiers) -> T) -> T {
        read(&locks::read(&self.tiers))
    }

    /// Remembers tiers that gateways and applications have sent.
    pub fn learn(&self, tiers: &[&Arc<CompiledTier>]) {
        if !self.tiers(|known| tiers.iter().any(|tier| known.is_news(tier))) {
            return;
        }
        let mut known = locks::write(&self.tiers);
        tiers.iter().for_each(|tier| known.learn(tier));
        let mut overrides = locks::write(&self.overrides);
        if tiers.iter().any(|tier| overrides.has_of(&tier.name)) {
            *overrides = Arc::new(overrides.in_terms_of(&known));
        }
    }

    /// The operator's policy.
    #[must_use]
    pub fn configured(&self) -> Arc<Offered> {
        Arc::clone(&locks::read(&self.configured))
    }

    /// Makes `policy` the operator's policy.
    fn configure(&self, policy: Arc<Offered>) {
        let mut tiers = locks::write(&self.tiers);
        tiers.fix(&policy.tiers);
        let mut overrides = locks::write(&self.overrides);
        *overrides = Arc::new(overrides.in_terms_of(&tiers));
        *locks::write(&self.configured) = policy;
    }

    /// Adds the tiers that other replicas have learned.
    ///
    /// # Errors
    /// The backend fails.
    pub async fn merge_tiers(&self, backend: &dyn Backend) -> Result<(), AppError> {
        let Some(document) = backend.document(&self.name).await? else { return Ok(()) };
        let mut tiers = locks::write(&self.tiers);
        tiers.merge(&document).map_err(|why| AppError::corrupt(&format!("tiers of {}: {why}", self.name)))
    }

    /// Writes the tiers that this replica has learned, beside those of the others.
    ///
    /// # Errors
    /// The backend fails; call this again.
    pub async fn save_tiers(&self, backend: &dyn Backend) -> Result<(), AppError> {
        let unsaved = || locks::write(&self.tiers).unsaved();
        if unsaved().is_none() {
            return Ok(());
        }
        let not_saved = || locks::write(&self.tiers).not_saved();
        let merged = self.merge_tiers(backend).await;
        not_saved();
        merged?;
        let Some(document) = unsaved() else { return Ok(()) };
        backend.put_document(&self.name, document).await.inspect_err(|_| not_saved())?;
        Ok(())
    }

    /// Reads what other replicas have changed.
    ///
    /// # Errors
    /// The backend fails; the state stays as it was.
    pub async fn refresh(&self, backend: &dyn Backend) -> Result<(), AppError> {
        let asked = Instant::now();
        let _alone = self.refreshing.lock().await;
        if self.refreshed().is_some_and(|refreshed| refreshed > asked) {
            return Ok(());
        }
        let began = Instant::now();
        let is_first = self.refreshed().is_none();
        if is_first {
            self.merge_tiers(backend).await?;
        }
        let known = self.overrides().mark;
        if is_first || backend.revision(&self.name).await? != known.revision {
            let snapshot = backend.snapshot(&self.name, known).await?;
            let tiers = locks::read(&self.tiers);
            let mut overrides = locks::write(&self.overrides);
            *overrides = Arc::new(overrides.with(snapshot, &self.ids, &tiers));
        }
        locks::lock(&self.times).refreshed = Some(began);
        Ok(())
    }

    fn refreshed(&self) -> Option<Instant> {
        locks::lock(&self.times).refreshed
    }

    fn used(&self) -> Instant {
        locks::lock(&self.times).used
    }

    /// Removes overrides that have ended, so that every node is told. Another replica may do the same, or an admin may
    /// write a new override. Each is removed only once, and only if it is the one that was seen here.
    ///
    /// # Errors
    /// The backend fails; call this again.
    pub async fn remove_ended_overrides(
        &self,
        backend: &dyn Backend,
        now: UnixMicros,
    ) -> Result<(), AppError> {
        let overrides = self.overrides();
        let over = overrides.ended(now);
        if over.is_empty() {
            return Ok(());
        }
        for (consumer, revision) in over {
            let (line, before_at) = super::admin::audit::expired(consumer, now);
            let condition = Condition::IsOf(revision);
            let change =
                OverrideChange { line, before_at: Some(before_at), condition, ..OverrideChange::default() };
            backend.change_override(&self.name, consumer, change).await?;
        }
        self.refresh(backend).await
    }
}

/// The namespaces in memory.
#[derive(Default)]
pub struct Namespaces {
    by_name: RwLock<HashMap<String, Arc<NamespaceState>>>,
    configured: RwLock<HashMap<String, Arc<Offered>>>,
}

impl Namespaces {
    /// The namespace called `name`, up to date.
    ///
    /// # Errors
    /// The backend fails and nothing is known of the namespace yet.
    pub async fn get(&self, name: &str, backend: &dyn Backend) -> Result<Arc<NamespaceState>, AppError> {
        let state = self.get_or_new(name);
        locks::lock(&state.times).used = Instant::now();
        let refreshed = state.refreshed();
        if refreshed.is_none_or(|refreshed| refreshed.elapsed() >= STALE)
            && let Err(why) = state.refresh(backend).await
        {
            if refreshed.is_none() {
                return Err(why);
            }
            debug!(namespace = name, "overrides may be out of date, because the backend could not be read");
        }
        Ok(state)
    }

    /// Replaces the operator's policies, which are keyed by namespace.
    pub fn configure(&self, policies: HashMap<String, Arc<Offered>>) {
        // The lock keeps calls from adding a namespace meanwhile, which would miss the new policies.
        let by_name = locks::write(&self.by_name);
        let mut configured = locks::write(&self.configured);
        *configured = policies;
        for (name, state) in by_name.iter() {
            state.configure(configured.get(name).cloned().unwrap_or_default());
        }
    }

    /// The namespaces that were used recently.
    #[must_use]
    pub fn in_use(&self) -> Vec<Arc<NamespaceState>> {
        let by_name = locks::read(&self.by_name);
        by_name.values().filter(|state| state.used().elapsed() < IN_USE).cloned().collect()
    }

    fn get_or_new(&self, name: &str) -> Arc<NamespaceState> {
        if let Some(state) = locks::read(&self.by_name).get(name) {
            return Arc::clone(state);
        }
        let mut by_name = locks::write(&self.by_name);
        if by_name.len() >= MAX_NAMESPACES {
            let oldest = by_name.values().min_by_key(|state| state.used()).map(|state| state.name.clone());
            oldest.map(|name| by_name.remove(&name));
        }
        let new = || {
            let state = NamespaceState::new(name);
            let configured = locks::read(&self.configured);
            if let Some(policy) = configured.get(name) {
                state.configure(Arc::clone(policy));
            }
            Arc::new(state)
        };
        Arc::clone(by_name.entry(name.to_owned()).or_insert_with(new))
    }
}
