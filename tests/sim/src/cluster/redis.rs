//! What the replicas share: the product's own memory backend, behind a Redis that can be away, slow, or fail over without its
//! newest writes.

mod customers;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use tollgate_core::client::ClientId;
use tollgate_core::units::{Cost, UnixMicros, UnixNanos};
use tollgate_store::accounts::Hold;
use tollgate_store::backend::memory::Memory;
use tollgate_store::backend::{
    AccountEntry, AccountStore, AppliedBatch, Backend, BackendError, Changed, DayStore, Days, DaysUsed, Mark,
    NamespaceSnapshot, NamespaceStore, OverrideChange, ReservationKey, ReservationStore, Reserved, Settled,
    Usage,
};

use super::lock;
use crate::plan::MILLISECOND;
use crate::time::TrueTime;

/// How long a command may take before the store gives it up.
const COMMAND_TIMEOUT: u64 = 500 * MILLISECOND;

/// See the [module](self).
#[derive(Clone)]
pub struct Redis(Arc<Server>);

/// The server, or the replica that has taken over.
struct Server {
    /// The true time.
    now: AtomicU64,
    /// The difference of its clock and the true time.
    offset: AtomicI64,
    state: Mutex<State>,
}

struct State {
    primary: Copy,
    /// The replicas that will take over, one after the other. They have all writes up to the journal's beginning.
    spares: VecDeque<Copy>,
    journal: VecDeque<(TrueTime, UnixMicros, Write)>,
    delay: u64,
    slow: (TrueTime, u64),
    away: (TrueTime, bool),
    alarms: Vec<(TrueTime, Waker)>,
}

/// The data of one server.
#[derive(Clone)]
struct Copy {
    memory: Arc<Memory>,
    micros: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Write {
    Apply(String, Vec<AccountEntry>),
    Reserve(String, ReservationKey, Vec<u8>, Hold),
    Settle(String, ReservationKey, Cost),
    Reset(String, ClientId, bool, bool, Vec<u8>),
    Override(String, String, OverrideChange),
    Document(String, Vec<u8>),
}

impl Copy {
    fn new() -> Self {
        let micros = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&micros);
        Self { memory: Arc::new(Memory::new(Arc::new(move || UnixMicros(clock.load(Relaxed))))), micros }
    }

    /// Sets the clock that the memory backend reads.
    fn set(&self, micros: UnixMicros) {
        self.micros.store(micros.0, Relaxed);
    }

    /// Repeats a write that another server did at `micros`.
    fn replay(&self, micros: UnixMicros, write: Write) {
        self.set(micros);
        let memory = &self.memory;
        // The memory backend does everything at the first poll.
        let is_done = match write {
            Write::Apply(namespace, entries) => memory.apply(&namespace, entries).now_or_never().is_some(),
            Write::Reserve(namespace, key, name, hold) => {
                memory.reserve(&namespace, key, name, hold).now_or_never().is_some()
            }
            Write::Settle(namespace, key, cost) => {
                memory.settle(&namespace, key, cost).now_or_never().is_some()
            }
            Write::Reset(namespace, client, bucket, month, audit) => {
                memory.reset(&namespace, client, bucket, month, audit).now_or_never().is_some()
            }
            Write::Override(namespace, consumer, change) => {
                memory.change_override(&namespace, &consumer, change).now_or_never().is_some()
            }
            Write::Document(namespace, document) => {
                memory.put_document(&namespace, document).now_or_never().is_some()
            }
        };
        assert!(is_done, "the memory backend waits for nothing");
    }
}

