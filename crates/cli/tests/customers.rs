//! Customers over a store, or its Redis, that is killed again and again: each change and its line in the audit log are both
//! there or neither is, and an admin who repeats what got no answer changes nothing twice.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_core::limit::Day;
use tollgate_store::customers::Periods;
use tollgate_testkit::http::{Client, Request};
use tollgate_testkit::redis::Server;
use tollgate_testkit::store::Store;
use tollgate_testkit::{audit, wait};

const PATIENCE: Duration = Duration::from_secs(60);

/// How many admins there are, and how many changes each makes.
const ADMINS: u64 = 4;
const CHANGES: u64 = 90;

/// How many changes are answered between two kills.
const CHANGES_BETWEEN: u64 = 15;

/// Makes a change until it is answered.
fn made(address: SocketAddr, request: &Request) {
    wait::until("an answer", PATIENCE, || {
        let answer = Client::to(address).send(request).ok()?;
        match answer.status {
            200 | 204 | 404 => Some(()),
            503 => None,
            status => panic!("{status} {}", answer.text()),
        }
    })
    .unwrap();
}

fn day(number: u64) -> Day {
    Day::parse(&format!("2026-12-{:02}", 1 + number)).unwrap()
}

/// Makes all changes of one admin: of a consumer of its own, and of one that all share. The result is what its own
/// consumer then has to have.
fn admin(address: SocketAddr, number: u64, answers: &AtomicU64) -> Periods {
    let mut own = Periods::default();
    for change in 0..CHANGES {
        let consumer = if change % 2 == 0 { format!("c{number}") } else { "shared".to_owned() };
        let path = format!("/v1/customers/n/{consumer}");
        let first = change * 11 % 20;
        let (starts, ends) = (day(first), day(first + 4));
        let wanted = if change % 7 == 6 {
            made(address, &Request::new("DELETE", &format!("{path}?from={starts}")));
            own.with(None, starts, None)
        } else {
            let customer = format!("cus_{}", (change + number) % 5);
            let spec = json!({ "customer": customer, "starts_at": starts, "ends_at": ends });
            made(address, &Request::new("PUT", &path).json(&spec));
            own.with(Some(&customer), starts, Some(ends))
        };
        if change % 2 == 0 {
            own = wanted;
        }
        answers.fetch_add(1, Ordering::SeqCst);
    }
    own
}

/// All of the log's lines, oldest first.
fn log(address: SocketAddr) -> Vec<Value> {
    let log = Client::to(address).get("/v1/audit/n?limit=1000").unwrap().json();
    assert_eq!(log["next"], Value::Null);
    let mut lines = log["lines"].as_array().unwrap().clone();
    lines.reverse();
    lines
}

/// Lets all admins work while `crash` kills something after every so many changes.
fn lives_through(address: SocketAddr, mut crash: impl FnMut()) {
    let answers = AtomicU64::new(0);
    let owns: Vec<_> = thread::scope(|scope| {
        let answers = &answers;
        let admins: Vec<_> =
            (0..ADMINS).map(|number| scope.spawn(move || admin(address, number, answers))).collect();
        for kills in 1..ADMINS * CHANGES / CHANGES_BETWEEN {
            let due = || answers.load(Ordering::SeqCst) >= kills * CHANGES_BETWEEN;
            wait::until("some answers", PATIENCE, || due().then_some(())).unwrap();
            crash();
        }
        admins.into_iter().map(|admin| admin.join().unwrap()).collect()
    });
    let lines = log(address);
    let told = audit::customers(&lines).unwrap();
    let listed = Client::to(address).get("/v1/customers/n").unwrap().json();
    let listed = listed["customers"].as_array().unwrap();
    let kept: BTreeMap<_, _> = listed
        .iter()
        .map(|row| (row["consumer"].as_str().unwrap().to_owned(), row["periods"].as_array().unwrap().clone()))
        .collect();
    let told: BTreeMap<_, _> = told.into_iter().filter(|(_, periods)| !periods.is_empty()).collect();
    assert_eq!(kept, told);
    for number in 0..5 {
        let customer = format!("cus_{number}");
        let found = Client::to(address).get(&format!("/v1/customers/n?customer={customer}")).unwrap().json();
        let pays = |row: &&Value| {
            row["periods"].as_array().unwrap().iter().any(|period| period["customer"] == *customer)
        };
        let wanted: Vec<_> = listed.iter().filter(pays).cloned().collect();
        assert_eq!(found["customers"], json!(wanted), "{customer}");
    }
    for (number, wanted) in owns.into_iter().enumerate() {
        let own = format!("c{number}");
        assert_eq!(json!(kept[&own]), json!(wanted.as_slice()), "{own}");
        let lines = lines.iter().filter(|line| line["consumer"] == own.as_str());
        assert!(lines.count() as u64 <= CHANGES / 2, "a repeated change has a line of its own");
    }
}

fn store(backend: &str) -> Store {
    Store::start_as(Path::new(env!("CARGO_BIN_EXE_tollgate")), backend).unwrap()
}

#[test]
fn a_store_with_a_file_that_is_killed_keeps_each_change_with_its_line() {
    let mut store = store("redb");
    let address = store.address();
    lives_through(address, || {
        store.kill();
        store.restart().unwrap();
    });
}

#[test]
fn a_store_and_a_redis_that_are_killed_in_turn_keep_each_change_with_its_line() {
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
