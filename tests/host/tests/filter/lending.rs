//! With a store: the filter on both hosts, several nodes, and the store's own accounts behind their calls.

use std::time::Duration;
use tollgate_core::units::{Cost, UnixMicros};

use serde_json::json;
use tollgate_core::client::Client;
use tollgate_core::client::Namespace;
use tollgate_core::terms::{Offer, Rate};
use tollgate_core::wire::{Change, ChangeKind};
use tollgate_host::{Exchange, Headers, Personality, Reply as CallReply, Request, Response};

use crate::fake_store::{Nodes, batch_of, on_both, policy};
use crate::{by, by_one_of};

#[test]
fn two_nodes_hold_a_consumer_to_one_bucket() {
    on_both(2, &policy(json!({})), |nodes| {
        let passed = (0..300).filter(|turn| nodes.status(turn % 2, by("acme")) == 200).count();
        assert_eq!(passed, 150);
        let refused = nodes.ask(0, by("acme"));
        assert_eq!(refused.client.status, 429);
        assert_eq!(refused.client.header("retry-after"), Some("1"));
        assert_eq!(refused.client.header("x-ratelimit-remaining"), Some("0"));
        nodes.wait(6_000);
        let more = (0..40).filter(|turn| nodes.status(turn % 2, by("acme")) == 200).count();
        assert_eq!(more, 10, "what six seconds give back");
        nodes.wait(1_000);
        assert_eq!(nodes.bank.used("acme", nodes.now()), 160);
    });
}

