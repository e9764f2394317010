//! Envoy's own parts of `envoy/envoy.yaml`, without the filter: authentication, and what reaches the upstream.

use serde_json::{Value, json};
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::{Client, Request, Response};
use tollgate_testkit::sample;
use tollgate_testkit::upstream::Upstream;

struct Bare {
    upstream: Upstream,
    envoy: Envoy,
}

fn bare() -> Bare {
    let upstream = Upstream::on_loopback().unwrap();
    let envoy = Envoy::start(&Config::without_filter(upstream.address()).unwrap(), 1).unwrap();
    Bare { upstream, envoy }
}

fn ask(bare: &Bare, request: &Request) -> Response {
    bare.envoy.client().send(request).unwrap()
}

/// A header as the upstream received it.
fn received(response: &Response, header: &str) -> Value {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["headers"][header].clone()
}

#[test]
fn an_api_key_names_the_consumer_and_its_tier() {
    let bare = bare();
    for (consumer, tier) in [("acme-free", "free"), ("pro-06", "pro"), ("initech-enterprise", "enterprise")] {
        let response = ask(&bare, &Request::get("/identify").of(consumer));
        assert_eq!(received(&response, "x-consumer-username"), json!([consumer]));
        assert_eq!(received(&response, "x-consumer-groups"), json!([tier]));
        assert_eq!(received(&response, "apikey"), Value::Null);
    }
}

#[test]
fn a_token_names_the_consumer_and_its_tier() {
    let bare = bare();
    let token = sample::token("globex-mobile", sample::in_an_hour());
    let request = Request::get("/identify").header("Authorization", format!("Bearer {token}"));
    for request in [request.clone(), request.of("acme-free")] {
        let response = ask(&bare, &request);
        assert_eq!(received(&response, "x-consumer-username"), json!(["globex-mobile"]));
        assert_eq!(received(&response, "x-consumer-groups"), json!(["pro"]));
        assert_eq!(received(&response, "authorization"), Value::Null);
        assert_eq!(received(&response, "apikey"), Value::Null);
    }
}

#[test]
fn a_client_without_credentials_is_let_through_as_nobody() {
    let bare = bare();
    let claims =
        ["X-Consumer-Username", "x-consumer-groups", "X-Consumer-Anything", "x-credential-identifier"];
    let mut request = Request::get("/identify").header("apikey", "").header("authorization", "Basic eDp5");
    for claim in claims {
        request = request.header(claim, "initech-enterprise");
    }
    let response = ask(&bare, &request);
    for claim in claims {
        assert_eq!(received(&response, &claim.to_ascii_lowercase()), Value::Null);
    }
}

#[test]
fn wrong_credentials_are_refused_before_the_upstream() {
    let bare = bare();
    let forged = sample::signed("globex-mobile", sample::in_an_hour(), "not the secret");
    let late = sample::token("globex-mobile", std::time::Duration::from_secs(1_000_000_000));
    for request in [
        Request::get("/identify").header("apikey", "nobody's"),
        Request::get("/identify").header("Authorization", format!("Bearer {forged}")),
        Request::get("/identify").header("Authorization", format!("Bearer {late}")),
    ] {
        assert_eq!(ask(&bare, &request).status, 401);
    }
    assert_eq!(bare.upstream.requests(), 0);
}

#[test]
fn only_the_sample_routes_reach_the_upstream() {
    let bare = bare();
    for path in ["/identify", "/compare?a=b", "/batch", "/health", "//identify", "/%69dentify", "/a/../batch"]
    {
        assert_eq!(ask(&bare, &Request::get(path)).status, 200, "{path}");
    }
    for path in ["/", "/identify/", "/identify/more", "/IDENTIFY", "/nothing"] {
        assert_eq!(ask(&bare, &Request::get(path)).status, 404, "{path}");
    }
}

#[test]
fn a_listener_is_replaced_while_it_serves() {
    let upstream = Upstream::on_loopback().unwrap();
    let config = Config::without_filter(upstream.address()).unwrap();
    let mut envoy = Envoy::start_updatable(&config, 2).unwrap();
    let mut client = Client::to(envoy.address());
    assert_eq!(client.get("/more").unwrap().status, 404);

    envoy.update(&config.clone().taking_every_path()).unwrap();
    assert_eq!(envoy.client().get("/more").unwrap().status, 200);

    let refusal = envoy.update(&config.http(|http| http["stat_prefix"] = "".into())).unwrap_err();
    assert!(refusal.to_string().contains("StatPrefix"), "{refusal}");
    assert_eq!(envoy.client().get("/more").unwrap().status, 200);
}

#[test]
fn an_envoy_that_cannot_start_says_why() {
    let upstream = Upstream::on_loopback().unwrap();
    let config = Config::without_filter(upstream.address()).unwrap();
    let failure = Envoy::start(&config.http(|http| http["stat_prefix"] = "".into()), 1).unwrap_err();
    assert!(format!("{failure:#}").contains("StatPrefix"), "{failure:#}");
}

#[test]
fn a_runner_runs_the_gateway_or_is_named_where_it_is_missing() {
    let upstream = Upstream::on_loopback().unwrap();
    let config = Config::without_filter(upstream.address()).unwrap();
    let envoy = Envoy::start_under(&config, 1, &["env", "TOLLGATE_RUN_BY=env"]).unwrap();
    assert_eq!(envoy.client().get("/more").unwrap().status, 404);
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", envoy.id())).unwrap();
    assert!(environment.split('\0').any(|variable| variable == "TOLLGATE_RUN_BY=env"), "{environment:?}");

    let failure = Envoy::start_under(&config, 1, &["tollgate-no-such-runner"]).unwrap_err();
    assert!(format!("{failure:#}").contains("tollgate-no-such-runner"), "{failure:#}");
}
