//! The demo's processes: two gateways, the store that they share, and a sample upstream. Dropping this ends all of them.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::wait;

/// The longest that a Redis may take to answer a new store.
const BACKEND: Duration = Duration::from_secs(10);

/// Where everything listens.
pub struct Places {
    /// The gateways.
    pub gateways: [SocketAddr; 2],
    /// The store.
    pub store: SocketAddr,
    /// What answers the paths that the sample does not route.
    pub application: Option<SocketAddr>,
}

/// Everything that the demo has started.
pub struct Stage {
    /// The gateways in front of the upstream, with the sample's policy.
    pub gateways: [Envoy; 2],
    /// The store that lends to both.
    pub store: Store,
    /// The service that they protect.
    pub upstream: Upstream,
}

impl Stage {
    /// Starts gateways of `workers` workers each, with the sample's policy in a namespace, and a store on `backend`.
    ///
    /// # Errors
    /// If one of them does not start, with its log.
    pub fn set(places: &Places, workers: u32, backend: &str, namespace: &str) -> anyhow::Result<Self> {
        let upstream = Upstream::on_loopback().context("the sample upstream cannot listen on loopback")?;
        let store = Store::start_at(backend, places.store)?;
        let ready = || store.client().get("/readyz").ok().filter(|answer| answer.status == 200);
        wait::until("the store's backend", BACKEND, ready)
            .map_err(|error| anyhow::anyhow!("{error}: is it there? The store's log:\n{}", store.log()))?;
        let config = Config::shared(upstream.address(), store.address())?
            .policy(|policy| policy["namespace"] = namespace.into());
        let config = match places.application {
            Some(application) => config.with_application(application),
            None => config,
        };
        // They start at once: most of a start is the compiling of the filter.
        let [first, second] = thread::scope(|scope| {
            places
                .gateways
                .map(|address| {
                    let config = config.clone().listening(address);
                    scope.spawn(move || Envoy::start(&config, workers))
                })
                .map(|start| start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        Ok(Self { gateways: [first?, second?], store, upstream })
    }

    /// Where the gateways take requests.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        [0, 1].map(|gateway: usize| self.gateways[gateway].address())
    }

    /// What ended although nobody asked it to, with its last words.
    pub fn ended(&mut self) -> anyhow::Result<Option<String>> {
        let tell = |what: &str, status: ExitStatus, log: &str| {
            format!("{what} ended: {status}. Its log ends so:\n{log}")
        };
        if let Some(status) = self.store.ended()? {
            return Ok(Some(tell("the store", status, &self.store.log())));
        }
        for gateway in &mut self.gateways {
            if let Some(status) = gateway.ended()? {
                return Ok(Some(tell("Envoy", status, &gateway.last_words())));
            }
        }
        Ok(None)
    }
}