#[test]
fn of_many_that_wait_at_once_for_the_last_two_units_two_pass() {
    // Every request makes its own call here.
    let nodes = &mut Nodes::new(Personality::Kong, 1, &policy(json!({})));
    let id = Namespace::new("fingerprint").id(&Client::Consumer(b"acme"));
    let rates = vec![Rate { units: 100, seconds: 60, burst: 150 }];
    let terms = Offer { tier: "free".into(), rates, monthly: Some(50_000) }.terms().expect("an offer");
    let now = nodes.now();
    nodes.bank.accounts.entry(id).or_default().charge(&terms, Cost(148_000), UnixMicros(now));
    let first: Vec<Exchange> = (0..12).map(|_| nodes.gates[0].ask(by("acme"))).collect();
    let mut statuses: Vec<u16> =
        first.iter().filter(|one| one.paused.is_none()).map(|one| one.client.status).collect();
    for _ in 0..20 {
        let done = nodes.serve(0);
        statuses.extend(done.iter().filter(|one| one.paused.is_none()).map(|one| one.client.status));
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 2, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
}

#[test]
fn a_lease_is_spent_without_a_call() {
    on_both(1, &policy(json!({})), |nodes| {
        assert_eq!(nodes.status(0, by_one_of("pro", "globex")), 200);
        assert_eq!(nodes.bank.calls, 1);
        nodes.wait(200);
        let before = nodes.bank.calls;
        for _ in 0..3 {
            let exchange = nodes.gates[0].ask(by_one_of("pro", "globex"));
            assert_eq!((exchange.paused, exchange.client.status), (None, 200));
            assert_eq!(exchange.host_calls("proxy_get_shared_data"), 1);
            assert_eq!(exchange.host_calls("proxy_set_shared_data"), 1);
        }
        assert_eq!(nodes.bank.calls, before);
    });
}

#[test]
fn what_the_client_and_the_upstream_see_is_the_same_as_without_a_store() {
    on_both(1, &policy(json!({})), |nodes| {
        for turn in 1..=3 {
            let exchange = nodes.ask(0, by_one_of("pro", "globex"));
            assert_eq!(exchange.client.header("x-ratelimit-limit"), Some("1000"));
            assert_eq!(exchange.client.header("x-quota-tier"), Some("pro"));
            let left = (1_000_000 - turn).to_string();
            assert_eq!(exchange.client.header("x-quota-monthly-remaining"), Some(left.as_str()));
            let seen = exchange.upstream.expect("it passed");
            assert_eq!(seen.header("x-quota-consumer"), Some("globex"));
            assert_eq!(seen.header("x-quota-tier"), Some("pro"));
        }
        let anonymous = nodes.ask(0, Request::get("/identify"));
        assert_eq!(anonymous.client.header("x-quota-tier"), Some("anonymous"));
        assert_eq!(anonymous.client.header("x-ratelimit-remaining"), Some("29"));
        assert_eq!(nodes.status(0, Request::get("/health")), 200);
    });
}

#[test]
fn a_store_that_is_away_is_asked_three_times_and_then_costs_requests_nothing() {
    on_both(1, &policy(json!({})), |nodes| {
        nodes.bank.fails = true;
        let passed = (0..160).filter(|_| nodes.status(0, by("acme")) == 200).count();
        assert_eq!(passed, 150, "by the tier's own bucket on this node");
        // Each of the two workers has its own breaker.
        assert_eq!(nodes.bank.calls, 6);
        assert_eq!(nodes.gates[0].logged("is away"), 2);
        nodes.bank.fails = false;
        nodes.wait(3_000);
        assert_eq!(nodes.gates[0].logged("7600 is back"), 2);
        assert_eq!(nodes.bank.used("acme", nodes.now()), 150, "nothing is lost");
        assert_eq!(nodes.status(0, by("acme")), 200);
    });
}

#[test]
fn on_failure_says_what_becomes_of_requests_while_the_store_is_away() {
    let statuses = |nodes: &mut Nodes| -> Vec<u16> { (0..40).map(|_| nodes.status(0, by("acme"))).collect() };
    on_both(1, &policy(json!({ "on_failure": "closed" })), |nodes| {
        nodes.bank.fails = true;
        assert_eq!(statuses(nodes), [503; 40]);
    });
    on_both(1, &policy(json!({ "on_failure": "open" })), |nodes| {
        nodes.bank.fails = true;
        assert!((0..400).all(|_| nodes.status(0, by("acme")) == 200));
        nodes.bank.fails = false;
        nodes.wait(3_000);
        assert_eq!(nodes.bank.used("acme", nodes.now()), 400);
    });
    on_both(1, &policy(json!({ "on_failure": "ip" })), |nodes| {
        nodes.bank.fails = true;
        assert_eq!(
            statuses(nodes).iter().filter(|status| **status == 200).count(),
            30,
            "as an anonymous client's address"
        );
        nodes.bank.fails = false;
        nodes.wait(3_000);
        assert_eq!(nodes.bank.used("acme", nodes.now()), 30);
    });
}

#[test]
fn a_worker_that_loses_its_memory_loses_nobodys_usage() {
    on_both(1, &policy(json!({})), |nodes| {
        for _ in 0..10 {
            assert_eq!(nodes.status(0, by("acme")), 200);
        }
        nodes.gates[0].node.lose_instance(0);
        nodes.gates[0].node.lose_instance(1);
        // Other clients keep the workers' ticks going; the sweep finds the lease that acme's workers have left.
        for _ in 0..60 {
            assert_eq!(nodes.status(0, by("other")), 200);
            nodes.wait(500);
        }
        assert_eq!(nodes.bank.used("acme", nodes.now()), 10);
    });
}

#[test]
fn a_gateways_clock_that_jumps_changes_no_lease() {
    on_both(1, &policy(json!({})), |nodes| {
        let passed = (0..100).filter(|_| nodes.status(0, by("acme")) == 200).count();
        assert_eq!(passed, 100);
        for jump in [3_600_i64, -3_600, -7_200, 86_400] {
            let clock = nodes.gates[0].node.clock().clone();
            clock.jump_to(clock.nanos().checked_add_signed(jump * 1_000_000_000).expect("a moment"));
            let exchange = nodes.ask(0, by("acme"));
            assert_eq!(exchange.client.status, 200);
            let reset = crate::number(&exchange, "x-ratelimit-reset");
            let now = nodes.now() / 1_000_000;
            assert!((now..=now + 120).contains(&reset), "the store's time: {reset} at {now}");
        }
        let more = (0..100).filter(|_| nodes.status(0, by("acme")) == 200).count();
        assert_eq!(more, 46);
    });
}

#[test]
fn an_anonymous_client_whom_the_store_has_forgotten_has_a_full_bucket_when_it_comes_back() {
    // A bucket that takes longer to fill than an account without a history is taken to have been full.
    let mut policy = policy(json!({}));
    policy["anonymous"] = json!({ "rate": "30/minute", "burst": 3 });
    on_both(1, &policy, |nodes| {
        let passed = (0..100).filter(|_| nodes.status(0, Request::get("/identify")) == 200).count();
        assert_eq!(passed, 90);
        nodes.wait(200_000);
        nodes.bank.accounts.clear();
        let passed = (0..100).filter(|_| nodes.status(0, Request::get("/identify")) == 200).count();
        assert_eq!(passed, 90);
    });
}

#[test]
fn strict_asks_for_every_request() {
    on_both(2, &policy(json!({ "mode": "strict" })), |nodes| {
        let passed = (0..200).filter(|turn| nodes.status(turn % 2, by("acme")) == 200).count();
        assert_eq!((passed, nodes.bank.calls), (150, 200));
        assert_eq!(nodes.bank.used("acme", nodes.now()), 150);
    });
}

#[test]
fn a_strict_charge_whose_answer_is_lost_is_not_made_again() {
    on_both(1, &policy(json!({ "mode": "strict" })), |nodes| {
        assert!(nodes.gates[0].ask(by("acme")).paused.is_some());
        let now = nodes.now();
        let [call] = &nodes.gates[0].node.calls()[..] else { panic!("one call a request") };
        // The store charged the request before its answer was lost.
        nodes.bank.reply(call, now);
        let done = nodes.gates[0].node.answer(call.id, CallReply::Failure("timeout"));
        let done = done.unwrap_or_else(|broken| panic!("{broken}")).expect("it goes on");
        assert_eq!((done.paused, nodes.gates[0].node.calls().len()), (None, 0));
        assert_eq!(nodes.bank.used("acme", now), 1);
    });
}

#[test]
fn an_override_is_in_force_within_two_seconds_and_so_is_its_end() {
    on_both(1, &policy(json!({})), |nodes| {
        while nodes.status(0, by("acme")) == 200 {}
        let id = Namespace::new("fingerprint").id(&Client::Consumer(b"acme"));
        let offer = Offer { tier: "enterprise".into(), ..Default::default() };
        nodes.bank.changes = vec![Change { client: id, what: ChangeKind::Override(offer) }];
        nodes.bank.revision = 1;
        nodes.wait(1_500);
        for _ in 0..10 {
            let exchange = nodes.ask(0, by("acme"));
            assert_eq!(
                (exchange.client.status, exchange.client.header("x-quota-tier")),
                (200, Some("enterprise"))
            );
        }
        nodes.bank.changes = vec![Change { client: id, what: ChangeKind::NoOverride }];
        nodes.bank.revision = 2;
        nodes.wait(1_500);
        assert_eq!(nodes.ask(0, by("acme")).client.header("x-quota-tier"), Some("free"));
    });
}

#[test]
fn what_a_store_says_that_makes_no_sense_harms_nobody() {
    for body in [&b"\x01"[..], b"\x02abc", b"<html>", &[1; 4_000], &[255; 4_000]] {
        on_both(1, &policy(json!({})), |nodes| {
            for _ in 0..5 {
                let mut exchange = nodes.gates[0].ask(by("acme"));
                // The request asks again until the store counts as away.
                while exchange.paused.is_some() {
                    let [call] = &nodes.gates[0].node.calls()[..] else { panic!("one call a request") };
                    let reply = Response { status: 200, headers: Headers::default(), body: body.to_vec() };
                    let done = nodes.gates[0].node.answer(call.id, CallReply::Answer(reply));
                    exchange = done.unwrap_or_else(|broken| panic!("{broken}")).expect("it goes on");
                }
                assert_eq!(exchange.client.status, 200);
            }
        });
    }
}

#[test]
fn whatever_ends_a_call_a_request_gets_its_answer() {
    let lost = || CallReply::Answer(Response { status: 200, ..Response::default() });
    let refused =
        || CallReply::Answer(Response { status: 503, body: b"no store".to_vec(), ..Response::default() });
    let reset = || CallReply::Failure("broken connection");
    let late = || CallReply::Failure("timeout");
    let ends: [&dyn Fn() -> CallReply; 4] = [&lost, &refused, &reset, &late];
    for (on_failure, wanted) in [("closed", 503), ("open", 200)] {
        for mode in ["leased", "strict"] {
            for end in ends {
                on_both(1, &policy(json!({ "on_failure": on_failure, "mode": mode })), |nodes| {
                    for _ in 0..10 {
                        let mut exchange = nodes.gates[0].ask(by("acme"));
                        while exchange.paused.is_some() {
                            let [call] = &nodes.gates[0].node.calls()[..] else {
                                panic!("one call a request")
                            };
                            let done = nodes.gates[0].node.answer(call.id, end());
                            exchange =
                                done.unwrap_or_else(|broken| panic!("{broken}")).expect("its own call");
                        }
                        assert_eq!(exchange.client.status, wanted, "{on_failure}, {mode}");
                        if wanted == 503 {
                            assert!(exchange.client.text().contains("temporary-reduced-capacity"));
                        }
                    }
                });
            }
        }
    }
}

#[test]
fn a_request_asks_without_a_body_and_a_tick_with_one() {
    let longest = "n".repeat(1_024);
    on_both(1, &policy(json!({})), |nodes| {
        assert!(nodes.gates[0].ask(by(&longest)).paused.is_some());
        let calls = nodes.gates[0].node.calls();
        let [call] = &calls[..] else { panic!("one call a request") };
        assert_eq!((call.headers.get(b":method"), call.body.len()), (Some(&b"POST"[..]), 0));
        assert!(call.headers.get(b"tollgate-batch").is_some_and(|text| text.len() <= 4_000));
        assert_eq!(batch_of(call).entries[0].name.as_deref(), Some(longest.as_bytes()));
        nodes.serve(0);
        nodes.gates[0].wait(Duration::from_millis(900));
        let calls = nodes.gates[0].node.calls();
        assert!(!calls.is_empty());
        for call in calls {
            assert!(call.headers.get(b"tollgate-batch").is_none() && !call.body.is_empty());
            batch_of(&call);
        }
    });
}

#[test]
fn a_request_whose_answer_is_lost_is_not_one_more_than_the_limit() {
    for on_failure in ["local", "ip", "open", "closed"] {
        on_both(2, &policy(json!({ "on_failure": on_failure })), |nodes| {
            // This node has not heard what the other node spends.
            let passed = (0..200).filter(|_| nodes.status(0, by("acme")) == 200).count();
            assert_eq!(passed, 150);
            let asked = nodes.gates[1].ask(by("acme"));
            assert!(asked.paused.is_some());
            let [call] = &nodes.gates[1].node.calls()[..] else { panic!("one call a request") };
            nodes.gates[1].wait(Duration::from_millis(50));
            let done = nodes.gates[1].node.answer(call.id, CallReply::Failure("timeout"));
            let done = done.unwrap_or_else(|broken| panic!("{broken}")).expect("it goes on");
            let status = match on_failure {
                "open" => 200,
                "closed" => 503,
                _ => 429,
            };
            assert_eq!((done.paused, done.client.status), (None, status), "{on_failure}");
            if status != 200 {
                assert_eq!(done.client.header("retry-after"), Some("1"));
            }
            let refused = nodes.ask(1, by("acme"));
            assert_eq!(
                (refused.client.status, refused.client.header("x-ratelimit-remaining")),
                (429, Some("0"))
            );
            assert_eq!(nodes.gates[1].logged("is away"), 0);
        });
    }
}

#[test]
fn kong_has_one_call_a_root_under_way_and_none_from_a_roots_reply() {
    let mut nodes = Nodes::new(Personality::Kong, 1, &policy(json!({})));
    for consumer in 0..30 {
        assert_eq!(nodes.status(0, by(&format!("consumer-{consumer}"))), 200);
    }
    // The store is slow: ticks come and go, and the host's rules act as assertions.
    nodes.gates[0].wait(Duration::from_millis(1_500));
    assert!(nodes.gates[0].node.calls().len() <= 2, "one a worker");
    nodes.serve(0);
    nodes.gates[0].wait(Duration::from_millis(900));
    nodes.serve(0);
}