impl Redis {
    /// A server with `spares` replicas. Each call takes `delay`.
    #[must_use]
    pub fn new(delay: u64, spares: usize) -> Self {
        let state = State {
            primary: Copy::new(),
            spares: (0..spares).map(|_| Copy::new()).collect(),
            journal: VecDeque::new(),
            delay,
            slow: (TrueTime::default(), 0),
            away: (TrueTime::default(), false),
            alarms: Vec::new(),
        };
        Self(Arc::new(Server { now: AtomicU64::new(0), offset: AtomicI64::new(0), state: Mutex::new(state) }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Sets the true time.
    pub fn set_now(&self, now: TrueTime) {
        self.0.now.store(now.nanos(), Relaxed);
    }

    fn now(&self) -> TrueTime {
        TrueTime::from_nanos(self.0.now.load(Relaxed))
    }

    /// What its clock shows at the true time `now`.
    #[must_use]
    pub fn clock(&self, now: TrueTime) -> UnixNanos {
        now.shown_by(self.0.offset.load(Relaxed))
    }

    /// Sets its clock.
    pub fn set_clock(&self, by: i64) {
        self.0.offset.fetch_add(by, Relaxed);
    }

    /// Lets it not answer until then. Calls hang, or else are refused.
    pub fn go_away(&self, until: TrueTime, hangs: bool) {
        self.state().away = (until, hangs);
    }

    /// Lets calls take `delay` until then.
    pub fn slow_down(&self, until: TrueTime, delay: u64) {
        self.state().slow = (until, delay);
    }

    /// A replica takes over that has no writes newer than `lag`, and whose clock differs by `skew` from the old server's.
    /// Returns whether there was one.
    pub fn fail_over(&self, lag: u64, skew: i64) -> bool {
        let now = self.now();
        let mut state = self.state();
        while let Some((at, micros, write)) = state.journal.pop_front() {
            if at + lag > now {
                break;
            }
            for spare in &state.spares {
                spare.replay(micros, write.clone());
            }
        }
        let Some(next) = state.spares.pop_front() else { return false };
        state.journal.clear();
        state.primary = next;
        self.0.offset.fetch_add(skew, Relaxed);
        true
    }

    /// Takes the wakers that were set, with their moments.
    #[must_use]
    pub fn take_alarms(&self) -> Vec<(TrueTime, Waker)> {
        std::mem::take(&mut self.state().alarms)
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.away, state.slow) = ((TrueTime::default(), false), (TrueTime::default(), 0));
    }

    /// One half of a call's way, there or back.
    async fn half_trip(&self) -> Result<(), BackendError> {
        let (wait, is_away) = {
            let (now, state) = (self.now(), self.state());
            let delay = if now < state.slow.0 { state.slow.1 } else { state.delay };
            match state.away {
                (until, true) if now < until => (COMMAND_TIMEOUT, true),
                (until, false) if now < until => (MILLISECOND, true),
                _ => (delay / 2, false),
            }
        };
        if wait > 0 {
            Pause { server: self, until: self.now() + wait }.await;
        }
        if is_away { Err(BackendError::Away("it was made to be".into())) } else { Ok(()) }
    }

    /// The primary for a write, with its clock set. `write` goes to the journal.
    fn primary(&self, write: impl FnOnce() -> Write) -> Copy {
        let now = self.now();
        let micros = self.clock(now).micros();
        let mut state = self.state();
        state.primary.set(micros);
        if !state.spares.is_empty() {
            state.journal.push_back((now, micros, write()));
        }
        state.primary.clone()
    }

    fn reader(&self) -> Copy {
        let state = self.state();
        state.primary.set(self.clock(self.now()).micros());
        state.primary.clone()
    }
}

/// Waits until the simulator wakes it.
struct Pause<'a> {
    server: &'a Redis,
    until: TrueTime,
}

impl Future for Pause<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.server.now() >= self.until {
            return Poll::Ready(());
        }
        self.server.state().alarms.push((self.until, context.waker().clone()));
        Poll::Pending
    }
}

#[async_trait]
impl Backend for Redis {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    async fn now(&self) -> Result<UnixMicros, BackendError> {
        self.half_trip().await?;
        let now = self.reader().memory.now().await?;
        self.half_trip().await?;
        Ok(now)
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.half_trip().await?;
        self.half_trip().await
    }
}

#[async_trait]
impl AccountStore for Redis {
    async fn apply(&self, namespace: &str, entries: Vec<AccountEntry>) -> Result<AppliedBatch, BackendError> {
        self.half_trip().await?;
        let primary = self.primary(|| Write::Apply(namespace.to_owned(), entries.clone()));
        let applied = primary.memory.apply(namespace, entries).await?;
        self.half_trip().await?;
        Ok(applied)
    }

