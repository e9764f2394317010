//! The one thread that writes: whatever has queued up goes into one transaction.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, Durability, WriteTransaction};
use tokio::sync::oneshot;

use super::sweep::Sweep;
use super::{Clock, table};
use crate::backend::BackendError;

/// The most calls that go into one transaction: later ones wait for the next.
const GROUP: usize = 256;

/// How often old accounts are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Where changes go. Dropping it waits for the thread to end, so that the file can be opened again.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("the thread that writes has panicked");
        }
    }
}

impl Writer {
    pub fn start(database: Arc<Database>, clock: Clock) -> Result<Self, BackendError> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("redb-writer".into())
            .spawn(move || run(&database, &queue, &clock))
            .map_err(|error| BackendError::Away(format!("cannot start its thread: {error}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Makes `change` in a transaction, at the clock's time, and waits until it is on the disk. It may be called again,
    /// in another transaction, when the first could not be used because of a neighbour's error.
    pub async fn change<T, F>(&self, change: F) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: Fn(&WriteTransaction, u64) -> Result<T, BackendError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Change { change, made: None, answer };
        let ended = |_| BackendError::Away("its writer has ended; start the store again".into());
        let jobs = self.jobs.as_ref().ok_or_else(|| ended(()))?;
        jobs.send(Box::new(job)).map_err(|_| ended(()))?;
        answered.await.map_err(|_| ended(()))?
    }
}

/// A queued change.
trait Job: Send {
    /// Makes it; false: it failed, and the transaction holds half of it.
    fn make(&mut self, transaction: &WriteTransaction, now: u64) -> bool;
    /// Tells whoever waits: what it came to, or why the transaction failed.
    fn answer(self: Box<Self>, committed: Result<(), BackendError>);
}

struct Change<T, F> {
    change: F,
    made: Option<Result<T, BackendError>>,
    answer: oneshot::Sender<Result<T, BackendError>>,
}

impl<T, F> Job for Change<T, F>
where
    T: Send,
    F: Fn(&WriteTransaction, u64) -> Result<T, BackendError> + Send,
{
    fn make(&mut self, transaction: &WriteTransaction, now: u64) -> bool {
        self.made.insert((self.change)(transaction, now)).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), BackendError>) {
        let result = match (committed, self.made) {
            (Ok(()), Some(made)) => made,
            (Ok(()), None) => Err(BackendError::Away("it was not made".into())),
            (Err(error), _) => Err(error),
        };
        // Whoever asked may have gone away; the change stands.
        let _ = self.answer.send(result);
    }
}

fn run(database: &Database, queue: &Receiver<Box<dyn Job>>, clock: &Clock) {
    let mut sweep = Sweep::default();
    let mut next_sweep = Instant::now();
    loop {
        match queue.recv_timeout(next_sweep.saturating_duration_since(Instant::now())) {
            Ok(first) => {
                let rest = queue.try_iter().take(GROUP);
                let group: Vec<_> = std::iter::once(first).chain(rest).collect();
                sweep.expect(group.len());
                commit(database, group, clock());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_sweep {
            if let Err(error) = sweep.step(database, clock()) {
                tracing::warn!("old accounts stay for now: {error}");
            }
            next_sweep = Instant::now().checked_add(SWEEP_EVERY).unwrap_or(next_sweep);
        }
    }
}

/// Makes all of `group` in one transaction. One that fails is answered at once, and the others start again without it.
fn commit(database: &Database, mut group: Vec<Box<dyn Job>>, now: u64) {
    loop {
        let transaction = match begin(database) {
            Ok(transaction) => transaction,
            Err(error) => return answer(group, Err(error)),
        };
        let Some(failed) = group.iter_mut().position(|job| !job.make(&transaction, now)) else {
            let committed = transaction.commit().map_err(table::failed);
            return answer(group, committed);
        };
        drop(transaction);
        group.remove(failed).answer(Ok(()));
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, BackendError> {
    let mut transaction = database.begin_write().map_err(table::failed)?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(|error| BackendError::Away(error.to_string()))?;
    Ok(transaction)
}

fn answer(group: Vec<Box<dyn Job>>, committed: Result<(), BackendError>) {
    for job in group {
        job.answer(match &committed {
            Ok(()) => Ok(()),
            Err(BackendError::Corrupt(what)) => Err(BackendError::Corrupt(what.clone())),
            Err(BackendError::Away(why)) => Err(BackendError::Away(why.clone())),
        });
    }
}
