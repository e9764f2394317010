//! A worker: one instance, its root contexts and their ticks. Envoy's main thread and its canary are threads as well.
//!
//! | | Kong | Envoy |
//! | --- | --- | --- |
//! | a worker is | a process | a thread |
//! | root ids | are large: a hash | count up from 1 with all contexts of the VM |
//! | after a trap | a new instance runs `on_configure` of a root when the root is next needed; each root has one more timer | 503 during a backoff, then everything starts afresh with `on_vm_start` |
//! | setting a timer again | traps | replaces the old one |

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::module::Module;
use crate::rules::{Rule, RuleBroken};
use crate::vm::{Vm, export_of};
use crate::world::{Active, Common, Step, World};

/// FAIL_RELOAD's first backoff takes one to two seconds.
const ENVOY_BACKOFF: Duration = Duration::from_secs(2);
const NANOS_PER_MILLI: u64 = 1_000_000;

/// A root context.
#[derive(Debug)]
pub struct Root {
    /// A hash of its place in the chain and its configuration; it stays the same when the instance goes.
    pub key: u32,
    /// The id that the module knows it by.
    pub id: u32,
    /// Its configuration.
    pub configuration: Rc<str>,
    /// The tick period; 0 if there is none.
    pub period_ms: u32,
    /// Its timers. Timers from before the present instance keep ticking (Kong).
    timers: Vec<Timer>,
    /// Whether one of its timers of the present instance has ticked.
    has_ticked: bool,
    /// Whether it is configured in the present instance.
    started: bool,
}

/// A root's timer.
#[derive(Clone, Copy, Debug)]
struct Timer {
    /// When it is next due, in monotonic nanoseconds.
    due: u64,
    /// Whether it was set in the present instance.
    is_own: bool,
}

/// A thread's root contexts, with old ones, which still tick.
#[derive(Debug, Default)]
pub struct Roots(Vec<Root>);

/// Why a filter did not start.
#[derive(Debug)]
pub enum NotStarted {
    /// It refused its configuration.
    Refused,
    /// It broke a rule.
    Broken(RuleBroken),
}

impl From<RuleBroken> for NotStarted {
    fn from(broken: RuleBroken) -> Self {
        Self::Broken(broken)
    }
}

/// A worker.
pub struct Thread {
    pub(crate) name: String,
    module: Module,
    pub(crate) common: Common,
    roots: Rc<RefCell<Roots>>,
    vm: Option<Vm>,
    last_context: u32,
    down_until: u64,
    seed: u64,
}

impl Root {
    pub(crate) fn set_period(&mut self, period_ms: u32, now: u64, kong: bool) {
        self.period_ms = period_ms;
        if !kong {
            self.timers.clear();
        }
        if period_ms > 0 {
            self.timers.push(Timer { due: now + u64::from(period_ms) * NANOS_PER_MILLI, is_own: true });
        }
    }
}

impl Roots {
    /// The root that the module knows as `id`.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Root> {
        self.0.iter_mut().rev().find(|root| root.id == id)
    }

    fn of_key(&mut self, key: u32) -> Option<&mut Root> {
        self.0.iter_mut().find(|root| root.key == key)
    }
}

