//! A filter's life on one worker: it gets a policy, and makes the contexts of requests.

use std::cell::Cell;
use std::fmt::Display;
use std::hash::BuildHasher;
use std::rc::Rc;

use log::{error, info, warn};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use tollgate_core::policy::Policy;
use tollgate_node::engine::Engine;
use tollgate_node::engine::store_client::StoreClient;
use tollgate_node::table::known_good::{self, LastGood};
use tollgate_node::table::{FingerprintKey, Geometry, OpenError, Table};

use super::abi;
use super::first_ticks::FirstTicks;
use super::host::HostKind;
use super::http::Http;
use super::memory::{Memory, zone_for};
use super::metrics::Metrics;
use super::node_host::StoreRoute;
use super::once::{Configured, Recreated};

/// Everything that a request needs; the requests of one root share it.
pub struct Ready {
    pub host: HostKind,
    pub engine: Engine,
    pub metrics: Metrics,
    /// The store's client, if the policy has a store.
    pub store_client: Option<StoreClient>,
    pub route: Option<StoreRoute>,
    /// The requests that were charged and may come a second time.
    pub recreated: Recreated,
    _configured: Configured,
}

/// The root context: one per filter entry and worker.
#[derive(Default)]
pub struct Root {
    ready: Option<Rc<Ready>>,
    is_ticking: bool,
    /// Whether its own policy cannot work.
    is_rejected: bool,
    /// The gauge that says so, in Kong alone. Only a root that serves requests writes it: Kong keeps the roots of old
    /// configurations, and even configures them again, but they do not count.
    gauge: Option<u32>,
    has_served: Cell<bool>,
    first_ticks: FirstTicks,
}

impl Root {
    fn load(memory: &Memory, policy: Policy) -> Result<Ready, Vec<String>> {
        let host = memory.host;
        let opened = Table::open(&host, policy.clients, random_key())
            .map_err(|why| vec![cannot_open(why, zone_for(policy.clients))])?;
        let kept = opened.table.geometry();
        memory.publish_records(kept);
        if *kept != Geometry::for_clients(policy.clients) {
            warn!(
                "tollgate: memory.clients has changed; the table keeps its size until the gateway is restarted, as \
                 moving the records would hand every client a fresh bucket"
            );
        }
        if opened.is_new && policy.store.is_none() {
            warn!(
                "tollgate: no store: this node limits on its own, and what its consumers use of their month is lost \
                 when it restarts"
            );
        }
        info!(
            "tollgate: namespace {}, {} tiers, {} slots",
            policy.namespace,
            policy.tiers.len(),
            kept.count()
        );
        let route = policy.store.as_ref().map(StoreRoute::to).transpose()?;
        let store_client = StoreClient::new(&policy, std::hash::RandomState::new().hash_one(abi::now()));
        let engine = Engine::new(policy, opened.table);
        let metrics = Metrics::define(host, &engine);
        // Another policy, or an instance that is made again, does not know whether the store is up: its calls find out.
        if opened.is_new {
            metrics.store_up(true);
        }
        let recreated = Recreated::on(host, engine.policy().tells_upstream);
        Ok(Ready { host, engine, metrics, store_client, route, recreated, _configured: Configured::start() })
    }

    /// Starts to work with `policy`.
    #[inline(never)]
    fn begin(&mut self, memory: &Memory, policy: Policy) -> Result<(), Vec<String>> {
        let ready = Self::load(memory, policy)?;
        let interval = ready.store_client.as_ref().map(StoreClient::interval);
        self.ready = Some(Rc::new(ready));
        if let (Some(interval), false) = (interval, self.is_ticking) {
            self.is_ticking = true;
            if memory.host == HostKind::Kong {
                self.first_ticks = FirstTicks::from_now(interval);
            }
            abi::tick_every(interval);
        }
        Ok(())
    }

