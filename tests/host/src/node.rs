//! A gateway node: workers with common shared data, from start to reload.
//!
//! | | Kong | Envoy |
//! | --- | --- | --- |
//! | instances | one per worker | one per worker, one on the main thread, and a canary that lives for a moment |
//! | `on_configure` → false at start | serves without the filter and logs it | does not start |
//! | `on_configure` → false later | the update of every chain fails, and workers started from then on have no filter on any route | the update is rejected |
//! | a new configuration | creates new roots, then new instances; the old roots keep ticking, so there are more ticks | creates new roots; the old ones tick until the drain ends |

use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use crate::calls::{Call, Calls, Reply};
use crate::clock::Clock;
use crate::exchange::{Exchange, Request, Response, Upstream};
use crate::metrics::Metrics;
use crate::module::Module;
use crate::passage::{Passage, Progress};
use crate::personality::Personality;
use crate::rules::{Rule, RuleBroken};
use crate::setup::{Setup, StartError};
use crate::shared_data::SharedData;
use crate::thread::{NotStarted, Thread};
use crate::vm::export_of;
use crate::world::{Active, Common, Step};
use crate::zone::crc32;

/// A running node.
pub struct Node {
    common: Common,
    module: Module,
    workers: Vec<Thread>,
    main: Option<Thread>,
    /// Keys of the chain's roots; `None` if the filter did not start (Kong).
    chain: Option<Vec<u32>>,
    generation: u32,
    /// Keys and configurations of the roots that the node was last told of, in force or not.
    declared: Vec<(u32, Rc<str>)>,
    /// Kong's workers that run without a filter, because one did not start when they did.
    unfiltered: BTreeSet<usize>,
    passages: Vec<Passage>,
    last_passage: u64,
}

impl Node {
    /// Starts a node; returns the error that keeps this kind of node from starting.
    pub(crate) fn start(setup: Setup, module: &Module) -> Result<Self, StartError> {
        let shared =
            if setup.personality.is_kong() { SharedData::kong(setup.zones) } else { SharedData::envoy() };
        let common = Common {
            personality: setup.personality,
            clock: Clock::of(setup.personality),
            shared: Rc::new(RefCell::new(shared)),
            metrics: Rc::new(RefCell::new(Metrics::default())),
            calls: Rc::new(RefCell::new(Calls::with_clusters(setup.clusters))),
            log: Rc::default(),
            environment: Rc::new(setup.environment),
            granted: setup.granted.map(Rc::new),
            number: setup.number,
        };
        // Kong seeds random numbers with clock and process id, which nodes may share; Envoy's are cryptographic.
        let differs = if setup.personality.is_kong() { 0 } else { setup.number << 32 };
        let thread = |name: &str, seed: u64| Thread::new(name, module, &common, seed | differs);
        let workers =
            (0..setup.workers).map(|worker| thread(&format!("worker {worker}"), worker as u64 + 2)).collect();
        let main = (!setup.personality.is_kong()).then(|| thread("main", 1));
        let mut node = Node {
            module: module.clone(),
            workers,
            main,
            chain: None,
            generation: 0,
            declared: Vec::new(),
            unfiltered: BTreeSet::new(),
            passages: Vec::new(),
            last_passage: 0,
            common,
        };
        let filters: Vec<&str> = setup.filters.iter().map(String::as_str).collect();
        match node.apply(&filters) {
            Err(StartError::Refused(_)) if setup.personality.is_kong() => Ok(node),
            Err(error) => Err(error),
            Ok(()) => Ok(node),
        }
    }

    /// Which host this is.
    #[must_use]
    pub fn personality(&self) -> Personality {
        self.common.personality
    }

