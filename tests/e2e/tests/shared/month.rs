//! A month's quota over several gateways, on a network that loses, repeats and delays messages.

use std::time::Duration;

use serde_json::json;
use tollgate_testkit::chaos::{Luck, Weather};

use crate::Cluster;
use crate::length;
use crate::load::{Consumer, Load, Turn};

#[test]
fn a_month_is_spent_to_the_last_unit_and_not_beyond_on_a_bad_network() {
    let quota: usize = length::full_or(50_000, 3_000);
    let offered = quota * 6 / 5;
    let cluster = Cluster::in_chaos(3, "memory", |policy| {
        policy["tiers"]["monthly"] = json!({ "rate": "unlimited", "monthly": quota });
        policy["store"]["timeout"] = "200ms".into();
    });
    // A shortened run makes fewer calls, so more of them have bad luck.
    cluster.chaos().set(Weather::Foul(length::full_or(100, 10)));
    let consumer = Consumer::new("monthly", "monthly");
    let length = length::of_a_minute();
    let log = Load::on(cluster.addresses()).run(|number| {
        let at = Duration::from_secs_f64(length.as_secs_f64() * number as f64 / offered as f64);
        (number < offered).then(|| Turn { at, gateway: number % 3, consumer: consumer.clone() })
    });
    println!(
        "{} admitted, {} calls, struck {:?}",
        log.admitted().count(),
        cluster.chaos().calls(),
        cluster.chaos().struck()
    );
    log.assert_decided();
    assert_eq!(log.count(), offered);
    let struck = cluster.chaos().struck();
    assert!(struck.iter().all(|count| *count > 0), "of {:?} struck {struck:?}", Luck::ALL);
    assert_eq!(log.admitted().count(), quota);
    cluster.chaos().set(Weather::Fair);
    cluster.assert_comes_to_use("monthly", quota);
}
