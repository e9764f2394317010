//! Replicas of the store: the product's own handlers. Their futures are polled by hand, and dropped halfway if the process is
//! killed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use serde_json::Value;
use tollgate_store::app::access::Tokens;
use tollgate_store::app::state::{Bounds, Store};
use tollgate_store::app::{app, leases};
use tower::ServiceExt;

use super::admin::Errand;
use super::{Cluster, Event, lock};
use crate::plan::{MILLISECOND, SECOND};

/// How often a replica reads what others have changed, as the product's `keep_up` does.
const REFRESH_EVERY: u64 = 300 * MILLISECOND;

/// The place of a replica, in which one process after the other may run.
#[derive(Default)]
pub struct Replica {
    process: RefCell<Option<Process>>,
    life: Cell<u32>,
    jobs: RefCell<BTreeMap<u64, Job>>,
}

struct Process {
    store: Arc<Store>,
    router: Router,
}

/// Something that a replica is doing.
struct Job {
    what: What,
    future: Pin<Box<dyn Future<Output = Done>>>,
    waker: Waker,
}

#[derive(Clone)]
enum What {
    Lease(u64),
    Refresh,
    Errand(Rc<Errand>),
}

enum Done {
    Reply(Option<Vec<u8>>),
    Nothing,
    Answer(u16, Value),
}

/// Jobs that were woken.
pub type Ready = Arc<Mutex<Vec<(usize, u64)>>>;

/// Wakes one job.
struct Bell {
    ready: Ready,
    replica: usize,
    job: u64,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).push((self.replica, self.job));
    }
}

impl Replica {
    /// Whether a process is running.
    pub fn is_up(&self) -> bool {
        self.process.borrow().is_some()
    }
}

impl Cluster {
    /// Starts a replica, if it is not up.
    pub fn start_replica(&self, number: usize) {
        let replica = &self.replicas[number];
        if replica.is_up() {
            return;
        }
        replica.life.set(replica.life.get() + 1);
        let bounds = Bounds::default();
        let store =
            Store::new(Arc::new(self.redis.clone()), Tokens::default(), bounds).expect("metrics of its own");
        *replica.process.borrow_mut() = Some(Process { router: app(Arc::clone(&store)), store });
        let first = self.now() + self.chance.store.below(REFRESH_EVERY);
        self.queue.push(first, Event::Refresh { replica: number, life: replica.life.get() });
        self.trace(None, || format!("replica {number} starts"));
    }

    /// Kills a replica, with everything that it is doing.
    pub fn kill_replica(&self, number: usize, length: u64) {
        let replica = &self.replicas[number];
        if !replica.is_up() {
            return;
        }
        self.trace(None, || format!("replica {number} dies"));
        *replica.process.borrow_mut() = None;
        let jobs = std::mem::take(&mut *replica.jobs.borrow_mut());
        for job in jobs.into_values() {
            match job.what {
                // Either the connection breaks, or nobody notices.
                What::Lease(call) if self.chance.store.happens(500_000) => self.answer(call, None),
                What::Lease(call) => self.hang(call),
                What::Errand(errand) => self.errand_failed(&errand),
                What::Refresh => {}
            }
        }
        self.queue.push(self.now() + length, Event::ReplicaStarts { replica: number });
    }

    /// A call arrives at a replica.
    pub fn call_arrives(&self, call: u64, number: usize, message: &Rc<[u8]>) {
        let store = self.replicas[number].process.borrow().as_ref().map(|process| Arc::clone(&process.store));
        let Some(store) = store else {
            if self.chance.store.happens(500_000) {
                self.answer(call, None)
            } else {
                self.hang(call)
            }
            return;
        };
        let message = Rc::clone(message);
        let future = async move {
            let reply = leases::reply(&store, &message).await;
            Done::Reply(reply.ok().map(|reply| reply.to_bytes()))
        };
        self.begin(number, What::Lease(call), Box::pin(future));
    }