    async fn usage(
        &self,
        namespace: &str,
        client: ClientId,
        month: u16,
    ) -> Result<Option<Usage>, BackendError> {
        self.half_trip().await?;
        let usage = self.reader().memory.usage(namespace, client, month).await?;
        self.half_trip().await?;
        Ok(usage)
    }

    fn usages(&self, namespace: &str, month: u16) -> BoxStream<'static, Result<Usage, BackendError>> {
        self.reader().memory.usages(namespace, month)
    }
}

#[async_trait]
impl DayStore for Redis {
    async fn days_used(
        &self,
        namespace: &str,
        client: ClientId,
        days: Days,
    ) -> Result<Option<DaysUsed>, BackendError> {
        self.half_trip().await?;
        let used = self.reader().memory.days_used(namespace, client, days).await?;
        self.half_trip().await?;
        Ok(used)
    }

    fn all_days_used(
        &self,
        namespace: &str,
        days: Days,
    ) -> BoxStream<'static, Result<DaysUsed, BackendError>> {
        self.reader().memory.all_days_used(namespace, days)
    }
}

#[async_trait]
impl ReservationStore for Redis {
    async fn reserve(
        &self,
        namespace: &str,
        key: ReservationKey,
        name: Vec<u8>,
        hold: Hold,
    ) -> Result<Reserved, BackendError> {
        self.half_trip().await?;
        let write = || Write::Reserve(namespace.to_owned(), key, name.clone(), hold.clone());
        let primary = self.primary(write);
        let reserved = primary.memory.reserve(namespace, key, name, hold).await?;
        self.half_trip().await?;
        Ok(reserved)
    }

    async fn settle(
        &self,
        namespace: &str,
        key: ReservationKey,
        cost: Cost,
    ) -> Result<Settled, BackendError> {
        self.half_trip().await?;
        let primary = self.primary(|| Write::Settle(namespace.to_owned(), key, cost));
        let settled = primary.memory.settle(namespace, key, cost).await?;
        self.half_trip().await?;
        Ok(settled)
    }
}

#[async_trait]
impl NamespaceStore for Redis {
    async fn reset(
        &self,
        namespace: &str,
        client: ClientId,
        bucket: bool,
        month: bool,
        audit: Vec<u8>,
    ) -> Result<u64, BackendError> {
        self.half_trip().await?;
        let primary =
            self.primary(|| Write::Reset(namespace.to_owned(), client, bucket, month, audit.clone()));
        let revision = primary.memory.reset(namespace, client, bucket, month, audit).await?;
        self.half_trip().await?;
        Ok(revision)
    }

    async fn change_override(
        &self,
        namespace: &str,
        consumer: &str,
        change: OverrideChange,
    ) -> Result<Changed, BackendError> {
        self.half_trip().await?;
        let write = || Write::Override(namespace.to_owned(), consumer.to_owned(), change.clone());
        let primary = self.primary(write);
        let changed = primary.memory.change_override(namespace, consumer, change).await?;
        self.half_trip().await?;
        Ok(changed)
    }

    async fn revision(&self, namespace: &str) -> Result<u64, BackendError> {
        self.half_trip().await?;
        let revision = self.reader().memory.revision(namespace).await?;
        self.half_trip().await?;
        Ok(revision)
    }

    async fn snapshot(&self, namespace: &str, after: Mark) -> Result<NamespaceSnapshot, BackendError> {
        self.half_trip().await?;
        let snapshot = self.reader().memory.snapshot(namespace, after).await?;
        self.half_trip().await?;
        Ok(snapshot)
    }

    async fn audit(
        &self,
        namespace: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        self.half_trip().await?;
        self.reader().memory.audit(namespace, before, limit).await
    }

    async fn document(&self, namespace: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.half_trip().await?;
        let document = self.reader().memory.document(namespace).await?;
        self.half_trip().await?;
        Ok(document)
    }

    async fn put_document(&self, namespace: &str, document: Vec<u8>) -> Result<(), BackendError> {
        self.half_trip().await?;
        let primary = self.primary(|| Write::Document(namespace.to_owned(), document.clone()));
        primary.memory.put_document(namespace, document).await?;
        self.half_trip().await
    }

    async fn namespaces(&self) -> Result<Vec<String>, BackendError> {
        self.half_trip().await?;
        self.reader().memory.namespaces().await
    }
}
