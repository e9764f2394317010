//! Who is connected, and who has to go where there is no room: whoever has said nothing yet that the store acts upon.
//!
//! Places are few, and to connect costs nothing. A connection is worth its place once a request on it had a token; until
//! then it makes room for the next, the oldest first, and those first that no request is worked on for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::app::access::Caller;
use crate::locks;

/// Places for connections.
pub(super) struct Room {
    places: Arc<Semaphore>,
    unidentified: Arc<Unidentified>,
}

/// Connections without a token, by the order in which they came. Those that have shown one since go at the next search.
type Unidentified = Mutex<(u64, BTreeMap<u64, Arc<Peer>>)>;

/// One connection.
#[derive(Default)]
pub(super) struct Peer {
    /// What the app sees of it.
    pub caller: Arc<Caller>,
    /// Whether a request of it is worked on.
    pub is_busy: AtomicBool,
    is_to_go: Notify,
}

/// A place that is taken, until this is dropped.
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

    /// A place, as soon as there is one. None: this semaphore is never closed.
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

    /// Has one connection closed that has shown no token, if there is one.
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
    /// Waits until its place is needed for another.
    pub async fn is_to_go(&self) {
        self.is_to_go.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locks::lock(&self.unidentified).1.remove(&self.number);
    }
}