    /// What happens if the policy in `configuration` cannot work; returns whether this root accepts it all the same.
    ///
    /// Envoy keeps the configuration that it has. Kong would accept no further change to any service, and would start new
    /// workers without the filter on any route. So there the last policy that worked stays in force; if there was none,
    /// only the routes of this chain have no limits.
    fn fall_back(&mut self, memory: &Memory, configuration: &[u8]) -> bool {
        let Some(namespace) = Policy::namespace_in(configuration).filter(|_| memory.host == HostKind::Kong)
        else {
            return false;
        };
        let is_taken = match known_good::last_good(&memory.host, &namespace) {
            LastGood::Text(text) => {
                error!("tollgate: the last policy of namespace {namespace} that worked goes on");
                Policy::from_configuration(&text).is_ok_and(|policy| self.begin(memory, policy).is_ok())
            }
            LastGood::Never => {
                error!(
                    "tollgate: namespace {namespace} has had no policy that works: NOBODY IS LIMITED on these routes"
                );
                true
            }
            LastGood::Unknown => false,
        };
        self.is_rejected = is_taken;
        is_taken
    }

    /// Notes that a request has come, so that this root belongs to the configuration in force.
    ///
    /// A root that works clears the gauge once, which corrects what an old configuration's root has written. A root that
    /// does not work sets it at every request, in case another chain's root has cleared it.
    fn is_in_force(&self) {
        let Some(gauge) = self.gauge else { return };
        let is_first = !self.has_served.replace(true);
        if self.is_rejected && abi::metric(gauge) != Some(1) {
            abi::record(gauge, 1);
        } else if is_first && !self.is_rejected {
            abi::record(gauge, 0);
        }
    }
}

#[inline(never)]
fn complain(problem: &dyn Display) {
    error!("tollgate: this policy cannot work: {problem}");
}

fn cannot_open(why: OpenError, zone: u64) -> String {
    match why {
        OpenError::TooSmall { .. } => format!(
            "memory.clients: the shared memory zone is too small for as many; set \
             KONG_NGINX_WASM_SHM_KV_TOLLGATE={zone}m (nginx: shm_kv tollgate {zone}m) and restart, or lower \
             memory.clients"
        ),
        OpenError::Failed => "the gateway's shared memory does not answer".to_owned(),
    }
}

/// A key for the node's fingerprints, in case this worker is the first.
fn random_key() -> FingerprintKey {
    let start = abi::now();
    let word = |salt: u8| std::hash::RandomState::new().hash_one((start, salt)).to_le_bytes();
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().zip(word(0).into_iter().chain(word(1))) {
        *to = from;
    }
    FingerprintKey(key)
}

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, _: usize, _: usize, _: usize) {
        if let Some(ready) = &self.ready
            && let Some(store_client) = &ready.store_client
        {
            store_client.receive_batch(&ready.engine, ready.as_ref());
            ready.metrics.evictions(&ready.engine);
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let configuration = abi::plugin_configuration();
        let policy = Policy::from_configuration(&configuration);
        if let Err(problems) = &policy {
            problems.iter().for_each(|problem| complain(problem));
        }
        let memory = Memory::open(policy.as_ref().map_or(Policy::DEFAULT_CLIENTS, |policy| policy.clients));
        self.gauge = memory.rejected;
        self.has_served.set(false);
        self.is_rejected = false;
        let Ok(policy) = policy else { return self.fall_back(&memory, &configuration) };
        let namespace = policy.namespace.clone();
        match self.begin(&memory, policy) {
            Ok(()) => {
                if memory.host == HostKind::Kong {
                    known_good::keep(&memory.host, &namespace, &configuration);
                }
                true
            }
            Err(problems) => {
                problems.iter().for_each(|problem| complain(problem));
                self.fall_back(&memory, &configuration)
            }
        }
    }

    fn on_tick(&mut self) {
        if !self.first_ticks.are_over() {
            return;
        }
        if let Some(ready) = &self.ready
            && let Some(store_client) = &ready.store_client
        {
            store_client.tick(&ready.engine, ready.as_ref());
            ready.metrics.evictions(&ready.engine);
        }
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        self.is_in_force();
        Some(Box::new(Http::new(context, self.ready.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
