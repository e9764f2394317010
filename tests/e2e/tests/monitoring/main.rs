//! Asks the expressions of `monitoring/` of a real Prometheus, which scrapes real gateways and stores under load.
//!
//! [`expression`] finds selectors and thresholds in an expression. The rest of the stage is in the suite's library.
//!
//! `promtool` and `amtool` check the rest, see `scripts/monitoring.sh`.

mod expression;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tollgate_e2e::monitoring::asked::{self, DASHBOARDS, Rules};
use tollgate_e2e::monitoring::prometheus::{Prometheus, Target};
use tollgate_e2e::monitoring::stage::Stage;
use tollgate_testkit::redis::Server;
use tollgate_testkit::store::Store;
use tollgate_testkit::workspace;

/// The longest wait for two scrapes and two evaluations, a second each on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Alerts that runbooks and people on call know by name.
const NAMED: [&str; 16] = [
    "KongDown",
    "HighErrorRate",
    "HighRateLimitRejections",
    "KongUpstreamUnavailable",
    "KongDatabaseDown",
    "RateLimitingRedisDown",
    "KongAdminLatencyHigh",
    "KongProxyLatencyHigh",
    "TollgateFilterMissing",
    "TollgatePolicyRejected",
    "TollgateStoreDown",
    "TollgateStoreUnreachable",
    "TollgateLeasesFailing",
    "TollgateRequestsUndecided",
    "TollgateTableEvictions",
    "TollgateQuotaNearlyUsed",
];

#[test]
fn every_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on() {
    let rules = Rules::read();
    for wanted in NAMED {
        assert!(rules.alerts.iter().any(|alert| alert.name == wanted), "no alert {wanted}");
    }
    for alert in &rules.alerts {
        let name = &alert.name;
        let note = |key: &str| alert.body["annotations"][key].as_str().unwrap_or_default();
        assert!(!note("summary").is_empty() && !note("description").is_empty(), "{name} says nothing");
        assert!(
            note("runbook_url").ends_with(&format!("/runbooks/{name}")),
            "{name}: {}",
            note("runbook_url")
        );
        let severity = alert.body["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
    }
    let names: BTreeSet<&str> = rules.alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(names.len(), rules.alerts.len(), "two alerts of one name");
    let tests = workspace::read("monitoring/rules.test.yaml").unwrap();
    for name in names {
        assert!(
            tests.contains(&format!("alertname=\"{name}\"")) || tests.contains(&format!("alertname: {name}")),
            "{name} has no test"
        );
    }
}

#[test]
fn what_is_asked_of_kong_is_in_the_list_of_what_kong_has() {
    let list = workspace::read("monitoring/kong-metrics.md").unwrap();
    let sample = workspace::read("monitoring/kong-sample.txt").unwrap();
    let mut asked = BTreeSet::new();
    for expression in asked::all() {
        for selector in expression::selectors(&expression.text).unwrap() {
            let name = selector.split('{').next().unwrap_or_default();
            asked.extend(name.starts_with("kong_").then(|| name.to_owned()));
        }
    }
    assert!(asked.len() >= 10, "{asked:?}");
    for name in asked {
        let family = name.strip_suffix("_bucket").unwrap_or(&name);
        assert!(
            list.contains(&format!("`{family}")),
            "monitoring/kong-metrics.md does not say where {name} was read"
        );
        assert!(sample.contains(&format!("\n{name}")), "monitoring/kong-sample.txt has no {name}");
    }
}

#[test]
fn the_dashboards_can_be_imported_and_explain_themselves() {
    for name in DASHBOARDS {
        let board = asked::dashboard(name);
        assert_eq!(board["id"], Value::Null, "{name}: an id belongs to one Grafana");
        assert_eq!(board["uid"], format!("tollgate-{name}"));
        let variables = board["templating"]["list"].as_array().unwrap();
        assert_eq!(
            (&variables[0]["name"], &variables[0]["type"]),
            (&"datasource".into(), &"datasource".into())
        );
        for variable in &variables[1..] {
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{name}: {}", variable["name"]);
            assert_eq!(variable["definition"], variable["query"]["query"], "{name}: {}", variable["name"]);
        }
        for wanted in ["tier", "route", "node"] {
            let is_there = variables.iter().any(|variable| variable["name"] == wanted);
            assert!(is_there, "{name} has no variable {wanted}");
            let is_used =
                asked::of_dashboard(name).iter().any(|asked| asked.raw.contains(&format!("${wanted}")));
            assert!(is_used, "{name}: no panel looks at {wanted}");
        }
        let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title} has another's id");
            assert!(titles.insert(title), "{name}: two panels are called {title}");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= 24, "{name}: {title} is off the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{name}: {title} lies on another");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(
                panel["description"].as_str().is_some_and(|text| text.len() > 20),
                "{name}: {title} explains nothing"
            );
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title} has no unit");
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{name}: {title} asks nothing");
            for place in targets.iter().chain([panel]) {
                assert_eq!(place["datasource"]["uid"], "${datasource}", "{name}: {title}");
            }
        }
    }
}

