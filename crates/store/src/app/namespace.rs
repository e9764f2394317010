//! One namespace as this replica knows it, and how it keeps up with the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
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

/// Namespaces that a replica keeps in memory; beyond, the one that was used the longest ago goes.
const MAX_SPACES: usize = 1_024;

/// What is known may be so old before a call looks for itself. A namespace in use is looked at more often than that.
const STALE: Duration = Duration::from_secs(1);

/// A namespace is in use for so long after the last call.
const IN_USE: Duration = Duration::from_secs(60);

/// See the [module](self).
pub struct NamespaceState {
    /// Its name.
    pub name: String,
    ids: Namespace,
    /// The operator's policy for it; without one the default, which has no tiers.
    configured: RwLock<Arc<Offered>>,
    tiers: RwLock<Tiers>,
    board: RwLock<Arc<OverrideIndex>>,
    times: Mutex<Times>,
    /// One look at the backend at a time; who has waited for one needs no other.
    looking: tokio::sync::Mutex<()>,
}

struct Times {
    used: Instant,
    /// When the board was last seen to be the backend's.
    looked: Option<Instant>,
}

impl NamespaceState {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ids: Namespace::new(name),
            configured: RwLock::default(),
            tiers: RwLock::default(),
            board: RwLock::default(),
            times: Mutex::new(Times { used: Instant::now(), looked: None }),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// Whether `stored` is what a gateway tells as the name of `client`.
    #[must_use]
    pub fn is_name(&self, stored: &[u8], client: ClientId) -> bool {
        name::is_of(stored, client, &self.ids)
    }

