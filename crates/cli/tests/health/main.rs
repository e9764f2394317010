//! Health tells the truth: a store that is up would accept a write. A real store on each backend has its writes refused for
//! one reason after the other; readiness, metric, log and answers have to agree, and to recover by themselves.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

mod redb;
mod redis;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_testkit::http::{Client, Request};
use tollgate_testkit::store::Store;
use tollgate_testkit::wait;

/// The longest time until an outage is noticed.
const SEEN_IN: Duration = Duration::from_secs(10);

/// The promise is two seconds from the end of the cause; the rest allows for a busy machine.
const BACK_IN: Duration = Duration::from_secs(4);

/// The number of charges that are tried while the backend refuses writes.
const TRIES: u32 = 40;

/// A store, one client of it, and what this client has charged.
struct Watched {
    store: Store,
    client: Client,
    /// Charges of acme that the store accepted.
    charged: u64,
}

impl Watched {
    fn start(backend: &str) -> Self {
        let store = Store::start_as(Path::new(env!("CARGO_BIN_EXE_tollgate")), backend).unwrap();
        let client = store.client();
        let mut watched = Self { store, client, charged: 0 };
        watched.is(true);
        assert_eq!(watched.charge("acme"), 200);
        watched
    }

    /// Charges one unit, and returns the status.
    fn charge(&mut self, consumer: &str) -> u16 {
        let tiers = json!({ "tiers": { "free": { "rate": "1000000/minute" } } });
        let body =
            json!({ "namespace": "n", "consumer": consumer, "tier": "free", "cost": 1, "policy": tiers });
        let status = self.client.send(&Request::new("POST", "/v1/check").json(&body)).unwrap().status;
        self.charged += u64::from(status == 200 && consumer == "acme");
        status
    }

    fn used(&mut self) -> u64 {
        let usage = self.client.get("/v1/usage/n/acme").unwrap();
        usage.json()["used"].as_u64().unwrap_or_else(|| panic!("{}", usage.text()))
    }

    /// What readiness and the metric say, which has to be the same.
    fn is_up(&mut self) -> bool {
        // The truth may change between the two, but only once.
        for _ in 0..2 {
            let is_ready = self.client.get("/readyz").unwrap().status == 200;
            let is_up = self.store.metric("tollgate_store_backend_up").unwrap() == 1.0;
            if is_ready == is_up {
                return is_up;
            }
        }
        panic!("readiness and the metric contradict each other");
    }

    fn is(&mut self, up: bool) {
        let seen = wait::until("the truth", SEEN_IN, || (self.is_up() == up).then_some(()));
        seen.unwrap_or_else(|why| panic!("{why}: up is not {up}. Its log:\n{}", self.store.log()));
    }

    /// The log's lines about the backend after its first `before` bytes.
    fn said(&self, before: usize) -> Vec<String> {
        self.store.log()[before..].lines().map(str::to_owned).collect()
    }

    /// Runs an outage that `begin` causes and `end` ends; no charge of acme is accepted during it.
    fn lives_through(
        &mut self,
        cause: &str,
        begin: impl FnOnce(&Store),
        end: impl FnOnce(&Store),
        hint: &str,
    ) {
        let before = self.store.log().len();
        begin(&self.store);
        self.is(false);
        for number in 0..TRIES {
            assert_eq!(self.charge("acme"), 503, "{cause}: charge {number}");
            assert!(!self.is_up(), "{cause}: up, and no charge is taken. Its log:\n{}", self.store.log());
        }
        end(&self.store);
        self.comes_back(cause);
        let said = self.said(before);
        assert_eq!(said.len(), 2, "{cause}: {said:#?}");
        assert!(said[0].contains("the backend is away") && said[0].contains(hint), "{cause}: {said:#?}");
        assert!(said[1].contains("the backend is back"), "{cause}: {said:#?}");
    }

    fn comes_back(&mut self, cause: &str) {
        let ended = Instant::now();
        let back = wait::until("it to come back", SEEN_IN, || {
            let is_charged = self.charge("acme") == 200;
            (is_charged && self.is_up()).then(|| ended.elapsed())
        });
        let back = back.unwrap_or_else(|why| panic!("{cause}: {why}. Its log:\n{}", self.store.log()));
        println!("{cause}: back after {} ms", back.as_millis());
        assert!(back < BACK_IN, "{cause}: back after {back:?}");
    }
}
