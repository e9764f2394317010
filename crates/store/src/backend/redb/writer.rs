//! The one thread that writes: all queued calls go into one transaction.
//!
//! It also reopens the file after an error of its disk. Until then every call fails at once, with the reason.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tollgate_core::units::UnixMicros;

use redb::WriteTransaction;
use tokio::sync::oneshot;

use super::file::File;
use super::sweep::Sweep;
use super::table;
use crate::backend::BackendError;
use crate::backend::clock::Clock;

/// The most calls of one transaction. Later ones wait for the next.
const GROUP: usize = 256;

/// How often old accounts are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The shortest pause between two attempts to open the file. An attempt reads the whole file, so the pause is also at
/// least as long as the last one took.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// The queue of the thread. Dropping it waits for the thread, so that the file can be opened again.
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
    pub fn start(file: Arc<File>, clock: Clock) -> Result<Self, BackendError> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("redb-writer".into())
            .spawn(move || run(&file, &queue, &clock))
            .map_err(|error| BackendError::Away(format!("cannot start its thread: {error}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Makes `change` in a transaction, at the clock's time, and waits until it is on the disk. It may be called a
    /// second time, in another transaction, if a neighbour's error has spoiled the first.
    pub async fn change<T, F>(&self, change: F) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: Fn(&WriteTransaction, UnixMicros) -> Result<T, BackendError> + Send + 'static,
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
    /// Makes the change. If it fails, the transaction holds half of it.
    fn make(&mut self, transaction: &WriteTransaction, now: UnixMicros) -> Result<(), BackendError>;
    /// Answers the caller: with the result, or why the transaction failed.
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
    F: Fn(&WriteTransaction, UnixMicros) -> Result<T, BackendError> + Send,
{
    fn make(&mut self, transaction: &WriteTransaction, now: UnixMicros) -> Result<(), BackendError> {
        self.made.insert((self.change)(transaction, now)).as_ref().map(|_| ()).map_err(again)
    }

    fn answer(self: Box<Self>, committed: Result<(), BackendError>) {
        let result = match (committed, self.made) {
            (Ok(()), Some(made)) => made,
            (Ok(()), None) => Err(BackendError::Away("the change was not made".into())),
            (Err(error), _) => Err(error),
        };
        // The caller may have gone; the change stands.
        let _ = self.answer.send(result);
    }
}

fn run(file: &File, queue: &Receiver<Box<dyn Job>>, clock: &Clock) {
    let mut sweep = Sweep::default();
    let mut next_sweep = Instant::now();
    // When to open the file again, if it is closed.
    let mut next_open: Option<Instant> = None;
    loop {
        let next = next_open.unwrap_or(next_sweep);
        match queue.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(first) => {
                let rest = queue.try_iter().take(GROUP);
                let group: Vec<_> = std::iter::once(first).chain(rest).collect();
                sweep.expect(group.len());
                let committed = commit(file, group, clock());
                if next_open.is_none() {
                    next_open = close_after(file, committed);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if next_open.is_some_and(|next| Instant::now() >= next) {
            next_open = open_again(file);
        }
        if next_open.is_none() && Instant::now() >= next_sweep {
            next_open = close_after(file, sweep.step(file, clock()));
            next_sweep = in_a(SWEEP_EVERY);
        }
    }
}

/// Closes the file if it caused the write's failure. The result is when to open it again.
fn close_after(file: &File, written: Result<(), BackendError>) -> Option<Instant> {
    let why = match written {
        Ok(()) => return None,
        Err(BackendError::Away(why)) => why,
        Err(error @ BackendError::Corrupt(_)) => {
            tracing::error!("the file could not be written: {error}");
            return None;
        }
    };
    tracing::debug!(why, "the file is closed and will be reopened");
    file.close(&why);
    Some(in_a(OPEN_AGAIN_AFTER))
}

/// Tries to open the file again. If that fails, the result is when to try once more.
fn open_again(file: &File) -> Option<Instant> {
    let began = Instant::now();
    let (BackendError::Away(why) | BackendError::Corrupt(why)) = file.open_again().err()?;
    tracing::debug!(why, "the file cannot be reopened yet");
    file.close(&why);
    Some(in_a(began.elapsed().max(OPEN_AGAIN_AFTER)))
}

fn in_a(while_: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(while_).unwrap_or(now)
}

/// Makes all of `group` in one transaction. A change that fails is answered at once, and the others start again without
/// it. The error is why the file could not be written.
fn commit(file: &File, mut group: Vec<Box<dyn Job>>, now: UnixMicros) -> Result<(), BackendError> {
    let mut cause = None;
    loop {
        let transaction = match file.write() {
            Ok(transaction) => transaction,
            Err(error) => {
                // After an error of the disk, redb only says that there was one.
                let error = cause.unwrap_or(error);
                answer(group, &Err(again(&error)));
                return Err(error);
            }
        };
        let mut made = group.iter_mut().enumerate();
        let failed = made.find_map(|(place, job)| Some((place, job.make(&transaction, now).err()?)));
        let Some((place, error)) = failed else {
            let committed = transaction.commit().map_err(table::failed);
            answer(group, &committed);
            return committed;
        };
        drop(transaction);
        group.remove(place).answer(Ok(()));
        cause = Some(error);
    }
}

fn answer(group: Vec<Box<dyn Job>>, committed: &Result<(), BackendError>) {
    for job in group {
        job.answer(committed.as_ref().copied().map_err(again));
    }
}

/// The same error for another caller.
fn again(error: &BackendError) -> BackendError {
    match error {
        BackendError::Corrupt(what) => BackendError::Corrupt(what.clone()),
        BackendError::Away(why) => BackendError::Away(why.clone()),
    }
}