    /// The overrides and resets.
    #[must_use]
    pub fn board(&self) -> Arc<OverrideIndex> {
        Arc::clone(&self.board.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the tiers.
    pub fn tiers<T>(&self, read: impl FnOnce(&Tiers) -> T) -> T {
        read(&self.tiers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers what gateways and applications tell of tiers.
    pub fn learn(&self, tiers: &[&Arc<CompiledTier>]) {
        if !self.tiers(|known| tiers.iter().any(|tier| known.is_news(tier))) {
            return;
        }
        let mut known = self.tiers.write().unwrap_or_else(PoisonError::into_inner);
        tiers.iter().for_each(|tier| known.learn(tier));
        let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
        if tiers.iter().any(|tier| board.has_of(&tier.name)) {
            *board = Arc::new(board.in_terms_of(&known));
        }
    }

    /// The operator's policy.
    #[must_use]
    pub fn configured(&self) -> Arc<Offered> {
        Arc::clone(&self.configured.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes `policy` for the operator's.
    fn configure(&self, policy: Arc<Offered>) {
        let mut tiers = self.tiers.write().unwrap_or_else(PoisonError::into_inner);
        tiers.fix(&policy.tiers);
        let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
        *board = Arc::new(board.in_terms_of(&tiers));
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Takes in what other replicas have learned of tiers.
    ///
    /// # Errors
    /// The backend's.
    pub async fn take_in_tiers(&self, backend: &dyn Backend) -> Result<(), AppError> {
        let Some(document) = backend.document(&self.name).await? else { return Ok(()) };
        let mut tiers = self.tiers.write().unwrap_or_else(PoisonError::into_inner);
        tiers.take_in(&document).map_err(|why| AppError::corrupt(&format!("tiers of {}: {why}", self.name)))
    }

    /// Writes what this replica has learned of tiers, beside what others have.
    ///
    /// # Errors
    /// The backend's; it is to be tried again.
    pub async fn save_tiers(&self, backend: &dyn Backend) -> Result<(), AppError> {
        let unsaved = || self.tiers.write().unwrap_or_else(PoisonError::into_inner).unsaved();
        if unsaved().is_none() {
            return Ok(());
        }
        let not_saved = || self.tiers.write().unwrap_or_else(PoisonError::into_inner).not_saved();
        let merged = self.take_in_tiers(backend).await;
        not_saved();
        merged?;
        let Some(document) = unsaved() else { return Ok(()) };
        backend.put_document(&self.name, document).await.inspect_err(|_| not_saved())?;
        Ok(())
    }

    /// Looks for what other replicas have changed.
    ///
    /// # Errors
    /// The backend's; what is known stays.
    pub async fn look(&self, backend: &dyn Backend) -> Result<(), AppError> {
        let asked = Instant::now();
        let _alone = self.looking.lock().await;
        if self.looked().is_some_and(|looked| looked > asked) {
            return Ok(());
        }
        let began = Instant::now();
        let is_first = self.looked().is_none();
        if is_first {
            self.take_in_tiers(backend).await?;
        }
        let known = self.board().mark;
        if is_first || backend.revision(&self.name).await? != known.revision {
            let snapshot = backend.snapshot(&self.name, known).await?;
            let tiers = self.tiers.read().unwrap_or_else(PoisonError::into_inner);
            let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
            *board = Arc::new(board.with(snapshot, &self.ids, &tiers));
        }
        self.times.lock().unwrap_or_else(PoisonError::into_inner).looked = Some(began);
        Ok(())
    }

    fn looked(&self) -> Option<Instant> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).looked
    }

    fn used(&self) -> Instant {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).used
    }

    /// Removes overrides that are over, so that every node is told. Another replica may do the same, or an admin may write
    /// a new one: each is removed once, and only as it was seen here.
    ///
    /// # Errors
    /// The backend's; it is to be tried again.
    pub async fn remove_what_is_over(&self, backend: &dyn Backend, now: UnixMicros) -> Result<(), AppError> {
        let board = self.board();
        let over = board.over(now);
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
        self.look(backend).await
    }
}

/// The namespaces in memory.
#[derive(Default)]
pub struct Namespaces {
    spaces: RwLock<HashMap<String, Arc<NamespaceState>>>,
    configured: RwLock<HashMap<String, Arc<Offered>>>,
}

impl Namespaces {
    /// The namespace called `name`, up to date.
    ///
    /// # Errors
    /// The backend's, where nothing is known of it yet.
    pub async fn get(&self, name: &str, backend: &dyn Backend) -> Result<Arc<NamespaceState>, AppError> {
        let space = self.get_or_new(name);
        space.times.lock().unwrap_or_else(PoisonError::into_inner).used = Instant::now();
        let looked = space.looked();
        if looked.is_none_or(|looked| looked.elapsed() >= STALE)
            && let Err(why) = space.look(backend).await
        {
            if looked.is_none() {
                return Err(why);
            }
            debug!(namespace = name, "overrides may be out of date: the backend did not tell of changes");
        }
        Ok(space)
    }

    /// Takes `policies`, by namespace, for the operator's, and forgets those before.
    pub fn configure(&self, policies: HashMap<String, Arc<Offered>>) {
        // Nobody makes a namespace meanwhile, which would not hear of it.
        let spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        let mut configured = self.configured.write().unwrap_or_else(PoisonError::into_inner);
        *configured = policies;
        for (name, space) in spaces.iter() {
            space.configure(configured.get(name).cloned().unwrap_or_default());
        }
    }

    /// Those that were used not long ago.
    #[must_use]
    pub fn in_use(&self) -> Vec<Arc<NamespaceState>> {
        let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
        spaces.values().filter(|space| space.used().elapsed() < IN_USE).cloned().collect()
    }

    fn get_or_new(&self, name: &str) -> Arc<NamespaceState> {
        if let Some(space) = self.spaces.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(space);
        }
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        if spaces.len() >= MAX_SPACES {
            let oldest = spaces.values().min_by_key(|space| space.used()).map(|space| space.name.clone());
            oldest.map(|name| spaces.remove(&name));
        }
        let new = || {
            let space = NamespaceState::new(name);
            let configured = self.configured.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(policy) = configured.get(name) {
                space.configure(Arc::clone(policy));
            }
            Arc::new(space)
        };
        Arc::clone(spaces.entry(name.to_owned()).or_insert_with(new))
    }
}