    /// A replica reads what others have changed.
    pub fn refresh(&self, number: usize, life: u32) {
        let replica = &self.replicas[number];
        if !replica.is_up() || replica.life.get() != life {
            return;
        }
        self.queue.push(self.now() + REFRESH_EVERY, Event::Refresh { replica: number, life });
        let is_refreshing = replica.jobs.borrow().values().any(|job| matches!(job.what, What::Refresh));
        let store = replica.process.borrow().as_ref().map(|process| Arc::clone(&process.store));
        if let (Some(store), false) = (store, is_refreshing) {
            let future = async move {
                store.refresh().await;
                Done::Nothing
            };
            self.begin(number, What::Refresh, Box::pin(future));
        }
    }

    /// An admin's call, to whichever replica is up.
    pub fn send_errand(&self, errand: &Rc<Errand>) {
        let up: Vec<usize> = (0..self.replicas.len()).filter(|at| self.replicas[*at].is_up()).collect();
        if up.is_empty() {
            self.errand_failed(errand);
            return;
        }
        let number = *self.chance.store.one_of(&up);
        let router = self.replicas[number].process.borrow().as_ref().map(|process| process.router.clone());
        let Some(router) = router else { return };
        let request = Request::builder()
            .method(errand.method.clone())
            .uri(&errand.path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(if errand.method == Method::GET {
                Body::empty()
            } else {
                Body::from(errand.body.to_string())
            })
            .expect("a request");
        let future = async move {
            let Ok(response) = router.oneshot(request).await;
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap_or_default();
            Done::Answer(status, serde_json::from_slice(&body).unwrap_or_default())
        };
        self.begin(number, What::Errand(Rc::clone(errand)), Box::pin(future));
    }

    fn begin(&self, number: usize, what: What, future: Pin<Box<dyn Future<Output = Done>>>) {
        let job = self.next_id();
        let waker = Waker::from(Arc::new(Bell { ready: Arc::clone(&self.ready), replica: number, job }));
        let call = if let What::Lease(call) = what { Some(call) } else { None };
        self.poll(number, job, Job { what, future, waker });
        if let (Some(call), true) = (call, self.replicas[number].jobs.borrow().contains_key(&job)) {
            // The job may take any time, but its caller does not wait for ever.
            self.hang(call);
        }
        self.go_on();
    }

    /// Polls all jobs that were woken.
    pub fn go_on(&self) {
        loop {
            let woken = std::mem::take(&mut *lock(&self.ready));
            if woken.is_empty() {
                return;
            }
            for (number, id) in woken {
                let job = self.replicas[number].jobs.borrow_mut().remove(&id);
                if let Some(job) = job {
                    self.poll(number, id, job);
                }
            }
        }
    }

    fn poll(&self, number: usize, id: u64, mut job: Job) {
        let now = self.now();
        self.redis.set_now(now);
        self.clock.advance_to(now);
        let waker = job.waker.clone();
        let polled = job.future.as_mut().poll(&mut Context::from_waker(&waker));
        for (at, waker) in self.redis.take_alarms() {
            self.queue.push(at, Event::Alarm(waker));
        }
        match (polled, job.what.clone()) {
            (Poll::Pending, _) => {
                self.replicas[number].jobs.borrow_mut().insert(id, job);
                if !self.is_healed.get() && self.chance.store.happens(self.plan.redis.crash) {
                    self.trouble(4 * SECOND);
                    self.kill_replica(number, self.chance.store.between(50 * MILLISECOND, 2 * SECOND));
                }
            }
            (Poll::Ready(Done::Reply(reply)), What::Lease(call)) => self.answer(call, reply),
            (Poll::Ready(Done::Answer(status, body)), What::Errand(errand)) => {
                self.errand_ended(&errand, status, &body);
            }
            (Poll::Ready(_), _) => {}
        }
    }
}
