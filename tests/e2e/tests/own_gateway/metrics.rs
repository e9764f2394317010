//! The metrics that a dashboard shows.

use tollgate_testkit::http::Request;

use crate::Site;

/// The number of requests of a tier with an outcome.
pub fn requests(metrics: &str, tier: &str, outcome: &str) -> u64 {
    let labels = [format!("tier=\"{tier}\""), format!("outcome=\"{outcome}\"")];
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix("tollgate_requests{")?.split_once("} "))
        .filter(|(all, _)| labels.iter().all(|label| all.split(',').any(|one| one == label)))
        .map(|(_, value)| value.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn requests_are_counted_by_tier_and_outcome() {
    let site = Site::with_policy(|policy| {
        policy["tiers"]["free"] = serde_json::json!({ "rate": "3/hour", "burst": 1, "monthly": 100 });
        policy["tiers"]["pro"]["monthly"] = 2.into();
    });
    for _ in 0..5 {
        site.ask("free-01", "/identify");
    }
    for consumer in ["pro-01", "pro-01", "pro-01", "initech-enterprise", "billing-worker"] {
        site.ask(consumer, "/identify");
    }
    site.client().get("/identify").unwrap();
    site.ask("free-02", "/health");

    let metrics = site.envoy.prometheus().unwrap();
    for (tier, outcome, count) in [
        ("free", "allowed", 3),
        ("free", "refused_rate", 2),
        ("free", "refused_month", 0),
        ("pro", "allowed", 2),
        ("pro", "refused_month", 1),
        ("enterprise", "allowed", 1),
        ("partner", "allowed", 1),
        ("anonymous", "allowed", 1),
    ] {
        assert_eq!(requests(&metrics, tier, outcome), count, "{tier} {outcome} in\n{metrics}");
    }
    assert!(metrics.contains("tollgate_decision_microseconds_count"), "{metrics}");
}

#[test]
fn no_label_is_a_clients_to_choose() {
    let site = Site::with_policy(|_| ());
    let request = Request::get("/identify;tier=mine;outcome=mine")
        .header("X-Consumer-Groups", "x;tier=mine;outcome=mine")
        .header("User-Agent", "mine");
    site.client().send(&request).unwrap();
    site.client().send(&Request::get("/identify").of("free-01")).unwrap();
    let metrics = site.envoy.prometheus().unwrap();
    let ours: Vec<&str> = metrics.lines().filter(|line| line.starts_with("tollgate_")).collect();
    assert!(!ours.is_empty());
    assert!(ours.iter().all(|line| !line.contains("mine") && !line.contains("free-01")), "{ours:#?}");
}
