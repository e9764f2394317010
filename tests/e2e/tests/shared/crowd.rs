//! Many clients that keep to their limits.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_testkit::http::at_once;
use tollgate_testkit::wait;

use crate::Cluster;
use crate::length;
use crate::load::Consumer;

const CLIENTS: usize = 1_000;

/// Threads that share the clients among them.
const HANDS: usize = 10;

#[test]
fn of_a_thousand_clients_at_half_their_limits_nobody_is_refused() {
    let cluster = Cluster::open(3, "memory", |policy| {
        policy["tiers"]["steady"] = json!({ "rate": "1/second", "burst": 2 });
    });
    // The free tier's bucket outlasts a shortened run; the bucket of one request per second does not.
    let (tier, period) =
        length::full_or(("free", Duration::from_millis(1_200)), ("steady", Duration::from_secs(2)));
    let refused = Mutex::new(Vec::new());
    let sent: usize = at_once(HANDS, |hand, start| {
        let mut clients: Vec<_> = (0..3).map(|gateway| cluster.client(gateway)).collect();
        start.wait();
        let mut sent = 0;
        let mut due = Instant::now();
        let end = due + length::of_a_minute();
        for round in 0.. {
            for consumer in (hand..CLIENTS).step_by(HANDS) {
                wait::pass(due.saturating_duration_since(Instant::now()));
                // A late request is not made up for: that would exceed the limit.
                due = due.max(Instant::now()) + period * HANDS as u32 / CLIENTS as u32;
                if due > end {
                    return sent;
                }
                let who = Consumer::new(&format!("client-{consumer}"), tier);
                let answer = clients[(consumer + round) % 3].send(&who.asks("/identify")).unwrap();
                sent += 1;
                if answer.status != 200 {
                    refused.lock().unwrap().push((consumer, round, answer.status));
                }
            }
        }
        sent
    })
    .into_iter()
    .sum();
    let refused = refused.into_inner().unwrap();
    println!("{sent} requests");
    assert!(sent > 2 * CLIENTS, "{sent} requests are too few");
    assert!(refused.is_empty(), "{} of {sent} refused (client, round, status): {refused:?}", refused.len());
}
