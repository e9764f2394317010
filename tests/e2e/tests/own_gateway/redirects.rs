//! Requests that Envoy itself redirects when the upstream says so: they pass the filter twice.

use serde_json::{Value, json};
use tollgate_e2e::standing::{Standing, tier};
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::Request;
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;

use super::metrics::requests;
use crate::Site;

/// Makes Envoy follow up to three redirects on every route.
pub fn following(config: Config) -> Config {
    config.http(|http| {
        let routes = &mut http["route_config"]["virtual_hosts"][0]["routes"];
        for route in routes.as_array_mut().expect("routes") {
            route["route"]["internal_redirect_policy"] =
                json!({ "max_internal_redirects": 3, "redirect_response_codes": [302] });
        }
    })
}

fn redirected(consumer: &str, from: &str, to: &str) -> Request {
    Request::get(from).of(consumer).header("x-sample-redirect", format!("http://api.example.com{to}"))
}

fn is_charged_once(site: &Site) {
    let response = site.client().send(&redirected("free-01", "/identify", "/batch")).unwrap();
    let seen: Value = response.json();
    assert_eq!((response.status, &seen["path"]), (200, &json!("/batch")), "Envoy has followed it");
    assert_eq!(seen["headers"]["x-quota-consumer"], json!(["free-01"]));
    assert_eq!(tier(&response), Some("free"), "as it was said when it was charged");
    assert_eq!(Standing::of(&response).month_left, Some(49_999));
    // The client's own path has the price.
    let dear = site.client().send(&redirected("free-01", "/compare", "/identify")).unwrap();
    assert_eq!(Standing::of(&dear).month_left, Some(49_997));
    let free = site.client().send(&redirected("free-01", "/health", "/compare")).unwrap();
    assert_eq!((free.status, tier(&free)), (200, None));
    assert_eq!(Standing::of(&site.ask("free-01", "/identify")).month_left, Some(49_996));
    let metrics = site.envoy.prometheus().unwrap();
    assert_eq!(requests(&metrics, "free", "allowed"), 3, "{metrics}");
    assert_eq!(requests(&metrics, "anonymous", "allowed"), 0, "{metrics}");
}

#[test]
fn a_request_that_envoy_redirects_is_charged_once() {
    is_charged_once(&Site::with(1, following));
    is_charged_once(&Site::with(1, |config| following(config).granting_everything()));
}

#[test]
fn once_too_where_the_upstream_is_told_nothing() {
    let site = Site::with(1, |config| {
        following(config).policy(|policy| {
            policy["headers"]["upstream"] = false.into();
        })
    });
    let plain = site.ask("free-01", "/identify");
    let redirected = site.client().send(&redirected("free-01", "/compare", "/batch")).unwrap();
    let seen: Value = redirected.json();
    assert_eq!(seen["path"], json!("/batch"), "Envoy has followed it");
    for seen in [plain.json(), seen] {
        let told =
            seen["headers"].as_object().unwrap().keys().filter(|name| name.starts_with("x-quota-")).count();
        assert_eq!(told, 0, "{seen}");
    }
    assert_eq!(tier(&redirected), Some("free"), "as it was said when it was charged");
    assert_eq!(Standing::of(&redirected).month_left, Some(49_997));
    assert_eq!(Standing::of(&site.ask("free-01", "/identify")).month_left, Some(49_996));
}

#[test]
fn with_a_store_too() {
    let (upstream, store) = (Upstream::on_loopback().unwrap(), Store::start("memory").unwrap());
    let config = following(Config::shared(upstream.address(), store.address()).unwrap())
        .policy(|policy| policy["store"]["timeout"] = "2s".into());
    let envoy = Envoy::start(&config, 1).unwrap();
    is_charged_once(&Site { envoy, upstream, config });
}

#[test]
fn a_client_cannot_say_that_it_was_redirected() {
    let site = Site::with(1, following);
    for count in 1..=3 {
        let request = Request::get("/identify")
            .of("free-02")
            .header("x-quota-tier", "partner")
            .header("tollgate_charged", "1")
            .header("x-envoy-original-url", "http://127.0.0.1/health");
        let response = site.client().send(&request).unwrap();
        assert_eq!(Standing::of(&response).month_left, Some(50_000 - count));
    }
}
