//! Several gateways that share one store: what they promise together, on real Envoys and a real `tollgate store`.

mod limits;

use serde_json::Value;
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::{Client, Request, Response};
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;

/// Gateways, and the store that they share.
struct Cluster {
    gateways: Vec<Envoy>,
    store: Store,
    upstream: Upstream,
}

impl Cluster {
    /// So many gateways of two workers each, with the sample policy and a store on `backend`.
    fn of(gateways: usize, backend: &str) -> Self {
        Self::with_policy(gateways, backend, |_| {})
    }

    /// The same with the policy changed.
    fn with_policy(gateways: usize, backend: &str, change: impl Fn(&mut Value)) -> Self {
        let upstream = Upstream::on_loopback().unwrap();
        let store = Store::start(backend).unwrap();
        let start = |_| {
            let config = Config::shared(upstream.address(), store.address()).unwrap().policy(&change);
            Envoy::start(&config, 2).unwrap()
        };
        Self { gateways: (0..gateways).map(start).collect(), store, upstream }
    }

    /// A new connection to a gateway.
    fn client(&self, gateway: usize) -> Client {
        self.gateways[gateway].client()
    }

    /// A consumer's request at a gateway over a connection of its own.
    fn ask(&self, gateway: usize, consumer: &str, target: &str) -> Response {
        self.client(gateway).send(&Request::get(target).of(consumer)).unwrap()
    }
}
