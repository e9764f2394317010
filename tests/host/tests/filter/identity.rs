//! Which client a request is by, and which tier that gives it.

use tollgate_host::Request;

use crate::{by, by_one_of, on_every_gate, policy, policy_with};
use serde_json::json;

/// The tier and the consumer in the upstream's headers.
fn told(gate: &mut crate::Gate, request: Request) -> (String, Option<String>) {
    let seen = gate.ask(request).upstream.expect("allowed");
    (
        seen.header("x-quota-tier").expect("a tier").to_owned(),
        seen.header("x-quota-consumer").map(str::to_owned),
    )
}

fn tier(name: &str, consumer: &str) -> (String, Option<String>) {
    (name.to_owned(), Some(consumer.to_owned()))
}

#[test]
fn the_first_source_with_a_value_names_the_consumer() {
    on_every_gate(&policy(), |gate| {
        let property = "kong.ctx.shared.tollgate_consumer";
        let named = if gate.is_kong() { "property" } else { "header" };
        assert_eq!(told(gate, by("header").property(property, "property")), tier("free", named));
        assert_eq!(told(gate, by("header").property(property, "")), tier("free", "header"));
        assert_eq!(told(gate, by("header")), tier("free", "header"));
        assert_eq!(told(gate, by("")), ("anonymous".to_owned(), None), "an empty name is none");
    });
}

#[test]
fn the_first_source_that_names_a_tier_gives_it() {
    on_every_gate(&policy(), |gate| {
        let property = "kong.ctx.shared.tollgate_tier";
        let told_tier = if gate.is_kong() { "enterprise" } else { "pro" };
        assert_eq!(told(gate, by_one_of("pro", "a").property(property, "enterprise")), tier(told_tier, "a"));
        assert_eq!(told(gate, by_one_of("pro", "a").property(property, "nonsense")), tier("pro", "a"));
        assert_eq!(told(gate, by_one_of("staff, pro ,enterprise", "a")), tier("pro", "a"));
        assert_eq!(told(gate, by_one_of("staff,PRO", "a")), tier("free", "a"), "no group is a tier");
        assert_eq!(
            told(gate, by_one_of("anonymous", "a")),
            tier("free", "a"),
            "anonymous is no tier of a consumer"
        );
        assert_eq!(told(gate, by("a")), tier("free", "a"));
    });
}

#[test]
fn lines_of_groups_are_one_list() {
    on_every_gate(&policy(), |gate| {
        let two = by("a").header("x-consumer-groups", "staff").header("x-consumer-groups", "beta, pro");
        assert_eq!(told(gate, two), tier("pro", "a"));
    });
}

#[test]
fn an_override_beats_every_source() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(told(gate, by_one_of("free", "billing-worker")), tier("partner", "billing-worker"));
        assert_eq!(told(gate, by_one_of("free", "billing-worker2")), tier("free", "billing-worker2"));
    });
}

#[test]
fn of_two_headers_the_last_counts_which_is_the_gateways() {
    on_every_gate(&policy(), |gate| {
        let request = by("first").header("X-Consumer-Username", "second");
        assert_eq!(told(gate, request), tier("free", "second"));
    });
}

#[test]
fn a_consumer_is_the_same_under_every_policy_path_and_header_case() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&by("fay"), 100), 100);
        let other = Request::new("POST", "/batch?x=1").header("X-CONSUMER-Username", "fay");
        assert_eq!(gate.passed(&other, 60), 50);
    });
}

#[test]
fn kongs_consumer_for_anonymous_clients_is_an_anonymous_client() {
    on_every_gate(&policy(), |gate| {
        let request = by_one_of("pro", "nobody").header("X-Anonymous-Consumer", "true");
        assert_eq!(told(gate, request), ("anonymous".to_owned(), None));
    });
}

#[test]
fn without_sources_everybody_is_an_anonymous_client() {
    on_every_gate(&policy_with(json!({ "identity": { "consumer": [], "tier": [] } })), |gate| {
        assert_eq!(told(gate, by_one_of("pro", "a")), ("anonymous".to_owned(), None));
    });
}

#[test]
fn a_consumer_and_an_address_of_the_same_name_are_two() {
    on_every_gate(&policy(), |gate| {
        assert_eq!(gate.passed(&Request::get("/identify").from_ip("192.0.2.1"), 40), 30);
        assert_eq!(gate.passed(&by("192.0.2.1"), 160), 150);
    });
}

#[test]
fn envoy_is_not_asked_for_what_only_kong_can_say() {
    let identity = json!({
        "consumer": [{ "property": "kong.ctx.shared.tollgate_caller" }, { "property": "auth.consumer" }],
        "tier": [{ "property": "kong.ctx.shared.tollgate_caller" }, { "header": "x-consumer-groups" }],
    });
    on_every_gate(&policy_with(json!({ "identity": identity, "headers": { "upstream": true } })), |gate| {
        let both = Request::get("/identify")
            .property("kong.ctx.shared.tollgate_caller", "acme\npro")
            .property("auth.consumer", "other");
        let exchange = gate.ask(both);
        let seen = exchange.upstream.as_ref().expect("allowed");
        let expected =
            if gate.is_kong() { (Some("acme"), Some("pro")) } else { (Some("other"), Some("free")) };
        assert_eq!((seen.header("x-quota-consumer"), seen.header("x-quota-tier")), expected);
        // Kong is asked once for consumer and tier, and once for the path by which it routes.
        assert_eq!(exchange.host_calls("proxy_get_property"), if gate.is_kong() { 2 } else { 1 });
    });
}
