//! What `on_failure` makes of requests while the store is away, and gateways that ask it for every request.

use std::time::Instant;

use serde_json::{Value, json};

use crate::Cluster;
use crate::load::Consumer;

/// A tier with a limit that gives nothing back while a test runs.
fn small(on_failure: Option<&str>) -> Value {
    let mut tier = json!({ "rate": "5/hour", "burst": 1 });
    if let Some(what) = on_failure {
        tier["on_failure"] = what.into();
    }
    tier
}

/// How many of a consumer's twenty requests pass at a gateway; all others must be refused with `status`.
fn passed(cluster: &Cluster, gateway: usize, consumer: &str, tier: &'static str, status: u16) -> usize {
    let mut client = cluster.client(gateway);
    let request = Consumer::new(consumer, tier).asks("/identify");
    let statuses: Vec<u16> = (0..20).map(|_| client.send(&request).unwrap().status).collect();
    assert!(statuses.iter().all(|one| *one == 200 || *one == status), "{consumer}: {statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

#[test]
fn without_the_store_every_tier_goes_on_as_it_says_itself_or_else_as_the_store_section_says() {
    let mut cluster = Cluster::open(2, "memory", |policy| {
        policy["tiers"]["unsaid"] = small(None);
        for what in ["ip", "open", "closed"] {
            policy["tiers"][what] = small(Some(what));
        }
        policy["anonymous"] = json!({ "rate": "3/hour", "burst": 1 });
    });
    cluster.store.kill();
    for gateway in 0..2 {
        assert_eq!(passed(&cluster, gateway, "one", "unsaid", 429), 5, "local: a bucket on each node");
        assert_eq!(passed(&cluster, gateway, "two", "ip", 429), 3, "as an anonymous client of its address");
        assert_eq!(passed(&cluster, gateway, "three", "ip", 429), 0, "which they share");
        assert_eq!(passed(&cluster, gateway, "four", "open", 429), 20);
        assert_eq!(passed(&cluster, gateway, "five", "closed", 503), 0);
    }
    let answer = cluster.client(0).send(&Consumer::new("five", "closed").asks("/identify")).unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(answer.number("retry-after").unwrap() >= 1);
    let problem = answer.json();
    assert_eq!(problem["status"], 503);
    assert!(problem["type"].as_str().unwrap().ends_with("#temporary-reduced-capacity"), "{problem}");
}

#[test]
fn a_tier_may_stay_open_where_the_store_section_says_closed() {
    let mut cluster = Cluster::open(1, "memory", |policy| {
        policy["store"]["on_failure"] = "closed".into();
        policy["tiers"]["unsaid"] = small(None);
        policy["tiers"]["open"] = small(Some("open"));
        policy["tiers"]["local"] = small(Some("local"));
    });
    cluster.store.kill();
    assert_eq!(passed(&cluster, 0, "one", "unsaid", 503), 0);
    assert_eq!(passed(&cluster, 0, "two", "open", 503), 20);
    assert_eq!(passed(&cluster, 0, "three", "local", 429), 5);
}

#[test]
fn strict_gateways_are_exact_together_and_call_once_a_request() {
    const REQUESTS: usize = 90;
    let cluster = Cluster::in_chaos(3, "memory", |policy| {
        policy["tiers"]["small"] = json!({ "rate": "40/hour", "burst": 1 });
        policy["store"]["mode"] = "strict".into();
    });
    let began = Instant::now();
    let calls = cluster.chaos().calls();
    let statuses = tollgate_testkit::http::at_once(6, |hand, start| {
        let request = Consumer::new("strict", "small").asks("/identify");
        let mut client = cluster.client(hand % 3);
        start.wait();
        (0..REQUESTS / 6).map(|_| client.send(&request).unwrap().status).collect::<Vec<u16>>()
    })
    .concat();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 40, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    let calls = cluster.chaos().calls() - calls;
    // Each worker and each main thread also tells the store once a second that it is there.
    let heartbeats = 9 * (began.elapsed().as_secs() + 2);
    assert!((90..=90 + heartbeats).contains(&calls), "{calls} calls for 90 requests");
    cluster.assert_comes_to_use("strict", 40);
}
