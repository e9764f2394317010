//! Clients that keep to their limit, and a client whose every request costs all that its bucket holds.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_testkit::wait;

use crate::Cluster;
use crate::ledger::{Limit, SECOND};
use crate::length;
use crate::load::{Consumer, Load, Turn};

/// The store decides request by request for the first tier, whose bucket is so small; gateways borrow for the second.
const TIERS: [(&str, u32); 2] = [("few", 3), ("many", 30)];

fn tiers(policy: &mut Value) {
    for (name, units) in TIERS {
        policy["tiers"][name] = json!({ "rate": format!("{units}/second"), "burst": 1 });
    }
    policy["tiers"]["single"] = json!({ "rate": "1/second", "burst": 1 });
    // No request may cost more than a bucket holds.
    policy["endpoints"] = json!([]);
}

/// Sends one request per `period` to the gateways in turn. Returns how many were sent, and how many were not let through.
fn paced(
    cluster: &Cluster,
    name: &str,
    tier: &'static str,
    gateways: &[usize],
    period: Duration,
) -> (usize, usize) {
    let request = Consumer::new(name, tier).asks("/identify");
    let mut clients: Vec<_> = gateways.iter().map(|gateway| cluster.client(*gateway)).collect();
    let (mut sent, mut refused) = (0, 0);
    let end = Instant::now() + length::of_a_minute();
    while Instant::now() < end {
        let client = &mut clients[sent % gateways.len()];
        refused += usize::from(client.send(&request).unwrap().status != 200);
        sent += 1;
        // The period starts after the answer: a slow machine must not make the requests denser than their limit.
        wait::pass(period);
    }
    println!("{name}: {refused} of {sent} refused");
    (sent, refused)
}

#[test]
fn who_keeps_to_its_limit_is_not_refused() {
    let cluster = Cluster::open(3, "memory", tiers);
    std::thread::scope(|scope| {
        let cluster = &cluster;
        scope.spawn(|| {
            let (sent, refused) = paced(cluster, "single", "single", &[0], Duration::from_millis(1_200));
            assert!(
                refused == 0 && sent >= 5,
                "one gateway, 1/second each 1.2 s: {refused} of {sent} refused"
            );
        });
        for (tier, units) in TIERS {
            scope.spawn(move || {
                let period = SECOND * 21 / (20 * units);
                let (sent, refused) = paced(cluster, &format!("{tier}-at-one"), tier, &[1], period);
                assert!(refused == 0 && sent >= 20, "{tier}, one gateway: {refused} of {sent} refused");
            });
            scope.spawn(move || {
                // 80 % of the rate.
                let period = SECOND * 5 / (4 * units);
                let (sent, refused) = paced(cluster, &format!("{tier}-wanders"), tier, &[0, 1, 2], period);
                assert!(
                    sent >= 20 && refused * 1_000 < sent.max(1_000),
                    "{tier}: {refused} of {sent} refused"
                );
            });
        }
    });
}

#[test]
fn a_cost_as_large_as_the_bucket_gets_all_of_the_rate() {
    const ONE: Limit = Limit::new(1, 1, SECOND);
    let cluster = Cluster::open(3, "memory", |policy| {
        policy["tiers"]["dear"] = json!({ "rate": "10/second", "burst": 1 });
        policy["endpoints"] = json!([{ "path": "/identify", "cost": 10 }]);
    });
    let consumer = Consumer::new("dear", "dear");
    // Of a hundred requests per second, one comes within ten milliseconds after the bucket is full: that loses a hundredth.
    let log = Load::on(cluster.addresses()).run(|number| {
        let at = Duration::from_millis(10) * number as u32;
        (at <= length::of_a_minute()).then(|| Turn { at, gateway: number % 3, consumer: consumer.clone() })
    });
    log.assert_decided();
    ONE.assert_never_over(&log, "dear");
    // In a shortened run one request is a twelfth of them all.
    ONE.assert_used(&log, 98.0, length::full_or(0.0, 1.0), "dear");
}
