//! Requests whose responses say what they cost.

use serde_json::{Value, json};
use tollgate_host::{Exchange, Request};

use crate::fake_store::{Nodes, on_both};
use crate::{Gate, by, number, on_every_gate, policy_with};

fn changes() -> Value {
    json!({
        "endpoints": [
            { "path": "/chat", "cost": 20, "settle": true },
            { "path": "/compare", "cost": 2 },
            { "path": "/health", "cost": 0 },
        ],
        "refund": ["5xx", 422],
    })
}

fn with_store(mode: &str) -> Value {
    let mut policy = policy_with(changes());
    policy["store"] = json!({ "upstream": "127.0.0.1:7600", "mode": mode });
    policy
}

fn chat(consumer: &str) -> Request {
    Request::get("/chat").header("x-consumer-username", consumer)
}

fn costing(cost: &str) -> Request {
    chat("acme").upstream_header("X-Quota-Cost", cost)
}

/// What a client has left of its minute and of its month.
fn left(exchange: &Exchange) -> (u64, u64) {
    (number(exchange, "x-ratelimit-remaining"), number(exchange, "x-quota-monthly-remaining"))
}

/// Spends 100, so that what is left of the bucket of 150 is below the 100 that a client is told of at most.
fn spend_a_hundred(gate: &mut Gate) {
    for _ in 0..5 {
        assert_eq!(gate.status(chat("acme")), 200);
    }
}

#[test]
fn the_response_says_what_the_request_costs_and_the_client_is_told_at_once() {
    on_every_gate(&policy_with(changes()), |gate| {
        spend_a_hundred(gate);
        let exchange = gate.ask(costing("4.5"));
        assert_eq!(exchange.upstream.as_ref().unwrap().header("x-quota-cost"), Some("20"));
        assert_eq!(exchange.client.header("x-quota-cost"), None);
        assert_eq!(left(&exchange), (45, 49_895));
        assert_eq!(left(&gate.ask(costing("25.5"))), (20, 49_870));
        assert_eq!(left(&gate.ask(costing("1000"))), (0, 48_870), "the month counts all of it");
        assert_eq!(gate.status(chat("acme")), 429);
    });
}

#[test]
fn what_is_no_cost_changes_nothing_and_never_reaches_the_client() {
    on_every_gate(&policy_with(changes()), |gate| {
        spend_a_hundred(gate);
        for (turn, wrong) in ["-1", "1e3", "", "0.0001", "NaN", "1, 2"].into_iter().enumerate() {
            gate.wait(std::time::Duration::from_secs(12));
            let exchange = gate.ask(costing(wrong));
            assert_eq!(left(&exchange), (50, 49_880 - 20 * turn as u64), "{wrong}");
            assert_eq!(exchange.client.header("x-quota-cost"), None);
        }
        let two = costing("1").upstream_header("X-Quota-Cost", "2");
        gate.wait(std::time::Duration::from_secs(12));
        let exchange = gate.ask(two);
        assert_eq!(exchange.client.headers.all(b"x-quota-cost").count(), 0);
    });
}

#[test]
fn an_endpoint_that_settles_nothing_drops_what_its_upstream_says() {
    on_every_gate(&policy_with(changes()), |gate| {
        spend_a_hundred(gate);
        for path in ["/compare", "/health"] {
            let request = Request::get(path).header("x-consumer-username", "acme");
            let exchange = gate.ask(request.upstream_header("x-quota-cost", "40"));
            assert_eq!(exchange.client.header("x-quota-cost"), None, "{path}");
        }
        assert_eq!(left(&gate.ask(by("acme"))), (47, 49_897));
    });
}

#[test]
fn a_request_that_the_upstream_answers_so_costs_nothing() {
    on_every_gate(&policy_with(changes()), |gate| {
        spend_a_hundred(gate);
        for status in [500, 503, 599, 422] {
            assert_eq!(left(&gate.ask(costing("7").upstream_status(status))), (50, 49_900), "{status}");
            assert_eq!(left(&gate.ask(by("acme").upstream_status(status))), (50, 49_900), "{status}");
        }
        assert_eq!(left(&gate.ask(costing("7").upstream_status(404))), (43, 49_893));
        assert_eq!(left(&gate.ask(by("acme").upstream_status(404))), (42, 49_892));
    });
}