    /// The node's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.common.clock
    }

    /// The node's shared data.
    pub fn shared_data(&self) -> RefMut<'_, SharedData> {
        self.common.shared.borrow_mut()
    }

    /// The node's metrics.
    #[must_use]
    pub fn metrics(&self) -> Ref<'_, Metrics> {
        self.common.metrics.borrow()
    }

    /// The log, oldest line first.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.common.log.borrow().clone()
    }

    /// Waiting calls, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.common.calls.borrow().pending.clone()
    }

    /// Whether requests go through the filter: Kong serves a route without a filter that did not start.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.chain.is_some()
    }

    /// How many tick timers run, on all threads.
    #[must_use]
    pub fn timers(&self) -> usize {
        self.workers.iter().chain(&self.main).map(Thread::timers).sum()
    }

    /// The memory of a worker's instance, in bytes.
    ///
    /// # Panics
    /// When the worker's instance cannot be made.
    pub fn memory_bytes(&mut self, worker: usize) -> usize {
        self.workers[worker].vm().expect("an instance").memory_bytes()
    }

    /// Sends a request through the node.
    ///
    /// # Errors
    /// The rule that the filter broke; the worker continues as its host's would, with a new instance.
    pub fn request(&mut self, request: Request) -> Result<Exchange, RuleBroken> {
        let thread = &mut self.workers[request.worker];
        let Some(chain) = self.chain.clone().filter(|_| !self.unfiltered.contains(&request.worker)) else {
            return Ok(unfiltered(&request, None));
        };
        if thread.is_down() {
            return Ok(unfiltered(&request, Some(503)));
        }
        self.last_passage += 1;
        let mut passage = Passage::new(self.last_passage, &request, thread, &chain);
        let progress = passage.start(thread);
        self.settle(passage, progress)
    }

    /// Answers a call. Returns the request that waited for it, done or still waiting.
    ///
    /// # Errors
    /// The rule that the filter broke.
    ///
    /// # Panics
    /// When there is no such call.
    pub fn answer(&mut self, call: u32, reply: Reply) -> Result<Option<Exchange>, RuleBroken> {
        let call = {
            let pending = &mut self.common.calls.borrow_mut().pending;
            let place = pending.iter().position(|other| other.id == call).expect("a call under way");
            pending.remove(place)
        };
        let reply = reply.as_seen_by(self.common.personality.is_kong());
        let waiting = |passage: &Passage| {
            self.workers[passage.worker].name == call.thread
                && passage.waits_for(&call)
                && call.context != call.root
        };
        if let Some(place) = self.passages.iter().position(waiting) {
            let mut passage = self.passages.remove(place);
            let progress = passage.answer(&mut self.workers[passage.worker], &call, &reply);
            return self.settle(passage, progress).map(Some);
        }
        let root_called = call.context == call.root;
        let Some(thread) = self
            .workers
            .iter_mut()
            .chain(&mut self.main)
            .find(|thread| root_called && thread.name == call.thread)
        else {
            return Ok(None);
        };
        let kong = self.common.personality.is_kong();
        let arguments = [call.root, call.id, reply.count(kong), reply.body().len() as u32, 0];
        let active = Active {
            step: Step::CallResponse,
            context: call.root,
            root: call.root,
            reply: Some(reply),
            ..Active::default()
        };
        let called = thread.vm()?.call(active, export_of(Step::CallResponse), &arguments);
        if called.is_err() {
            thread.lose_instance();
            thread.go_down();
        }
        called.map(|_| None)
    }

    fn settle(
        &mut self,
        passage: Passage,
        progress: Result<Progress, RuleBroken>,
    ) -> Result<Exchange, RuleBroken> {
        match progress {
            Ok(progress) => {
                let exchange = passage.exchange(progress);
                if progress == Progress::Paused {
                    self.passages.push(passage);
                }
                Ok(exchange)
            }
            Err(broken) => {
                self.workers[passage.worker].go_down();
                self.lose_instance(passage.worker);
                Err(broken)
            }
        }
    }

    /// Lets `time` pass and runs every tick that falls into it.
    ///
    /// # Errors
    /// The rule that a tick broke.
    pub fn advance(&mut self, time: Duration) -> Result<(), RuleBroken> {
        let end = self.common.clock.monotonic_nanos() + time.as_nanos() as u64;
        loop {
            let threads = self.workers.iter_mut().chain(&mut self.main);
            let next =
                threads.filter_map(|thread| Some((thread.next_tick()?, thread))).min_by_key(|(due, _)| *due);
            let now = self.common.clock.monotonic_nanos();
            match next {
                Some((due, thread)) if due <= end => {
                    self.common.clock.pass(Duration::from_nanos(due.saturating_sub(now)));
                    if let Err(broken) = thread.tick(due) {
                        thread.lose_instance();
                        thread.go_down();
                        return Err(broken);
                    }
                }
                _ => {
                    self.common.clock.pass(Duration::from_nanos(end.saturating_sub(now)));
                    return Ok(());
                }
            }
        }
    }

    /// Loses the worker's instance, as after a trap of another filter that shares it. From then on the host decides about
    /// requests that are paused in it: Kong lets them through.
    pub fn lose_instance(&mut self, worker: usize) {
        self.workers[worker].lose_instance();
        self.passages.retain(|passage| passage.worker != worker);
        let name = &self.workers[worker].name;
        self.common.calls.borrow_mut().pending.retain(|call| call.thread != *name);
    }

    /// Starts a worker of Kong's anew, as after its death, under the configuration that it was told of last, whatever the other
    /// workers have. Verified: if one filter of any chain does not start, the worker has none.
    ///
    /// # Panics
    /// On Envoy, whose workers are threads.
    pub fn respawn(&mut self, worker: usize) {
        assert!(self.common.personality.is_kong(), "an Envoy's worker does not die alone");
        self.lose_instance(worker);
        let name = self.workers[worker].name.clone();
        let mut thread = Thread::new(&name, &self.module, &self.common, worker as u64 + 1_000);
        if start_all(&mut thread, &self.declared).is_ok() {
            self.unfiltered.remove(&worker);
        } else {
            self.unfiltered.insert(worker);
        }
        self.workers[worker] = thread;
    }

    /// Gives the chain a new configuration.
    ///
    /// # Errors
    /// Why this kind of node keeps the old one.
    pub fn reload(&mut self, filters: &[&str]) -> Result<(), StartError> {
        self.apply(filters)?;
        if self.common.personality.is_kong() {
            self.workers.iter_mut().for_each(Thread::lose_instance);
        }
        Ok(())
    }

    /// Does the same while Kong's Lua has not collected the old configuration: its roots live on beside the new ones.
    ///
    /// # Errors
    /// As for [`reload`](Self::reload).
    pub fn reload_uncollected(&mut self, filters: &[&str]) -> Result<(), StartError> {
        self.apply(filters)
    }

    /// Ends the drain: Envoy then ends the roots of old configurations, Kong never does.
    ///
    /// # Errors
    /// The rule that a root broke at its end.
    pub fn end_drain(&mut self) -> Result<(), RuleBroken> {
        if self.common.personality.is_kong() {
            return Ok(());
        }
        let keep = self.chain.clone().unwrap_or_default();
        self.workers.iter_mut().chain(&mut self.main).try_for_each(|thread| thread.end_roots(&keep))
    }

    fn apply(&mut self, filters: &[&str]) -> Result<(), StartError> {
        self.generation += 1;
        let kong = self.common.personality.is_kong();
        // Kong's root id is a hash over name, configuration and chain; Envoy finds a root by its configuration.
        let key = |(place, configuration): (usize, &&str)| {
            let chain = if kong { format!("{} {place}", self.generation) } else { String::new() };
            (crc32(format!("tollgate{configuration}{chain}").as_bytes()), Rc::<str>::from(*configuration))
        };
        let roots: Vec<(u32, Rc<str>)> = filters.iter().enumerate().map(key).collect();
        self.declared.clone_from(&roots);
        if !kong {
            let mut canary = Thread::new("canary", &self.module, &self.common, self.common.number << 32);
            self.started(start_all(&mut canary, &roots))?;
        }
        let mut threads: Vec<&mut Thread> = self.main.iter_mut().chain(&mut self.workers).collect();
        let started = threads.iter_mut().try_for_each(|thread| start_all(thread, &roots));
        self.started(started)?;
        self.chain = Some(roots.iter().map(|(key, _)| *key).collect());
        Ok(())
    }

    /// What a failed start means to the host.
    fn started(&self, started: Result<(), NotStarted>) -> Result<(), StartError> {
        match started {
            Ok(()) => Ok(()),
            // Verified for a missing zone: these traps in `on_configure` harm no client.
            Err(NotStarted::Broken(broken)) if !matches!(broken.rule, Rule::NoZone | Rule::FullZone) => {
                Err(StartError::Broken(broken))
            }
            Err(_) => Err(StartError::Refused(self.log())),
        }
    }
}

