//! Requests whose responses say what they cost, on a real Envoy.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_e2e::standing::Standing;
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::{Request, Response};
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::wait;

use super::redirects::following;
use crate::Site;

fn settling(policy: &mut Value) {
    policy["endpoints"]
        .as_array_mut()
        .expect("endpoints")
        .push(json!({ "path": "/chat", "cost": 20, "settle": true }));
    policy["refund"] = json!(["5xx"]);
}

fn chat(consumer: &str) -> Request {
    Request::get("/chat").of(consumer)
}

fn costing(consumer: &str, cost: &str) -> Request {
    chat(consumer).header("x-sample-response-header", format!("X-Quota-Cost: {cost}"))
}

fn month_left(response: &Response) -> Option<u64> {
    Standing::of(response).month_left
}

#[test]
fn every_kind_of_response_settles_its_request_once() {
    let site = Site::with(2, |config| config.taking_every_path().policy(settling));
    let mut client = site.client();
    let first = client.send(&costing("free-01", "4.5")).unwrap();
    assert_eq!(first.json()["headers"]["x-quota-cost"], json!(["20"]), "what the gateway charged");
    assert_eq!((month_left(&first), first.header("x-quota-cost")), (Some(49_995), None));
    let head = client.send(
        &Request::new("HEAD", "/chat").of("free-01").header("x-sample-response-header", "X-Quota-Cost: 0.5"),
    );
    assert_eq!(month_left(&head.unwrap()), Some(49_995));
    let unchanged = client.send(&costing("free-01", "25").header("x-sample-status", "304")).unwrap();
    assert_eq!((unchanged.status, month_left(&unchanged)), (304, Some(49_970)));
    for status in ["500", "503"] {
        let failed = client.send(&costing("free-01", "9").header("x-sample-status", status)).unwrap();
        assert_eq!(month_left(&failed), Some(49_970), "{status}");
    }
    for wrong in ["-1", "1e3", "", "0.0001"] {
        client.send(&costing("free-01", wrong)).unwrap();
    }
    let last = client.send(&costing("free-01", "0")).unwrap();
    assert_eq!(month_left(&last), Some(49_890), "the charge of 20 stays four times");
    let metrics = site.envoy.prometheus().unwrap();
    for (outcome, count) in [("settled", 4), ("refunded", 2), ("malformed", 4)] {
        let line = format!("tollgate_settlements{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
}

#[test]
fn an_upstream_that_is_away_costs_nothing_where_the_policy_says_so() {
    let mut site = Site::with(2, |config| config.taking_every_path().policy(settling));
    drop(std::mem::replace(&mut site.upstream, Upstream::on_loopback().unwrap()));
    assert_eq!(site.ask("free-01", "/chat").status, 503);
    let response = site.ask("free-01", "/chat");
    assert_eq!((response.status, month_left(&response)), (503, Some(50_000)));
}

/// What the store says that a consumer has used.
fn used(store: &Store, consumer: &str) -> Option<Value> {
    let response = store.client().get(&format!("/v1/usage/fingerprint/{consumer}")).ok()?;
    Some(response.json()["used"].clone())
}

#[test]
fn with_a_store_the_month_is_what_was_settled_whatever_the_mode() {
    for mode in ["leased", "strict"] {
        let (upstream, store) = (Upstream::on_loopback().unwrap(), Store::start("memory").unwrap());
        let config = Config::shared(upstream.address(), store.address()).unwrap().taking_every_path().policy(
            |policy| {
                settling(policy);
                policy["store"]["timeout"] = "2s".into();
                policy["store"]["mode"] = mode.into();
            },
        );
        let envoy = Envoy::start(&config, 2).unwrap();
        let send = |request: &Request| envoy.client().send(request).unwrap().status;
        for cost in ["4.5", "0.125", "31", "0", "19.999"] {
            assert_eq!(send(&costing("pro-01", cost)), 200, "{mode}, {cost}");
        }
        assert_eq!(send(&chat("pro-01").header("x-sample-status", "502")), 502);
        wait::until("the usage is what was settled", Duration::from_secs(20), || {
            (used(&store, "pro-01")? == json!(55.624)).then_some(())
        })
        .unwrap_or_else(|error| panic!("{mode}: {error}, {:?}", used(&store, "pro-01")));
    }
}

#[test]
fn a_request_that_envoy_repeats_is_charged_and_settled_once() {
    let site = Site::with(1, |config| {
        config.taking_every_path().policy(settling).http(|http| {
            for route in http["route_config"]["virtual_hosts"][0]["routes"].as_array_mut().expect("routes") {
                route["route"]["retry_policy"] = json!({ "retry_on": "5xx", "num_retries": 2 });
            }
        })
    });
    let before = site.upstream.requests();
    let failed = site.client().send(&costing("free-01", "9").header("x-sample-status", "503")).unwrap();
    assert_eq!(site.upstream.requests() - before, 3, "Envoy has asked twice more");
    assert_eq!((failed.status, month_left(&failed)), (503, Some(50_000)));
    let last = site.client().send(&costing("free-01", "4")).unwrap();
    assert_eq!(month_left(&last), Some(49_996));
    let metrics = site.envoy.prometheus().unwrap();
    for line in
        ["tollgate_settlements{outcome=\"refunded\"} 1", "tollgate_settlements{outcome=\"settled\"} 1"]
    {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
}

#[test]
fn a_request_that_envoy_redirects_is_settled_once_by_its_last_response() {
    let site = Site::with(1, |config| following(config.taking_every_path()).policy(settling));
    let redirected =
        |cost: &str| costing("free-01", cost).header("x-sample-redirect", "http://api.example.com/identify");
    let response = site.client().send(&redirected("4.5")).unwrap();
    let seen: Value = response.json();
    assert_eq!((response.status, &seen["path"]), (200, &json!("/identify")), "Envoy has followed it");
    assert_eq!(month_left(&response), Some(49_995));
    let refunded = site.client().send(&redirected("9").header("x-sample-status", "500")).unwrap();
    assert_eq!((refunded.status, month_left(&refunded)), (500, Some(49_995)));
    let dearer = site.client().send(&redirected("25")).unwrap();
    assert_eq!(month_left(&dearer), Some(49_970));
}

#[test]
fn a_connection_that_changes_its_protocol_is_settled_by_its_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        head_of(&mut stream);
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Quota-Cost: 4\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        // The connection stays until the client goes.
        let _ = stream.read(&mut [0; 64]);
    });
    let config = Config::sample(upstream).unwrap().taking_every_path().policy(settling).http(|http| {
        http["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
    });
    let envoy = Envoy::start(&config, 1).unwrap();
    let mut client = TcpStream::connect(envoy.address()).unwrap();
    let key = tollgate_testkit::sample::key("free-01");
    let request = format!(
        "GET /chat HTTP/1.1\r\nHost: a\r\napikey: {key}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let head = head_of(&mut client).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("x-quota-monthly-remaining: 49996\r\n"), "{head}");
    assert!(!head.contains("x-quota-cost"), "{head}");
    drop(client);
    answering.join().unwrap();
    let metrics = envoy.prometheus().unwrap();
    assert!(metrics.lines().any(|line| line == "tollgate_settlements{outcome=\"settled\"} 1"), "{metrics}");
}

/// What comes before the empty line.
fn head_of(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}
