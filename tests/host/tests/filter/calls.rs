//! Calls to the store: how the filter authenticates, what it counts, and which answers it accepts.

use serde_json::json;
use tollgate_core::client::ClientId;
use tollgate_core::wire::{Change, ChangeKind};
use tollgate_host::{Personality, Request, Setup};

use crate::fake_store::{Nodes, on_both, policy};
use crate::{Gate, by};

const TOKEN: &str = "a-token-of-the-gateways";

#[test]
fn a_call_carries_the_token_of_the_policy_or_of_the_environment() {
    let sources = [(json!(TOKEN), ""), (json!({ "env": "TOKEN" }), TOKEN), (json!({ "env": "TOKEN" }), "\n")];
    for personality in Personality::ALL {
        for (source, in_environment) in &sources {
            // Secrets often end in a newline.
            let variable = format!("TOKEN={TOKEN}{}", if *in_environment == "\n" { "\n" } else { "" });
            let setup = Setup::new(personality)
                .workers(1)
                .cluster("127.0.0.1:7600")
                .environment(&variable)
                .filter(&policy(json!({ "token": source })).to_string());
            let mut gate = Gate::start(setup, 1).unwrap_or_else(|error| panic!("{personality}: {error}"));
            assert!(gate.ask(by("acme")).paused.is_some());
            let calls = gate.node.calls();
            let said = calls[0].headers.get(b"authorization").map(String::from_utf8_lossy);
            assert_eq!(said.as_deref(), Some("Bearer a-token-of-the-gateways"), "{personality}, {source}");
        }
    }
}

#[test]
fn without_a_token_a_call_carries_none() {
    on_both(1, &policy(json!({})), |nodes| {
        assert!(nodes.gates[0].ask(by("acme")).paused.is_some());
        assert_eq!(nodes.gates[0].node.calls()[0].headers.get(b"authorization"), None);
    });
}

/// The value of the one metric of node 0 whose name has all `parts`.
fn metric(nodes: &Nodes, parts: &[&str]) -> u64 {
    let metrics = nodes.gates[0].node.metrics();
    let names: Vec<&str> =
        metrics.names().filter(|name| parts.iter().all(|part| name.contains(part))).collect();
    assert_eq!(names.len(), 1, "{parts:?} in {names:?}");
    metrics.value(names[0]).expect("it is there")
}

#[test]
fn metrics_say_how_calls_end_and_whether_the_store_is_there() {
    on_both(1, &policy(json!({})), |nodes| {
        assert_eq!(metric(nodes, &["store_up"]), 1, "nobody has asked it yet");
        assert_eq!(nodes.status(0, by("acme")), 200);
        nodes.wait(1_000);
        assert_eq!(metric(nodes, &["store_calls", "ok"]), nodes.bank.calls as u64);
        assert_eq!((metric(nodes, &["lease_misses"]), metric(nodes, &["store_calls", "failed"])), (1, 0));
        assert_eq!(nodes.status(0, by("acme")), 200);
        assert_eq!(metric(nodes, &["lease_hits"]), 1);

        nodes.bank.fails = true;
        (0..20).for_each(|number| assert_ne!(nodes.status(0, by(&format!("client-{number}"))), 500));
        assert_eq!(metric(nodes, &["store_up"]), 0);
        assert!(metric(nodes, &["store_calls", "failed"]) >= 6, "three a worker");
        // A new policy knows nothing new about the store.
        let anew = policy(json!({ "sync_interval": "90ms" })).to_string();
        nodes.gates[0].node.reload(&[&anew]).expect("a policy");
        assert_eq!(metric(nodes, &["store_up"]), 0);
    });
}

#[test]
fn metrics_count_records_that_had_to_go_for_others() {
    let mut small = policy(json!({}));
    small["memory"] = json!({ "clients": 64 });
    on_both(1, &small, |nodes| {
        (0..32).for_each(|number| assert_ne!(nodes.status(0, by(&format!("client-{number}"))), 500));
        assert_eq!(metric(nodes, &["table_evictions"]), 0);
        (0..800).for_each(|number| assert_ne!(nodes.status(0, by(&format!("client-{number}"))), 500));
        assert!(metric(nodes, &["table_evictions"]) > 0);
    });
}

#[test]
fn after_a_long_outage_the_store_is_used_again_within_two_seconds() {
    on_both(1, &policy(json!({})), |nodes| {
        nodes.bank.fails = true;
        (0..20).for_each(|_| assert_ne!(nodes.status(0, by("acme")), 500));
        nodes.wait(60_000);
        assert_eq!(nodes.gates[0].logged("7600 is back"), 0);
        nodes.bank.fails = false;
        nodes.wait(2_000);
        assert_eq!(nodes.gates[0].logged("7600 is back"), 2, "one a worker");
        assert_eq!(metric(nodes, &["store_up"]), 1);
    });
}

#[test]
fn an_answer_that_is_larger_than_any_store_gives_is_none() {
    on_both(1, &policy(json!({})), |nodes| {
        assert_eq!(nodes.status(0, by("acme")), 200);
        let before = nodes.gates[0].node.memory_bytes(0);
        let change = |number: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            Change { client: ClientId(id), what: ChangeKind::NoOverride }
        };
        // Each is about 17 bytes long.
        nodes.bank.changes = (0..1_000_000).map(change).collect();
        nodes.bank.revision = 1;
        assert_eq!(nodes.status(0, by("other")), 200, "as where the store is away");
        assert_eq!(metric(nodes, &["store_calls", "failed"]), 3);
        assert_eq!(metric(nodes, &["store_calls", "ok"]), 1);
        let more = nodes.gates[0].node.memory_bytes(0) - before;
        assert!(more < 40 << 20, "{more} bytes for good");
        nodes.bank.changes.clear();
        assert_eq!(nodes.status(0, Request::get("/identify")), 200);
    });
}
