//! Clients that send requests by a timetable and log their outcomes.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tollgate_testkit::http::{Client, Request};
use tollgate_testkit::wait;

/// Connections of one consumer to each gateway: a request that waits must not hold up the others.
const HANDS: usize = 6;

/// One request in this many uses a new connection, and so reaches another worker and a new policy.
const ANEW: usize = 8;

/// A consumer, as the gateways' authentication would describe it.
#[derive(Clone, Debug)]
pub struct Consumer {
    pub name: String,
    pub tier: &'static str,
}

impl Consumer {
    pub fn new(name: &str, tier: &'static str) -> Self {
        Self { name: name.into(), tier }
    }

    /// The consumer's request.
    pub fn asks(&self, target: &str) -> Request {
        Request::get(target).header("x-consumer-username", &self.name).header("x-consumer-groups", self.tier)
    }
}

/// When and where a request is sent.
#[derive(Clone, Debug)]
pub struct Turn {
    pub at: Duration,
    pub gateway: usize,
    pub consumer: Consumer,
}

/// The outcome of one request. Times count from the beginning of the load.
#[derive(Clone, Copy, Debug)]
pub struct Shot {
    pub gateway: usize,
    pub sent: Duration,
    pub received: Duration,
    /// The status; 0 if there was no answer.
    pub status: u16,
}

impl Shot {
    pub fn took(&self) -> Duration {
        self.received - self.sent
    }
}

/// The gateways that the load goes to.
#[derive(Clone, Debug)]
pub struct Load {
    pub gateways: Vec<SocketAddr>,
    pub began: Instant,
}

impl Load {
    pub fn on(gateways: Vec<SocketAddr>) -> Self {
        Self { gateways, began: Instant::now() }
    }

    /// Sends what `timetable` says for 0, 1, 2 … until it says nothing more. A turn whose time has passed is taken at once: a
    /// slow machine makes the load denser, not smaller.
    pub fn run(&self, timetable: impl Fn(usize) -> Option<Turn> + Sync) -> Log {
        let next = AtomicUsize::new(0);
        let shots = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..HANDS {
                scope.spawn(|| self.work(&next, &timetable, &shots));
            }
        });
        Log { shots: shots.into_inner().unwrap() }
    }

    fn work(&self, next: &AtomicUsize, timetable: impl Fn(usize) -> Option<Turn>, shots: &Mutex<Vec<Shot>>) {
        let mut clients: Vec<Client> = self.gateways.iter().map(|at| Client::to(*at)).collect();
        let mut own = Vec::new();
        for number in 1.. {
            let Some(turn) = timetable(next.fetch_add(1, Ordering::Relaxed)) else { break };
            // The pace is what the client offers; nothing is waited for.
            wait::pass(turn.at.saturating_sub(self.began.elapsed()));
            if number % ANEW == 0 {
                clients[turn.gateway] = Client::to(self.gateways[turn.gateway]);
            }
            let sent = self.began.elapsed();
            let status = clients[turn.gateway]
                .send(&turn.consumer.asks("/identify"))
                .map_or(0, |answer| answer.status);
            own.push(Shot { gateway: turn.gateway, sent, received: self.began.elapsed(), status });
        }
        shots.lock().unwrap().append(&mut own);
    }
}

/// The outcomes of all requests.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub shots: Vec<Shot>,
}

impl Log {
    /// The requests that were let through, whose cost is 1 each.
    pub fn admitted(&self) -> Self {
        self.only(|shot| shot.status == 200)
    }

    /// The requests that went to one gateway.
    pub fn at(&self, gateway: usize) -> Self {
        self.only(|shot| shot.gateway == gateway)
    }

    /// The requests that were sent and answered within a time.
    pub fn within(&self, from: Duration, to: Duration) -> Self {
        self.only(|shot| shot.sent >= from && shot.received <= to)
    }

    pub fn only(&self, which: impl Fn(&Shot) -> bool) -> Self {
        Self { shots: self.shots.iter().copied().filter(which).collect() }
    }

    pub fn count(&self) -> usize {
        self.shots.len()
    }

    /// The time within which nine of ten requests were answered.
    ///
    /// # Panics
    /// If there are none.
    pub fn p90(&self) -> Duration {
        let mut times: Vec<Duration> = self.shots.iter().map(Shot::took).collect();
        times.sort_unstable();
        times[times.len() * 9 / 10]
    }

    /// Checks that every request was answered, and by nothing but a decision.
    ///
    /// # Panics
    /// If one was not.
    pub fn assert_decided(&self) {
        let wrong = self.only(|shot| !matches!(shot.status, 200 | 429));
        assert!(wrong.shots.is_empty(), "{} of {}: {:?}", wrong.count(), self.count(), wrong.shots);
    }
}

/// Ends a load, even when a check fails.
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
