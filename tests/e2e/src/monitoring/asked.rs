//! Every expression of rules, alerts and dashboards, and its place.

use serde_json::Value;
use tollgate_testkit::workspace;

/// NAME in `monitoring/dashboards/NAME.json`.
pub const DASHBOARDS: [&str; 2] = ["gateway", "quotas"];

/// The values that Grafana would put in place of variables. A node is scraped once a second here.
const VARIABLES: [(&str, &str); 7] = [
    ("$__rate_interval", "10s"),
    ("$__range", "1m"),
    ("$datasource", ""),
    ("$node", ".*"),
    ("$route", ".*"),
    ("$tier", ".*"),
    ("$policy", ".*"),
];

/// One expression.
pub struct Asked {
    pub place: String,
    /// As it is written.
    pub raw: String,
    /// With variables filled in.
    pub text: String,
}

impl Asked {
    fn new(place: String, raw: &str) -> Self {
        let text = VARIABLES.iter().fold(raw.to_owned(), |text, (name, value)| text.replace(name, value));
        assert!(
            !text.contains('$') || place.starts_with("record "),
            "{place}: a variable that nobody fills in: {text}"
        );
        Self { place, raw: raw.to_owned(), text }
    }
}

/// A rule of `monitoring/prometheusrule.yaml`.
pub struct Rule {
    pub name: String,
    pub group: String,
    pub body: Value,
}

/// All rules and alerts.
pub struct Rules {
    pub records: Vec<Rule>,
    pub alerts: Vec<Rule>,
    /// The rules as a Prometheus without the operator reads them.
    pub file: String,
}

impl Rules {
    pub fn read() -> Self {
        let spec = workspace::read_yaml("monitoring/prometheusrule.yaml").unwrap()["spec"].take();
        let groups = spec["groups"].as_array().unwrap();
        let of = |kind: &str| {
            let mut found = Vec::new();
            for group in groups {
                for rule in group["rules"].as_array().unwrap() {
                    let Some(name) = rule[kind].as_str() else { continue };
                    let group = group["name"].as_str().unwrap().to_owned();
                    found.push(Rule { name: name.to_owned(), group, body: rule.clone() });
                }
            }
            found
        };
        Self { records: of("record"), alerts: of("alert"), file: spec.to_string() }
    }
}

pub fn dashboard(name: &str) -> Value {
    let text = workspace::read(&format!("monitoring/dashboards/{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The queries of a dashboard's panels.
pub fn of_dashboard(name: &str) -> Vec<Asked> {
    let board = dashboard(name);
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let place =
                format!("{name}: {} {}", panel["title"].as_str().unwrap(), target["refId"].as_str().unwrap());
            queries.push(Asked::new(place, target["expr"].as_str().unwrap()));
        }
    }
    queries
}

/// The queries from which the dashboards' variables are chosen.
pub fn variables() -> Vec<Asked> {
    let mut asked = Vec::new();
    for name in DASHBOARDS {
        for variable in dashboard(name)["templating"]["list"].as_array().unwrap() {
            let Some(query) = variable["query"]["query"].as_str() else { continue };
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) = inside.and_then(|inside| inside.split_once(", ")).unwrap();
            let place = format!("{name}: variable {}", variable["name"].as_str().unwrap());
            asked.push(Asked::new(place, &format!("group by ({label}) ({metric}{{{label}!=\"\"}})")));
        }
    }
    asked
}

/// All expressions.
pub fn all() -> Vec<Asked> {
    let rules = Rules::read();
    let of_rule = |kind: &str, rule: &Rule| {
        Asked::new(format!("{kind} {}", rule.name), rule.body["expr"].as_str().unwrap().trim())
    };
    let records = rules.records.iter().map(|rule| of_rule("record", rule));
    let alerts = rules.alerts.iter().map(|rule| of_rule("alert", rule));
    records.chain(alerts).chain(DASHBOARDS.into_iter().flat_map(of_dashboard)).collect()
}
