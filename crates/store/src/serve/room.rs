//! Which connections there are, and which of them is closed if there are too many.
//!
//! Places are few, and connecting costs a client nothing. A connection keeps its place once a request on it had a
//! token. Until then it makes room for new ones: the oldest goes first, and idle ones go before those with a running
//! request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::app::access::Caller;
use crate::locks;

/// The places for connections.
pub(super) struct Room {
    places: Arc<Semaphore>,
    unidentified: Arc<Unidentified>,
}

/// The connections without a token, by the order in which they came. Those that have shown one since are dropped at the
/// next search.
type Unidentified = Mutex<(u64, BTreeMap<u64, Arc<Peer>>)>;

/// One connection.
#[derive(Default)]
pub(super) struct Peer {
    /// What the app knows about it.
    pub caller: Arc<Caller>,
    /// Whether a request on it is being answered.
    pub is_busy: AtomicBool,
    is_to_go: Notify,
}

/// A place that is taken until this is dropped.
pub(super) struct Place {
    pub peer: Arc<Peer>,
    number: u64,
    unidentified: Arc<Unidentified>,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    pub fn new(most: usize) -> Self {
        let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { places, unidentified: Arc::default() }
    }

    /// A place, as soon as there is one. It is never `None`, because the semaphore is never closed.
    pub async fn enter(&self) -> Option<Place> {
        if self.places.available_permits() == 0 {
            self.evict_one();
        }
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let peer = Arc::new(Peer::default());
        let mut unidentified = locks::lock(&self.unidentified);
        let (last, all) = &mut *unidentified;
        *last = last.saturating_add(1);
        let number = *last;
        all.insert(number, Arc::clone(&peer));
        drop(unidentified);
        Some(Place { peer, number, unidentified: Arc::clone(&self.unidentified), _permit: permit })
    }

    /// Closes one connection that has shown no token, if there is one.
    pub fn evict_one(&self) {
        let mut unidentified = locks::lock(&self.unidentified);
        let (_, all) = &mut *unidentified;
        all.retain(|_, peer| !peer.caller.is_known());
        let idle = all.iter().find(|(_, peer)| !peer.is_busy.load(Ordering::Relaxed));
        let Some(number) = idle.or_else(|| all.iter().next()).map(|(number, _)| *number) else { return };
        if let Some(peer) = all.remove(&number) {
            peer.is_to_go.notify_one();
        }
    }
}

impl Peer {
    /// Waits until the place is needed for another connection.
    pub async fn is_to_go(&self) {
        self.is_to_go.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locks::lock(&self.unidentified).1.remove(&self.number);
    }
}
