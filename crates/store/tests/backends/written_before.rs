//! Data that an earlier version has written.
//!
//! `written_by_2139ffa.json` is what the store of commit 2139ffa had in its Redis after the demo's requests, two overrides,
//! one that was removed again, a reset, and a check of 2.5: the commands that write it, their arguments in hexadecimal.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use redis::Cmd;
use serde_json::{Value, json};
use tollgate_store::app;
use tollgate_store::app::access::Tokens;
use tollgate_store::app::state::{Bounds, Store};
use tollgate_store::backend::Backend;
use tollgate_testkit::redis::Server;
use tower::ServiceExt as _;

use crate::ask::month;

const NAMESPACE: &str = "demo-1796069535248";

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
    (0..hexadecimal.len()).step_by(2).map(digits).collect()
}

/// Moves an account's only month, its last ten bytes, to `month`: the data would otherwise be too old one day.
fn moved_to(month: u16, mut account: Vec<u8>) -> Vec<u8> {
    // Anonymous clients, and who was reset, have none.
    if account[16] == 0 {
        return account;
    }
    assert_eq!(account[16], 1, "months");
    let at = account.len() - 10;
    account[at..at + 2].copy_from_slice(&month.to_le_bytes());
    account
}

async fn restore(server: &Server, month: u16) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let commands: Vec<Vec<String>> = serde_json::from_str(include_str!("written_by_2139ffa.json")).unwrap();
    for command in commands {
        let mut arguments: Vec<_> = command[1..].iter().map(|argument| bytes(argument)).collect();
        if arguments[0].starts_with(b"tollgate:a:") {
            arguments[1] = moved_to(month, arguments[1].clone());
        }
        let mut written = Cmd::new();
        written.arg(&command[0]).arg(arguments);
        written.exec_async(&mut connection).await.unwrap();
    }
}

async fn ask(app: &Router, method: Method, path: &str, body: Value) -> Value {
    let request =
        Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let response = app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.status());
    serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_has_written_is_read_and_carried_on() {
    let server = Server::start().unwrap();
    let backend: Arc<dyn Backend> = crate::redis(&server.url()).await;
    restore(&server, month(&backend).await).await;
    let app = app::app(Store::new(Arc::clone(&backend), Tokens::default(), Bounds::default()).unwrap());
    let get = async |path: &str| ask(&app, Method::GET, &format!("/v1/{path}"), Value::Null).await;

    let usage = get(&format!("usage/{NAMESPACE}")).await;
    let used = |consumer: &str| {
        usage
            .as_array()
            .unwrap()
            .iter()
            .find(|line| line["consumer"] == consumer)
            .map(|line| line["used"].clone())
    };
    for (consumer, units) in [
        ("free-01", json!(150)),
        ("free-03", json!(152.5)),
        ("pro-01", json!(1508)),
        ("globex-mobile", json!(1510)),
        ("initech-enterprise", json!(300)),
        ("umbrella-partner", json!(600)),
        ("billing-worker", json!(300)),
    ] {
        assert_eq!(used(consumer), Some(units), "{consumer}");
    }
    assert_eq!(used("free-02"), None, "reset");

    let overrides = get(&format!("overrides/{NAMESPACE}")).await["overrides"].clone();
    let told: Vec<_> =
        overrides.as_array().unwrap().iter().map(|one| (&one["consumer"], &one["reason"])).collect();
    assert_eq!(told, [(&json!("acme ü"), &json!("as agreed")), (&json!("free-01"), &json!("a trial"))]);
    let audit = get(&format!("audit/{NAMESPACE}")).await;
    let actions: Vec<_> =
        audit["lines"].as_array().unwrap().iter().map(|line| line["action"].clone()).collect();
    assert_eq!(actions, ["reset", "override_removed", "override_set", "override_set", "override_set"]);

    // What comes now is counted on top: the tiers that gateways had told of are known, revisions and lines go on.
    let check = json!({ "namespace": NAMESPACE, "consumer": "free-03", "tier": "free", "cost": 1 });
    assert_eq!(ask(&app, Method::POST, "/v1/check", check).await["monthly_remaining"], 49_846);
    assert_eq!(get(&format!("usage/{NAMESPACE}/free-03")).await["used"], json!(153.5));
    let change = json!({ "tier": "free", "reason": "a downgrade" });
    let set = ask(&app, Method::PUT, &format!("/v1/overrides/{NAMESPACE}/pro-01"), change).await;
    assert_eq!(set["revision"], 6);
    assert_eq!(get(&format!("audit/{NAMESPACE}")).await["lines"][0]["number"], 6);
}
