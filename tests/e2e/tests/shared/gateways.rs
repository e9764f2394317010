//! Requests while gateways crash or get another policy.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tollgate_testkit::wait;

use crate::load::{Consumer, Load, Log, StopAtEnd, Turn};
use crate::trial::{self, LIMIT};
use crate::{Cluster, PATIENCE, open_config};

/// Requests per second of each consumer.
const RATE: f64 = 45.0;

/// The load's duration before and after.
const CALM: Duration = Duration::from_secs(3);

/// The policy of a trial with a long timeout for the store, with which nothing is wrong.
fn policy(policy: &mut Value) {
    trial::policy(policy);
    policy["store"]["timeout"] = "2s".into();
}

/// Puts the load of two consumers on the gateways, as many as there are at each moment. Returns the logs of the one that offers
/// more than [`LIMIT`] and of the one that nothing limits.
fn under_load(cluster: &mut Cluster, happens: impl FnOnce(&mut Cluster, &AtomicUsize)) -> (Log, Log) {
    let load = Load::on(cluster.addresses());
    let (stop, gateways) = (AtomicBool::new(false), AtomicUsize::new(cluster.gateways.len()));
    let offer = |name: &str, tier: &'static str| {
        let consumer = Consumer::new(name, tier);
        load.run(|number| {
            let gateway = number % gateways.load(Ordering::Relaxed);
            let turn = Turn {
                at: Duration::from_secs_f64(number as f64 / RATE),
                gateway,
                consumer: consumer.clone(),
            };
            (!stop.load(Ordering::Relaxed)).then_some(turn)
        })
    };
    std::thread::scope(|scope| {
        let _whatever_happens = StopAtEnd(&stop);
        let overload = scope.spawn(|| offer("overload", "small"));
        let counted = scope.spawn(|| offer("counted", "counted"));
        wait::pass(CALM);
        happens(cluster, &gateways);
        wait::pass(CALM);
        stop.store(true, Ordering::Relaxed);
        (overload.join().unwrap(), counted.join().unwrap())
    })
}

#[test]
fn a_gateway_that_crashes_takes_its_lease_with_it_and_the_others_go_on() {
    let mut cluster = Cluster::open(3, "memory", policy);
    let (overload, counted) = under_load(&mut cluster, |cluster, gateways| {
        // No new request goes there from now on; one that is there may get no answer.
        gateways.store(2, Ordering::Relaxed);
        drop(cluster.gateways.pop());
    });
    for log in [&overload, &counted] {
        log.only(|shot| shot.gateway < 2).assert_decided();
        log.only(|shot| shot.status != 0).assert_decided();
    }
    LIMIT.assert_never_over(&overload, "all together, with the one that crashed");

    // What the gateway held counts as spent once its lease has ended: at most a bucket of one client, and of the other, which
    // only a month limits, what the gateway would have needed within a second.
    let share = RATE / 3.0 + 1.0;
    let units = |log: &Log| log.admitted().count() as f64;
    let used = |consumer: &str| cluster.used(consumer).unwrap_or_default();
    let least = units(&counted) - share;
    let is_all_there = || (used("overload") >= units(&overload) && used("counted") >= least).then_some(());
    wait::until("the crashed gateway's lease to end", PATIENCE, is_all_there).unwrap_or_else(|error| {
        let (overload, counted) = (units(&overload), units(&counted));
        panic!("{error}: {} of {overload} and {} of {counted}", used("overload"), used("counted"))
    });
    println!("{} of {}, {} of {}", used("overload"), units(&overload), used("counted"), units(&counted));
    assert!(used("overload") <= units(&overload) + LIMIT.capacity as f64, "no more than a bucket was lent");
    // Requests that the crashed gateway did not answer may have been let through and reported.
    let unanswered = counted.only(|shot| shot.status == 0).count() as f64;
    assert!(used("counted") <= units(&counted) + unanswered + share, "nothing counts twice");
}

#[test]
fn a_new_policy_on_every_gateway_hands_out_no_fresh_bucket_and_loses_no_usage() {
    let mut cluster = Cluster::open(2, "memory", policy);
    let (overload, counted) = under_load(&mut cluster, |cluster, _| {
        for rate in ["999/minute", "998/minute", "997/minute"] {
            let config = open_config(&cluster.upstream, cluster.store.address()).policy(|text| {
                policy(text);
                text["tiers"]["pro"]["rate"] = rate.into();
            });
            cluster.gateways.iter_mut().for_each(|gateway| gateway.update(&config).unwrap());
        }
    });
    overload.assert_decided();
    counted.assert_decided();
    assert_eq!(counted.count(), counted.admitted().count(), "nothing limits it");
    LIMIT.assert_never_over(&overload, "over all policies");
    LIMIT.assert_used(&overload, 95.0, 4.0, "over all policies");
    cluster.assert_comes_to_use("overload", overload.admitted().count());
    cluster.assert_comes_to_use("counted", counted.count());
}
