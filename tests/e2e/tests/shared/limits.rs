//! One limit over all gateways.

use std::time::{Duration, Instant};

use tollgate_testkit::http::{Request, at_once};
use tollgate_testkit::wait;

use crate::Cluster;

#[test]
fn a_consumer_has_one_bucket_at_all_gateways() {
    let cluster = Cluster::of(3, "memory");
    let began = Instant::now();
    let statuses: Vec<u16> =
        (0..240).map(|turn| cluster.ask(turn % 3, "free-01", "/identify").status).collect();
    let passed = statuses.iter().filter(|status| **status == 200).count() as f64;
    let most = 150.0 + began.elapsed().as_secs_f64() * 100.0 / 60.0;
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    assert!((147.0..=most + 1.0).contains(&passed), "{passed} of 150 to {most}: {statuses:?}");
    let last = cluster.ask(0, "free-01", "/identify");
    assert_eq!((last.status, last.header("x-quota-tier")), (429, Some("free")));
    assert!(last.number("retry-after").unwrap() >= 1);
}

#[test]
fn what_was_used_at_all_gateways_stands_in_the_stores_usage() {
    let cluster = Cluster::of(2, "memory");
    for turn in 0..40 {
        assert_eq!(cluster.ask(turn % 2, "pro-01", "/compare").status, 200);
        assert_eq!(cluster.ask(turn % 2, "initech-enterprise", "/identify").status, 200);
        assert_eq!(cluster.ask(turn % 2, "pro-01", "/health").status, 200);
    }
    let used = |consumer: &str| {
        let path = format!("/v1/usage/fingerprint/{consumer}");
        let answer = cluster.store.client().send(&Request::get(&path)).unwrap();
        (answer.status == 200).then(|| answer.json()["used"].as_f64().unwrap())
    };
    let told = |consumer: &str, units: f64| {
        wait::until("usage", Duration::from_secs(10), || (used(consumer) == Some(units)).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {consumer} used {:?} of {units}", used(consumer)));
    };
    told("pro-01", 80.0);
    told("initech-enterprise", 40.0);
}

#[test]
fn a_lease_spares_the_store_almost_every_call() {
    let cluster = Cluster::of(1, "memory");
    let began = Instant::now();
    at_once(4, |_, start| {
        let mut client = cluster.client(0);
        client.connect().unwrap();
        start.wait();
        for _ in 0..300 {
            let status = client.send(&Request::get("/identify").of("pro-01")).unwrap().status;
            assert!(matches!(status, 200 | 429), "{status}");
        }
    });
    let calls = cluster.store.metric("tollgate_store_requests_total{call=\"leases\"").unwrap();
    // Ten calls per second and worker, and those of a cold burst, each of which brings twice as much as the one before: a dozen
    // per worker.
    let most = 2.0 * 10.0 * began.elapsed().as_secs_f64() + 24.0;
    assert!(calls >= 1.0 && calls <= most, "{calls} calls, {most} at most");
}

#[test]
fn many_requests_of_a_cold_consumer_at_once_ask_together() {
    let cluster = Cluster::of(1, "memory");
    let statuses = at_once(60, |_, start| {
        let mut client = cluster.client(0);
        client.connect().unwrap();
        start.wait();
        client.send(&Request::get("/identify").of("pro-02")).unwrap().status
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let calls = cluster.store.metric("tollgate_store_requests_total{call=\"leases\"").unwrap();
    assert!(calls <= 20.0, "{calls} calls for 60 requests");
    assert_eq!(cluster.upstream.requests(), 60);
}