#[test]
fn every_query_is_one() {
    let rules: Vec<Value> = asked::all()
        .iter()
        .enumerate()
        .map(|(number, asked)| serde_json::json!({ "record": format!("query:{number}"), "expr": asked.text }))
        .collect();
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let groups = serde_json::json!({ "groups": [{ "name": "queries", "rules": rules }] });
    std::fs::write(file.path(), groups.to_string()).unwrap();
    let checked = Command::new("promtool").args(["check", "rules"]).arg(file.path()).output();
    let checked = checked.expect("promtool is needed: apt-get install prometheus, or make setup");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn every_expression_finds_series_on_real_gateways_under_load() {
    let stage = Stage::build();
    stage.under_load(|| {
        for asked in asked::all() {
            let place = &asked.place;
            for selector in expression::selectors(&asked.text).unwrap() {
                stage.prometheus.finds(&selector, PATIENCE).unwrap_or_else(|why| panic!("{place}: {why}"));
            }
            let text = expression::without_thresholds(&asked.text).unwrap();
            stage.prometheus.finds(&text, PATIENCE).unwrap_or_else(|why| panic!("{place}: {why}"));
        }
        // Both hosts have one name: every node has every metric of the filter and of the gateway.
        for rule in Rules::read().records {
            let is_of_nodes = matches!(rule.group.as_str(), "tollgate-filter" | "tollgate-gateway");
            for job in ["kong", "envoy"].into_iter().filter(|_| is_of_nodes) {
                let selector = format!("{}{{job=\"{job}\"}}", rule.name);
                stage.prometheus.finds(&selector, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
            }
        }
        for variable in asked::variables() {
            let found = stage.prometheus.finds(&variable.text, PATIENCE);
            found.unwrap_or_else(|why| panic!("{}: {why}", variable.place));
        }
    });
}

#[test]
fn a_redis_that_takes_no_writes_fires_the_alert_and_one_that_does_again_ends_it() {
    let redis = Server::start().unwrap();
    let store = Store::start(&redis.url()).unwrap();
    let rules = Rules::read();
    let alert = rules.alerts.iter().find(|alert| alert.name == "RateLimitingRedisDown").unwrap();
    // promtool checks how long the condition has to last.
    let pending = format!("\"for\":{}", alert.body["for"]);
    assert!(rules.file.contains(&pending), "{pending} is nowhere in the rules");
    let target = Target {
        job: "tollgate-store",
        instance: "store-1",
        address: store.address(),
        path: "/metrics",
        is_timed_only: false,
    };
    let prometheus =
        Prometheus::start_with(&[target], &rules.file.replace(&pending, "\"for\":\"1s\"")).unwrap();
    let firing = "ALERTS{alertname=\"RateLimitingRedisDown\", alertstate=\"firing\"}";
    let is_up = |up: u8| format!("tollgate_store_backend_up{{}} == {up}");
    prometheus.finds(&is_up(1), PATIENCE).unwrap();
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    prometheus.finds(&is_up(0), PATIENCE).unwrap();
    prometheus.finds(firing, PATIENCE).unwrap();
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    prometheus.finds(&is_up(1), PATIENCE).unwrap();
    prometheus.finds(&format!("absent({firing})"), PATIENCE).unwrap();
}
