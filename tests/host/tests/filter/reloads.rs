//! New policies while requests run, with a store.

use std::time::Duration;

use serde_json::json;
use tollgate_host::Personality;

use crate::by;
use crate::fake_store::{Nodes, on_both, policy};

#[test]
fn reloads_under_load_harm_nobody() {
    on_both(1, &policy(json!({})), |nodes| {
        for turn in 0..12 {
            let interval = format!("{}ms", 50 + 10 * (turn % 7));
            let policy = policy(json!({ "sync_interval": interval })).to_string();
            nodes.gates[0].node.reload(&[&policy]).expect("a policy");
            for request in 0..10 {
                assert_eq!(nodes.status(0, by(&format!("c{turn}-{request}"))), 200);
                nodes.wait(50);
            }
            nodes.gates[0].node.end_drain().unwrap_or_else(|broken| panic!("{broken}"));
        }
    });
}

#[test]
fn after_a_reload_what_was_spent_is_reported_within_a_second() {
    on_both(1, &policy(json!({})), |nodes| {
        let anew = policy(json!({ "sync_interval": "200ms" })).to_string();
        nodes.gates[0].node.reload(&[&anew]).expect("a policy");
        for _ in 0..10 {
            assert_eq!(nodes.status(0, by("acme")), 200);
        }
        nodes.wait(1_000);
        assert_eq!(nodes.bank.used("acme", nodes.now()), 10);
    });
}

#[test]
fn an_instance_that_is_made_anew_after_a_trap_calls_after_its_own_first_tick() {
    let nodes = &mut Nodes::new(Personality::Kong, 1, &policy(json!({})));
    for _ in 0..20 {
        assert_eq!(nodes.status(0, by("acme")), 200);
        nodes.wait(100);
        nodes.gates[0].node.lose_instance(0);
        // The next request creates a new instance, between two ticks of the old one's timers.
        nodes.gates[0].wait(Duration::from_millis(37));
    }
}