/// Envoy's 503 for a dead upstream is a response as any. For Kong's 502 no callback runs, so the charge stays.
#[test]
fn where_no_response_comes_the_charge_stays() {
    on_every_gate(&policy_with(changes()), |gate| {
        spend_a_hundred(gate);
        gate.ask(chat("acme").to_dead_upstream());
        let stays = if gate.is_kong() { 29 } else { 49 };
        assert_eq!(left(&gate.ask(by("acme"))).0, stays);
    });
}

#[test]
fn a_client_cannot_say_what_its_request_costs() {
    on_every_gate(&policy_with(changes()), |gate| {
        spend_a_hundred(gate);
        let exchange = gate.ask(chat("acme").header("X-Quota-Cost", "0"));
        assert_eq!(exchange.upstream.as_ref().unwrap().header("x-quota-cost"), Some("20"));
        assert_eq!(left(&exchange), (30, 49_880));
    });
}

/// Nodes where a client has spent 100, and the store knows of it.
fn after_a_hundred(nodes: &mut Nodes) {
    for _ in 0..5 {
        assert_eq!(nodes.status(0, chat("acme")), 200);
    }
    nodes.wait(1_000);
    assert_eq!(nodes.bank.used("acme", nodes.now()), 100);
}

#[test]
fn with_a_store_every_node_knows_what_came_back_within_a_few_ticks() {
    for mode in ["leased", "strict"] {
        on_both(2, &with_store(mode), |nodes| {
            after_a_hundred(nodes);
            for cost in ["4.5", "0.5", "21"] {
                assert_eq!(nodes.ask(0, costing(cost)).client.status, 200, "{mode}, {cost}");
                nodes.wait(1_000);
            }
            assert_eq!(nodes.bank.used("acme", nodes.now()), 126, "{mode}");
            let refunded = chat("acme").upstream_status(500);
            assert_eq!(nodes.ask(1, refunded).client.status, 500, "{mode}");
            nodes.wait(1_000);
            assert_eq!(nodes.bank.used("acme", nodes.now()), 126, "{mode}");
        });
    }
}

#[test]
fn what_came_back_can_be_spent_on_another_node() {
    for mode in ["leased", "strict"] {
        on_both(2, &with_store(mode), |nodes| {
            for _ in 0..7 {
                assert_eq!(nodes.ask(0, costing("2")).client.status, 200, "{mode}");
            }
            nodes.wait(600);
            let passed = (0..20).filter(|_| nodes.status(1, chat("acme")) == 200).count();
            assert_eq!(passed, 6, "{mode}: 14 of 150 are spent, and a unit has drained");
            nodes.wait(1_000);
            assert_eq!(nodes.bank.used("acme", nodes.now()), 134, "{mode}");
        });
    }
}

#[test]
fn what_is_settled_while_the_store_is_away_is_told_when_it_is_back() {
    for mode in ["leased", "strict"] {
        on_both(1, &with_store(mode), |nodes| {
            after_a_hundred(nodes);
            nodes.bank.fails = true;
            // Until the store is known to be away, a request that it does not answer is not let through.
            while nodes.ask(0, costing("0").upstream_status(204)).client.status != 204 {
                nodes.wait(200);
            }
            for (cost, status) in [("4.5", 200), ("20.5", 200), ("1", 500)] {
                let exchange = nodes.ask(0, costing(cost).upstream_status(status));
                assert_eq!(exchange.client.status, status, "{mode}");
                nodes.wait(200);
            }
            assert_eq!(nodes.bank.used("acme", nodes.now()), 100, "{mode}");
            nodes.bank.fails = false;
            nodes.wait(20_000);
            assert_eq!(nodes.bank.used("acme", nodes.now()), 125, "{mode}");
        });
    }
}
