use std::sync::Arc;
use tollgate_core::units::Cost;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tollgate_core::client::Client;
use tollgate_core::client::Namespace;
use tollgate_core::name;
use tollgate_core::terms::Offer;
use tollgate_core::wire::{Answer, Ask, Batch, CONTENT_TYPE, Entry, Reply};
use tollgate_store::app::access::Tokens;
use tollgate_store::app::app;
use tollgate_store::app::state::{Bounds, Store};
use tollgate_store::backend::Backend;
use tower::ServiceExt;

use crate::ask::UNIT;

async fn send(app: &Router, method: Method, path: &str, kind: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    let response = app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status();
    (status, to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
}

async fn json_of(app: &Router, method: Method, path: &str, body: Value) -> Value {
    let (status, answer) = send(app, method, path, "application/json", body.to_string().into_bytes()).await;
    assert!(status.is_success(), "{path}: {}", String::from_utf8_lossy(&answer));
    if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).unwrap() }
}

/// Names that gateways may hand on.
fn names() -> Vec<Vec<u8>> {
    let texts = ["acme", "100%", "%25", "%:acme", "a\nb", "\0", "\u{85}", "ÄÖ🚪/?#", "a%FFb"]
        .map(|name| name.as_bytes().to_vec());
    let bytes = [&b"caf\xe9"[..], b"caf\xe8", b"\xff", b"a\xffb"].map(<[u8]>::to_vec);
    let long = [
        vec![b'x'; 1_024],
        vec![b'x'; 1_025],
        vec![b'x'; 1_026],
        vec![0xff; 2_000],
        "ä".repeat(5_000).into_bytes(),
    ];
    texts.into_iter().chain(bytes).chain(long).collect()
}

/// A client that is charged is listed once, whatever bytes its name has. By the listed name it can be read, overridden and
/// reset.
pub async fn whoever_is_charged_can_be_found_and_kept(backend: Arc<dyn Backend>, namespace: &str) {
    let store = Store::new(backend, Tokens::default(), Bounds::default()).unwrap();
    let app = app(store);
    let ids = Namespace::new(namespace);
    let names = names();
    let entries = names.iter().zip(1..).map(|(name, units)| {
        let client = ids.id(&Client::Consumer(name));
        let name = Some(name::as_sent(name, client).into_owned());
        Entry { client, name, ask: Ask::Charge { cost: Cost(units * UNIT) }, ..Entry::default() }
    });
    let offers = vec![Offer { tier: "free".into(), rates: vec![], monthly: Some(1_000) }];
    let batch = Batch {
        namespace: namespace.into(),
        node: 7,
        offers,
        entries: entries.collect(),
        ..Batch::default()
    };
    let (status, reply) = send(&app, Method::POST, "/v1/leases", CONTENT_TYPE, batch.to_bytes()).await;
    assert_eq!(status, StatusCode::OK);
    let reply = Reply::from_bytes(&reply).unwrap();
    assert!(reply.answers.iter().all(|answer| matches!(answer, Answer::Grant(_))), "{:?}", reply.answers);

    let listed = json_of(&app, Method::GET, &format!("/v1/usage/{namespace}"), Value::Null).await;
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), names.len());
    for units in 1..=names.len() {
        let found: Vec<&Value> = listed.iter().filter(|row| row["used"] == units).collect();
        assert_eq!(found.len(), 1, "{units}");
        let name = found[0]["consumer"].as_str().unwrap();
        assert_eq!(listed.iter().filter(|row| row["consumer"] == name).count(), 1, "{name}");
        let plain =
            std::str::from_utf8(&names[units - 1]).ok().filter(|text| !text.contains(char::is_control));
        if let Some(text) = plain.filter(|text| text.len() <= 1_024 && !text.starts_with("%:")) {
            assert_eq!(name, text, "an ordinary name stays as it is");
        }
        it_is_found_by_its_name(&app, namespace, found[0]).await;
    }
    let overrides = json_of(&app, Method::GET, &format!("/v1/overrides/{namespace}"), Value::Null).await;
    assert_eq!(overrides["overrides"].as_array().unwrap().len(), names.len());
}

/// What the listing has is found, overridden, charged and reset by the name that the listing gives it.
async fn it_is_found_by_its_name(app: &Router, namespace: &str, listed: &Value) {
    let (name, units) = (listed["consumer"].as_str().unwrap(), listed["used"].as_u64().unwrap());
    let place = format!("{namespace}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    let usage = json_of(app, Method::GET, &format!("/v1/usage/{place}"), Value::Null).await;
    assert_eq!(&usage, listed);
    let path = format!("/v1/overrides/{place}");
    let put = json_of(app, Method::PUT, &path, json!({ "bonus": 10, "reason": "goodwill" })).await;
    assert_eq!((&put["consumer"], &put["offer"]["monthly"]), (&json!(name), &json!(1_010)));
    assert_eq!(json_of(app, Method::GET, &path, Value::Null).await, put);
    let check = json!({ "namespace": namespace, "consumer": name, "cost": 1 });
    let check = json_of(app, Method::POST, "/v1/check", check).await;
    assert_eq!(check["monthly_remaining"], 1_009 - units, "its override counts, on its own account");
    json_of(app, Method::POST, &format!("/v1/reset/{place}"), json!({ "month": true, "reason": "goodwill" }))
        .await;
    assert_eq!(json_of(app, Method::GET, &format!("/v1/usage/{place}"), Value::Null).await["used"], 0);
    let audit = json_of(app, Method::GET, &format!("/v1/audit/{namespace}?limit=1"), Value::Null).await;
    assert_eq!(audit["lines"][0]["consumer"], name);
}

/// The beginning of a long name is for readers: only the listed form is a name.
pub async fn a_long_name_has_one_spelling(backend: Arc<dyn Backend>, namespace: &str) {
    let store = Store::new(backend, Tokens::default(), Bounds::default()).unwrap();
    let app = app(store);
    let name = "n".repeat(2_000);
    let check = json!({
        "namespace": namespace, "consumer": name, "tier": "free", "policy": { "tiers": { "free": { "rate": "unlimited" } } }
    });
    json_of(&app, Method::POST, "/v1/check", check).await;
    let listed = json_of(&app, Method::GET, &format!("/v1/usage/{namespace}"), Value::Null).await;
    let listed = listed[0]["consumer"].as_str().unwrap().to_owned();
    let wish = json!({ "tier": "free", "monthly": 5, "reason": "x" });
    let path =
        |name: &str| format!("/v1/overrides/{namespace}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    let other = listed.replace("nnnnn~", "xxxxx~");
    let body = wish.to_string().into_bytes();
    assert_eq!(
        send(&app, Method::PUT, &path(&other), "application/json", body).await.0,
        StatusCode::NOT_FOUND
    );
    let put = json_of(&app, Method::PUT, &path(&name), wish.clone()).await;
    assert_eq!(put["consumer"], listed);
    assert_eq!(json_of(&app, Method::GET, &path(&listed), Value::Null).await, put);
    json_of(&app, Method::PUT, &path(&listed), wish).await;
}