impl Thread {
    pub(crate) fn new(name: &str, module: &Module, common: &Common, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            module: module.clone(),
            common: common.clone(),
            roots: Rc::default(),
            vm: None,
            last_context: 0,
            down_until: 0,
            seed,
        }
    }

    fn is_kong(&self) -> bool {
        self.common.personality.is_kong()
    }

    pub(crate) fn log(&self, level: &str, line: &str) {
        self.common.log.borrow_mut().push(format!("[{level}] {}: {line}", self.name));
    }

    /// The instance; creates one if there is none.
    pub(crate) fn vm(&mut self) -> Result<&mut Vm, RuleBroken> {
        if self.vm.is_none() {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            self.vm = Some(Vm::new(
                &self.module,
                World {
                    common: self.common.clone(),
                    personality: self.common.personality,
                    thread: self.name.clone(),
                    roots: Rc::clone(&self.roots),
                    active: Active::default(),
                    host_calls: Default::default(),
                    metric_ids: Vec::new(),
                    random: self.seed,
                },
            )?);
        }
        Ok(self.vm.as_mut().expect("just made"))
    }

    pub(crate) fn next_context(&mut self) -> u32 {
        self.last_context += 1;
        self.last_context
    }

    /// Starts a new root context, unless there is one with the same key.
    pub(crate) fn start_root(&mut self, key: u32, configuration: &Rc<str>) -> Result<(), NotStarted> {
        self.vm()?;
        if self.roots.borrow_mut().of_key(key).is_some_and(|root| root.started) {
            return Ok(());
        }
        let id = if self.is_kong() { key } else { self.next_context() };
        let root = Root {
            key,
            id,
            configuration: configuration.clone(),
            period_ms: 0,
            timers: vec![],
            has_ticked: false,
            started: false,
        };
        self.roots.borrow_mut().0.push(root);
        let started = self.configure(key, true);
        if !matches!(started, Ok(true)) {
            self.roots.borrow_mut().0.retain(|root| root.key != key);
        }
        match started {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotStarted::Refused),
            Err(broken) => Err(broken.into()),
        }
    }

    /// Creates and configures a root in the present instance.
    fn configure(&mut self, key: u32, with_vm_start: bool) -> Result<bool, RuleBroken> {
        let (id, configuration) = {
            let mut roots = self.roots.borrow_mut();
            let root = roots.of_key(key).expect("a root that was started");
            (root.id, Rc::clone(&root.configuration))
        };
        let active = |step| Active {
            step,
            context: id,
            root: id,
            configuration: configuration.clone(),
            ..Active::default()
        };
        let size = configuration.len() as u32;
        let vm = self.vm()?;
        vm.call(active(Step::Create), export_of(Step::Create), &[id, 0])?;
        if with_vm_start && vm.call(active(Step::VmStart), export_of(Step::VmStart), &[id, 0])? == Some(0) {
            return Ok(false);
        }
        let taken = vm.call(active(Step::Configure), export_of(Step::Configure), &[id, size])? != Some(0);
        self.roots.borrow_mut().of_key(key).expect("there").started = taken;
        Ok(taken)
    }

    /// The id of a root, which is configured first if need be.
    pub(crate) fn ready_root(&mut self, key: u32) -> Result<u32, RuleBroken> {
        let started = self.roots.borrow_mut().of_key(key).expect("a root that was started").started;
        if !started {
            let keys: Vec<u32> = match self.is_kong() {
                true => vec![key],
                false => self.roots.borrow().0.iter().map(|root| root.key).collect(),
            };
            for key in keys {
                if !self.is_kong() {
                    let id = self.next_context();
                    self.roots.borrow_mut().of_key(key).expect("there").id = id;
                }
                if !self.configure(key, !self.is_kong())? {
                    return Err(RuleBroken::new(
                        Rule::Trap,
                        "refused in a new instance what it had taken before",
                    ));
                }
            }
        }
        Ok(self.roots.borrow_mut().of_key(key).expect("there").id)
    }

    /// The configuration of the root with this key.
    pub(crate) fn configuration(&self, key: u32) -> Rc<str> {
        Rc::clone(&self.roots.borrow_mut().of_key(key).expect("a root that was started").configuration)
    }

    /// Loses the instance: it trapped, or the host replaces it.
    pub(crate) fn lose_instance(&mut self) {
        self.vm = None;
        for root in &mut self.roots.borrow_mut().0 {
            root.started = false;
            root.period_ms = 0;
            root.has_ticked = false;
            root.timers.iter_mut().for_each(|timer| timer.is_own = false);
            if !self.common.personality.is_kong() {
                root.timers.clear();
            }
        }
        if !self.is_kong() {
            self.last_context = 0;
        }
    }

    /// Starts Envoy's backoff after a trap.
    pub(crate) fn go_down(&mut self) {
        if !self.is_kong() {
            self.down_until = self.common.clock.monotonic_nanos() + ENVOY_BACKOFF.as_nanos() as u64;
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.common.clock.monotonic_nanos() < self.down_until
    }

    /// Ends old roots for good, as Envoy does when the drain is over.
    pub(crate) fn end_roots(&mut self, keep: &[u32]) -> Result<(), RuleBroken> {
        let ended: Vec<u32> = self
            .roots
            .borrow()
            .0
            .iter()
            .filter(|root| !keep.contains(&root.key))
            .map(|root| root.id)
            .collect();
        for id in ended {
            let active = || Active { step: Step::Log, context: id, root: id, ..Active::default() };
            let vm = self.vm()?;
            vm.call(active(), "proxy_on_done", &[id])?;
            vm.call(active(), "proxy_on_delete", &[id])?;
            self.roots.borrow_mut().0.retain(|root| root.id != id);
        }
        Ok(())
    }

    /// When the next tick is due.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        self.roots.borrow().0.iter().flat_map(|root| root.timers.iter().map(|timer| timer.due)).min()
    }

    /// Runs the tick that is due at `now`.
    pub(crate) fn tick(&mut self, now: u64) -> Result<(), RuleBroken> {
        let (due, timer) = {
            let mut roots = self.roots.borrow_mut();
            let place = |root: &Root| root.timers.iter().position(|timer| timer.due == now);
            let found = roots.0.iter_mut().find_map(|root| place(root).map(|place| (root, place)));
            let Some((root, place)) = found else { return Ok(()) };
            let timer = root.timers.remove(place);
            root.has_ticked |= timer.is_own;
            (root.key, timer)
        };
        let id = self.ready_root(due)?;
        let configuration = self.configuration(due);
        let is_early_tick = self.is_kong() && !self.roots.borrow_mut().of_key(due).expect("there").has_ticked;
        let active = Active {
            step: Step::Tick,
            context: id,
            root: id,
            configuration,
            is_early_tick,
            ..Active::default()
        };
        let ticked = self.vm()?.call(active, export_of(Step::Tick), &[id]);
        let mut roots = self.roots.borrow_mut();
        let root = roots.of_key(due).expect("there");
        if root.period_ms > 0 {
            let due = now + u64::from(root.period_ms) * NANOS_PER_MILLI;
            root.timers.push(Timer { due, ..timer });
        }
        ticked.map(|_| ())
    }

    /// How many calls wait for a reply to `context`.
    pub(crate) fn calls_of(&self, context: u32) -> usize {
        let own = |call: &&crate::calls::Call| call.thread == self.name && call.context == context;
        self.common.calls.borrow().pending.iter().filter(own).count()
    }

    /// Whether any call of this thread waits for a reply.
    pub(crate) fn has_calls(&self) -> bool {
        self.common.calls.borrow().pending.iter().any(|call| call.thread == self.name)
    }

    /// Cancels calls that nobody waits for any more.
    pub(crate) fn cancel_calls(&self, context: u32) {
        let pending = &mut self.common.calls.borrow_mut().pending;
        pending.retain(|call| call.thread != self.name || call.context != context);
    }

    /// How many timers tick.
    pub(crate) fn timers(&self) -> usize {
        self.roots.borrow().0.iter().map(|root| root.timers.len()).sum()
    }
}