/// Starts every filter of a chain on a thread.
fn start_all(thread: &mut Thread, roots: &[(u32, Rc<str>)]) -> Result<(), NotStarted> {
    for (key, configuration) in roots {
        if let Err(not_started) = thread.start_root(*key, configuration) {
            if let NotStarted::Broken(broken) = &not_started {
                thread.log("error", &format!("trap: {}", broken.what));
                thread.lose_instance();
            }
            let line = if thread.common.personality.is_kong() {
                "failed initializing \"tollgate\" filter"
            } else {
                "Wasm VM failed Failed to configure plugin"
            };
            thread.log("emerg", line);
            return Err(not_started);
        }
    }
    Ok(())
}

/// A gateway without the filter passes the request on, or answers with its own status.
fn unfiltered(request: &Request, status: Option<u16>) -> Exchange {
    let (client, upstream) = match (&request.upstream, status) {
        (_, Some(status)) => (Response { status, ..Response::default() }, false),
        (Upstream::Answers(response), None) => (response.clone(), true),
        (Upstream::Dead, None) => (Response { status: 502, ..Response::default() }, false),
    };
    let stream = crate::stream::Stream::new(request, Personality::Kong);
    Exchange {
        upstream: upstream.then(|| stream.seen()),
        client,
        paused: None,
        filtered: false,
        callbacks: Vec::new(),
        host_calls: Default::default(),
        instructions: 0,
    }
}
