//! Behaviors that need another policy, or a gateway to start, change and inspect: on Envoys of the suite's own.

mod addresses;
mod enforcement;
mod limits;
mod load;
mod metrics;
mod paths;
mod redirects;
mod reload;
mod settling;

use serde_json::Value;
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::{Client, Request, Response};
use tollgate_testkit::upstream::Upstream;

/// An Envoy with its upstream.
struct Site {
    envoy: Envoy,
    upstream: Upstream,
    config: Config,
}

impl Site {
    /// Starts one with the sample policy, changed.
    fn with_policy(change: impl FnOnce(&mut Value)) -> Self {
        Self::with(2, |config| config.policy(change))
    }

    /// Starts one with the sample configuration, changed, and `workers` worker threads.
    fn with(workers: u32, change: impl FnOnce(Config) -> Config) -> Self {
        let upstream = Upstream::on_loopback().unwrap();
        let config = change(Config::sample(upstream.address()).unwrap());
        let envoy = Envoy::start(&config, workers).unwrap();
        Self { envoy, upstream, config }
    }

    fn client(&self) -> Client {
        self.envoy.client()
    }

    /// Sends a consumer's request over a connection of its own.
    fn ask(&self, consumer: &str, target: &str) -> Response {
        self.client().send(&Request::get(target).of(consumer)).unwrap()
    }
}
