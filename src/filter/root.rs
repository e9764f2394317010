//! A filter's life on one worker: its policy comes, its requests' contexts go out.

use std::hash::BuildHasher;
use std::rc::Rc;

use log::{error, info, warn};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::abi;
use super::first_ticks::FirstTicks;
use super::host::Host;
use super::http::Http;
use super::lender::Way;
use super::metrics::Metrics;
use super::once::Configured;
use crate::engine::Engine;
use crate::engine::lender::Lender;
use crate::policy::Policy;
use crate::table::{FingerprintKey, Geometry, OpenError, Table};

/// All that a request needs, shared by the requests of one root.
pub struct Ready {
    pub host: Host,
    pub engine: Engine,
    pub metrics: Metrics,
    /// The store, where the policy has one.
    pub lender: Option<Lender>,
    pub way: Option<Way>,
    _configured: Configured,
}

/// The root context: one a filter entry and worker.
#[derive(Default)]
pub struct Root {
    ready: Option<Rc<Ready>>,
    is_ticking: bool,
    first_ticks: FirstTicks,
}

impl Root {
    fn load(configuration: &[u8]) -> Result<Ready, Vec<String>> {
        let policy = Policy::from_configuration(configuration)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let zone = Geometry::for_clients(policy.clients).zone_mebibytes();
        // Kong traps on the next line where it has no zone. Nobody is refused for it, the routes are served without
        // the filter, and this is what the log shows right above the trap. Its default level hides what is below.
        warn!(
            "tollgate: opening shared memory; if Kong now fails to initialize the filter, it has no zone for it: \
             set KONG_NGINX_WASM_SHM_KV_TOLLGATE={zone}m (nginx: shm_kv tollgate {zone}m) and restart"
        );
        let host = Host::find();
        let opened =
            Table::open(&host, policy.clients, random_key()).map_err(|why| vec![cannot_open(why, zone)])?;
        let kept = opened.table.geometry();
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
        let way = policy.store.as_ref().map(Way::to).transpose()?;
        let lender = Lender::new(&policy, std::hash::RandomState::new().hash_one(abi::now()));
        let engine = Engine::new(policy, opened.table);
        let metrics = Metrics::define(host, &engine);
        // Another policy, or an instance that is made anew, does not know whether the store is there: calls say so.
        if opened.is_new {
            metrics.store_up(true);
        }
        Ok(Ready { host, engine, metrics, lender, way, _configured: Configured::start() })
    }
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

/// A key for the node's fingerprints, should this worker be the first.
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
            && let Some(lender) = &ready.lender
        {
            lender.take_batch(&ready.engine, ready.as_ref());
            ready.metrics.evictions(&ready.engine);
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        match Self::load(&abi::plugin_configuration()) {
            Ok(ready) => {
                let interval = ready.lender.as_ref().map(Lender::interval);
                let has_old_timers = ready.host == Host::Kong;
                self.ready = Some(Rc::new(ready));
                if let (Some(interval), false) = (interval, self.is_ticking) {
                    self.is_ticking = true;
                    if has_old_timers {
                        self.first_ticks = FirstTicks::from_now(interval);
                    }
                    abi::tick_every(interval);
                }
                true
            }
            Err(problems) => {
                for problem in problems {
                    error!("tollgate: this policy cannot work: {problem}");
                }
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if !self.first_ticks.are_over() {
            return;
        }
        if let Some(ready) = &self.ready
            && let Some(lender) = &ready.lender
        {
            lender.tick(&ready.engine, ready.as_ref());
            ready.metrics.evictions(&ready.engine);
        }
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(context, self.ready.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
