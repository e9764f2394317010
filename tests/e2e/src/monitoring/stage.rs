//! Two Envoys, each with a store on one Redis, the stand-in for Kong, a Prometheus that scrapes all of them, and clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::{Client, Request};
use tollgate_testkit::redis::Server;
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::wait;

use super::kong;
use super::prometheus::{Prometheus, Target};

/// The length of the pictures' day.
const DAY: Duration = Duration::from_secs(900);

/// Sample consumers and their requests per second at either gateway. `None` is an anonymous client.
const CLIENTS: [(Option<&str>, &str, f64); 12] = [
    (None, "/identify", 0.8),
    (Some("acme-free"), "/identify", 2.5),
    (Some("free-01"), "/identify", 0.5),
    (Some("free-02"), "/compare", 0.3),
    (Some("free-03"), "/batch", 0.6),
    (Some("globex-pro"), "/identify", 6.0),
    (Some("pro-01"), "/compare", 3.0),
    (Some("pro-02"), "/identify", 2.0),
    (Some("pro-03"), "/batch", 1.0),
    (Some("initech-enterprise"), "/compare", 4.0),
    (Some("umbrella-partner"), "/identify", 2.0),
    (Some("billing-worker"), "/batch", 1.0),
];

pub struct Stage {
    pub prometheus: Prometheus,
    gateways: Vec<Envoy>,
    stores: Vec<Store>,
    redis: Server,
    _upstream: Upstream,
}

impl Stage {
    /// Starts it, with months that end within the pictures' day.
    pub fn build() -> Self {
        let upstream = Upstream::on_loopback().unwrap();
        let redis = Server::start().unwrap();
        let stores: Vec<Store> = (0..2).map(|_| Store::start(&redis.url()).unwrap()).collect();
        let start = |store: &Store| {
            let config = Config::shared(upstream.address(), store.address()).unwrap().policy(|policy| {
                policy["tiers"]["free"]["monthly"] = 700.into();
                policy["tiers"]["pro"]["monthly"] = 4_000.into();
            });
            Envoy::start(&config, 1).unwrap()
        };
        let gateways: Vec<Envoy> = stores.iter().map(start).collect();
        let kong = kong::serve();
        let target =
            |job, instance, address, path| Target { job, instance, address, path, is_timed_only: false };
        let prometheus = Prometheus::start(&[
            target("envoy", "envoy-1", gateways[0].admin(), "/stats/prometheus"),
            target("envoy", "envoy-2", gateways[1].admin(), "/stats/prometheus"),
            target("kong", "kong-1", kong, "/metrics"),
            Target { is_timed_only: true, ..target("kong-admin", "kong-1", kong, "/metrics") },
            target("tollgate-store", "store-1", stores[0].address(), "/metrics"),
            target("tollgate-store", "store-2", stores[1].address(), "/metrics"),
        ]);
        Self { prometheus: prometheus.unwrap(), gateways, stores, redis, _upstream: upstream }
    }

    /// Runs `what` while clients send requests, one of which the store does not understand.
    pub fn under_load<T>(&self, what: impl FnOnce() -> T) -> T {
        let is_over = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            for gateway in &self.gateways {
                for client in CLIENTS {
                    scope.spawn(move || send(gateway, client, is_over));
                }
            }
            let mut stores: Vec<_> = self.stores.iter().map(Store::client).collect();
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for store in &mut stores {
                        let _ = store.get("/v1/usage/fingerprint/nobody");
                    }
                    wait::pass(Duration::from_secs(1));
                }
            });
            // A check that fails must not leave the clients running.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
            is_over.store(true, Ordering::Relaxed);
            done.unwrap_or_else(|why| std::panic::resume_unwind(why))
        })
    }

    /// Passes a quarter of an hour under load, with a Redis that is away for half a minute, and runs `what` at its end.
    pub fn live_through_a_day<T>(&self, what: impl FnOnce() -> T) -> T {
        self.under_load(|| {
            wait::pass(DAY * 2 / 3);
            self.redis.pause().unwrap();
            wait::pass(Duration::from_secs(30));
            self.redis.resume().unwrap();
            wait::pass(DAY / 3);
            what()
        })
    }
}

/// Sends one client's requests, at a rate that rises and falls, until the load is over.
fn send(gateway: &Envoy, (consumer, target, rate): (Option<&str>, &str, f64), is_over: &AtomicBool) {
    let mut client: Client = gateway.client();
    let began = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let request = Request::get(target);
        // The metrics show the outcome.
        let _ = client.send(&match consumer {
            Some(name) => request.of(name),
            None => request,
        });
        let tide = 1.0 + 0.6 * (began.elapsed().as_secs_f64() / 70.0 + rate).sin();
        wait::pass(Duration::from_secs_f64(1.0 / (rate * tide)));
    }
}
