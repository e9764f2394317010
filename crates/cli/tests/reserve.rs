//! Reservations over a store, or its Redis, that is killed again and again: a caller that repeats what got no answer is charged
//! what its requests cost, once each.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_testkit::http::{Client, Request};
use tollgate_testkit::redis::Server;
use tollgate_testkit::store::Store;
use tollgate_testkit::wait;

const PATIENCE: Duration = Duration::from_secs(60);

/// How many callers there are, and how many requests each has.
const CALLERS: u64 = 4;
const REQUESTS: u64 = 60;

/// How many calls are answered between two kills.
const CALLS_BETWEEN: u64 = 60;

/// Sends `body` until it is answered with 200.
fn answered(address: SocketAddr, path: &str, body: &Value) -> Value {
    let request = Request::new("POST", path).json(body);
    wait::until("an answer", PATIENCE, || {
        let answer = Client::to(address).send(&request).ok()?;
        match answer.status {
            200 => Some(answer.json()),
            503 => None,
            status => panic!("{path} {body}: {status} {}", answer.text()),
        }
    })
    .unwrap()
}

/// Reserves and settles every request of one caller. The result is what they cost, in tenths of a unit.
fn caller(address: SocketAddr, number: u64, answers: &AtomicU64) -> u64 {
    let tiers = json!({ "tiers": { "free": { "rate": "1000000/minute", "monthly": 1_000_000 } } });
    let cost_of = |request: u64| (number * 31 + request * 7) % 100;
    for request in 0..REQUESTS {
        let id = format!("{number} {request}");
        let wanted = json!({ "namespace": "n", "consumer": "acme", "tier": "free", "cost": 5, "id": id, "policy": tiers });
        let held = answered(address, "/v1/reserve", &wanted);
        assert_eq!(held["allowed"], true, "{held}");
        answers.fetch_add(1, Ordering::SeqCst);
        let cost: Value =
            serde_json::from_str(&format!("{}.{}", cost_of(request) / 10, cost_of(request) % 10)).unwrap();
        let settled =
            answered(address, "/v1/settle", &json!({ "reservation": held["reservation"], "cost": cost }));
        assert_eq!(settled["cost"].as_f64(), cost.as_f64());
        answers.fetch_add(1, Ordering::SeqCst);
    }
    (0..REQUESTS).map(cost_of).sum()
}

/// Lets all callers work while `crash` kills something after every so many answers.
fn lives_through(address: SocketAddr, mut crash: impl FnMut()) {
    let answers = AtomicU64::new(0);
    let total: u64 = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| {
                scope.spawn({
                    let answers = &answers;
                    move || caller(address, number, answers)
                })
            })
            .collect();
        for kills in 1..2 * CALLERS * REQUESTS / CALLS_BETWEEN {
            let due = || answers.load(Ordering::SeqCst) >= kills * CALLS_BETWEEN;
            wait::until("some answers", PATIENCE, || due().then_some(())).unwrap();
            crash();
        }
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    let usage = Client::to(address).get("/v1/usage/n/acme").unwrap().json();
    assert_eq!(usage["used"].as_f64().unwrap(), total as f64 / 10.0, "{usage}");
}

fn store(backend: &str) -> Store {
    Store::start_as(Path::new(env!("CARGO_BIN_EXE_tollgate")), backend).unwrap()
}

#[test]
fn a_store_with_a_file_that_is_killed_charges_each_request_once() {
    let mut store = store("redb");
    let address = store.address();
    lives_through(address, || {
        store.kill();
        store.restart().unwrap();
    });
}

#[test]
fn a_store_and_a_redis_that_are_killed_in_turn_charge_each_request_once() {
    let mut redis = Server::start().unwrap();
    let mut store = store(&redis.url());
    let (address, mut turn) = (store.address(), 0);
    lives_through(address, || {
        turn += 1;
        if turn % 2 == 0 {
            store.kill();
            store.restart().unwrap();
        } else {
            redis.kill();
            redis.restart().unwrap();
        }
    });
}
