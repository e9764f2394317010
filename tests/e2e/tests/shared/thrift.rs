//! What clients cost the store, in calls.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tollgate_testkit::wait;

use crate::load::{Consumer, StopAtEnd};
use crate::{Cluster, PATIENCE, metric};

const CALLS: &str = "tollgate_store_requests_total{call=\"leases\"";

/// Connections per gateway of a client that sends as fast as it can.
const HANDS: usize = 2;

/// How long its calls are counted.
const COUNTED: Duration = Duration::from_secs(5);

#[test]
fn a_client_that_floods_three_gateways_costs_the_store_thirty_calls_a_second_at_most() {
    let cluster = Cluster::open(3, "memory", |_| {});
    let (stop, refused, sent) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let calls = || cluster.store.metric(CALLS).unwrap();
    std::thread::scope(|scope| {
        let _whatever_happens = StopAtEnd(&stop);
        for hand in 0..3 * HANDS {
            let (cluster, stop, refused, sent) = (&cluster, &stop, &refused, &sent);
            scope.spawn(move || {
                let request = Consumer::new("flood", "free").asks("/identify");
                let mut client = cluster.client(hand % 3);
                while !stop.load(Ordering::Relaxed) {
                    let status = client.send(&request).unwrap().status;
                    sent.fetch_add(1, Ordering::Relaxed);
                    refused.fetch_add(usize::from(status == 429), Ordering::Relaxed);
                }
            });
        }
        let is_spent = || (refused.load(Ordering::Relaxed) > 200).then_some(());
        wait::until("the burst to be spent", PATIENCE, is_spent).unwrap();
        let (before, sent_before, began) = (calls(), sent.load(Ordering::Relaxed), Instant::now());
        // This is the measured time.
        wait::pass(COUNTED);
        let seconds = began.elapsed().as_secs_f64();
        let rate = (calls() - before) / seconds;
        let requests = (sent.load(Ordering::Relaxed) - sent_before) as f64 / seconds;
        println!("{rate:.1} calls/s for {requests:.0} requests/s");
        assert!(requests > 100.0, "{requests} requests/s are no flood");
        assert!(rate <= 30.0, "{rate} calls/s for {requests} requests/s");
    });
}

#[test]
fn a_client_within_its_lease_does_not_wait_for_the_store() {
    let cluster = Cluster::open(1, "memory", |_| {});
    let request = Consumer::new("within", "pro").asks("/identify");
    let mut client = cluster.client(0);
    for _ in 0..200 {
        assert_eq!(client.send(&request).unwrap().status, 200);
        // This is a steady client, not a burst.
        wait::pass(Duration::from_millis(5));
    }
    let (hits, misses) = (
        metric(&cluster.gateways[0], "tollgate_lease_hits", ""),
        metric(&cluster.gateways[0], "tollgate_lease_misses", ""),
    );
    println!("{hits} hits, {misses} misses");
    assert_eq!(hits + misses, 200);
    // The first request has no lease, and the first lease is as small as for any client that has asked for little.
    assert!((1..=10).contains(&misses), "{misses} of 200 have waited for the store");
}
