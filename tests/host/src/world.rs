//! What one instance of the module sees of its node.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::calls::Calls;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::personality::Personality;
use crate::shared_data::SharedData;
use crate::stream::Stream;
use crate::thread::Roots;

/// The number of WebAssembly instructions after which a callback counts as endless: a second or more in which the worker serves
/// nobody.
pub const CALLBACK_FUEL: u64 = 1_000_000_000;

/// The callback that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Step {
    /// None runs, or `_initialize` does.
    #[default]
    Idle,
    /// `proxy_on_context_create`.
    Create,
    /// `proxy_on_vm_start`.
    VmStart,
    /// `proxy_on_configure`.
    Configure,
    /// `proxy_on_tick`.
    Tick,
    /// `proxy_on_request_headers`.
    RequestHeaders,
    /// `proxy_on_request_body`.
    RequestBody,
    /// `proxy_on_response_headers`.
    ResponseHeaders,
    /// `proxy_on_response_body`.
    ResponseBody,
    /// `proxy_on_http_call_response`.
    CallResponse,
    /// `proxy_on_done`, `proxy_on_log`, `proxy_on_delete`.
    Log,
}

/// The running callback.
#[derive(Clone, Debug, Default)]
pub struct Active {
    /// The callback's step.
    pub step: Step,
    /// The context it is for.
    pub context: u32,
    /// That context's root; the context itself in a root's callback.
    pub root: u32,
    /// The request that it is about, if any.
    pub stream: Option<Rc<RefCell<Stream>>>,
    /// The filter's configuration.
    pub configuration: Rc<str>,
    /// Whether this tick comes before the first one of the root's own timer (Kong).
    pub is_early_tick: bool,
    /// The reply that the callback hands over.
    pub reply: Option<Rc<crate::calls::Reply>>,
}

impl Active {
    /// Whether a root's callback runs.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.context == self.root
    }
}

/// The parts of a node that all its instances share.
#[derive(Clone)]
pub struct Common {
    /// Which host this is.
    pub personality: Personality,
    /// The node's time.
    pub clock: Clock,
    /// Its shared data.
    pub shared: Rc<RefCell<SharedData>>,
    /// Its metrics.
    pub metrics: Rc<RefCell<Metrics>>,
    /// Waiting calls.
    pub calls: Rc<RefCell<Calls>>,
    /// Its log, oldest line first.
    pub log: Rc<RefCell<Vec<String>>>,
    /// Environment variables that the module sees.
    pub environment: Rc<Vec<String>>,
    /// The module's capabilities; `None` if it has all.
    pub granted: Option<Rc<BTreeSet<&'static str>>>,
    /// Which node of several this is.
    pub number: u64,
}

impl Common {
    /// Whether the module has a capability: a callback, or a host call.
    #[must_use]
    pub fn grants(&self, name: &str) -> bool {
        self.granted.as_ref().is_none_or(|granted| granted.contains(name))
    }
}

/// One instance's view: its store's data.
pub struct World {
    /// The node.
    pub common: Common,
    /// Which host this is.
    pub personality: Personality,
    /// `worker 0`, `main` or `canary`, as it stands in the log.
    pub thread: String,
    /// The thread's root contexts.
    pub roots: Rc<RefCell<Roots>>,
    /// The callback that runs.
    pub active: Active,
    /// Host calls since they were last taken, by name.
    pub host_calls: BTreeMap<&'static str, u32>,
    /// This instance's metric ids: which root defined each, and its name.
    pub metric_ids: Vec<(u32, String)>,
    /// The state of `random_get`.
    pub random: u64,
}

impl World {
    /// Adds a line to the node's log.
    pub fn log(&self, level: &str, line: &str) {
        self.common.log.borrow_mut().push(format!("[{level}] {}: {line}", self.thread));
    }
}
