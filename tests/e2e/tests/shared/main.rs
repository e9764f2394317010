//! Several gateways that share one store: what they promise together, on real Envoys and a real `tollgate store`.
//!
//! | where | what it is |
//! | --- | --- |
//! | [`length`] | the length of the long scenarios: shortened, or in full with `TOLLGATE_SOAK=1` |
//! | [`load`] | clients that send by a timetable and keep a log |
//! | [`ledger`] | the check of such a log |
//! | [`trial`] | a fault under load |
//! | all others | scenarios |

mod changes;
mod conforming;
mod crowd;
mod failure;
mod faults;
mod gateways;
mod ledger;
mod length;
mod limits;
mod load;
mod month;
mod overload;
mod redis;
mod thrift;
mod tokens;
mod trial;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_testkit::chaos::Chaos;
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::{Client, Request, Response};
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::wait;

/// The longest wait for what comes soon on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gateways, and the store that they share.
struct Cluster {
    gateways: Vec<Envoy>,
    store: Store,
    upstream: Upstream,
    /// The network between them, if it can be bad.
    chaos: Option<Chaos>,
}

impl Cluster {
    /// Starts `gateways` gateways of two workers each, with the sample policy and a store on `backend`.
    fn of(gateways: usize, backend: &str) -> Self {
        let upstream = Upstream::on_loopback().unwrap();
        let store = Store::start(backend).unwrap();
        let start = |_| {
            let config = Config::shared(upstream.address(), store.address()).unwrap();
            Envoy::start(&config, 2).unwrap()
        };
        Self { gateways: (0..gateways).map(start).collect(), store, upstream, chaos: None }
    }

    /// Starts gateways that believe every client's word about who it is, answer by themselves and have a changed policy. Their
    /// timeout for the store is long: a busy machine is no outage.
    fn open(gateways: usize, backend: &str, change: impl Fn(&mut Value)) -> Self {
        Self::build(gateways, backend, false, change)
    }

    /// [`Self::open`], behind a network that can be bad.
    fn in_chaos(gateways: usize, backend: &str, change: impl Fn(&mut Value)) -> Self {
        Self::build(gateways, backend, true, change)
    }

    fn build(gateways: usize, backend: &str, is_chaotic: bool, change: impl Fn(&mut Value)) -> Self {
        let upstream = Upstream::on_loopback().unwrap();
        let store = Store::start(backend).unwrap();
        // Its backend may be servers that have yet to find each other.
        let is_ready =
            || store.client().get("/readyz").is_ok_and(|answer| answer.status == 200).then_some(());
        wait::until("the store's backend", PATIENCE, is_ready).unwrap();
        let chaos = is_chaotic.then(|| Chaos::before(store.address()).unwrap());
        let way = chaos.as_ref().map_or(store.address(), Chaos::address);
        let config = open_config(&upstream, way).policy(|policy| {
            policy["store"]["timeout"] = "2s".into();
            change(policy);
        });
        let start = |_| Envoy::start_updatable(&config, 2).unwrap();
        Self { gateways: (0..gateways).map(start).collect(), store, upstream, chaos }
    }

    /// A new connection to a gateway.
    fn client(&self, gateway: usize) -> Client {
        self.gateways[gateway].client()
    }

    /// Sends a sample consumer's request to a gateway over a connection of its own.
    fn ask(&self, gateway: usize, consumer: &str, target: &str) -> Response {
        self.client(gateway).send(&Request::get(target).of(consumer)).unwrap()
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(Envoy::address).collect()
    }

    fn chaos(&self) -> &Chaos {
        self.chaos.as_ref().unwrap()
    }

    /// The use of a consumer, as the store says; `None` if the store does not know it.
    fn used(&self, consumer: &str) -> Option<f64> {
        let path = format!("/v1/usage/fingerprint/{consumer}");
        let answer = self.store.client().send(&Request::get(&path)).ok()?;
        (answer.status == 200).then(|| answer.json()["used"].as_f64().unwrap())
    }

    /// Waits until the store says that a consumer has used `units`.
    fn assert_comes_to_use(&self, consumer: &str, units: usize) {
        wait::until("usage", PATIENCE, || (self.used(consumer) == Some(units as f64)).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {consumer} used {:?} of {units}", self.used(consumer)));
    }
}

/// Only Tollgate stands before an answer of the gateway's own.
fn open_config(upstream: &Upstream, store: SocketAddr) -> Config {
    Config::shared(upstream.address(), store).unwrap().http(|http| {
        let filters = http["http_filters"].as_array_mut().unwrap();
        filters.retain(|filter| {
            matches!(filter["name"].as_str(), Some("tollgate" | "envoy.filters.http.router"))
        });
        http["route_config"]["virtual_hosts"] = json!([{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }],
        }]);
    })
}

/// The sum of a gateway's metric over all its lines with a label.
fn metric(gateway: &Envoy, name: &str, label: &str) -> u64 {
    let text = gateway.prometheus().unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    lines.filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}
