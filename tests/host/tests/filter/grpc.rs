//! What a gRPC client gets.

use serde_json::json;
use tollgate_host::{Exchange, Request};

use crate::fake_store::{on_both, policy as with_store};
use crate::{by, on_every_gate, policy};

fn call(consumer: &str, content_type: &str) -> Request {
    let request = Request::new("POST", "/identify").header("x-consumer-username", consumer);
    request.header("content-type", content_type)
}

/// The code and the message of a response that is trailers alone.
fn status(exchange: &Exchange) -> (Option<&str>, Option<&str>) {
    let client = &exchange.client;
    assert_eq!((client.status, client.header("content-type")), (200, Some("application/grpc")));
    assert!(client.body.is_empty(), "{}", client.text());
    (client.header("grpc-status"), client.header("grpc-message"))
}

#[test]
fn a_refused_grpc_request_is_exhausted_and_says_why_in_words() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 150), 150);
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            let exchange = gate.ask(call("fay", kind));
            let message = "Tier free allows 100 requests per minute; retry in 1 s.";
            assert_eq!(status(&exchange), (Some("8"), Some(message)), "{kind}");
            assert_eq!(exchange.client.header("x-ratelimit-remaining"), Some("0"));
            assert_eq!(exchange.client.header("x-quota-tier"), Some("free"));
            assert_eq!(exchange.client.header("retry-after"), Some("1"));
        }
        for kind in ["application/grpc-web", "application/json", ""] {
            let exchange = gate.ask(call("fay", kind));
            assert_eq!(exchange.client.status, 429, "{kind}");
            assert_eq!(exchange.client.header("content-type"), Some("application/problem+json"));
        }
    });
}

#[test]
fn an_allowed_grpc_request_is_told_as_any_other() {
    on_every_gate(&policy(), |gate| {
        let exchange = gate.ask(call("fay", "application/grpc"));
        assert!(exchange.reached_upstream());
        assert_eq!(exchange.client.header("x-ratelimit-remaining"), Some("100"));
    });
}

#[test]
fn without_its_store_a_closed_gateway_is_unavailable() {
    on_both(1, &with_store(json!({ "on_failure": "closed" })), |nodes| {
        nodes.bank.fails = true;
        for _ in 0..10 {
            let (code, message) =
                (Some("14"), Some("The limit of tier free cannot be checked right now; retry in 1 s."));
            assert_eq!(status(&nodes.ask(0, call("acme", "application/grpc"))), (code, message));
        }
    });
}
