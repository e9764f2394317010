//! Customers under many admins at once, on every backend.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate_store::backend::redb::Redb;
use tollgate_store::backend::redis::Redis;
use tollgate_store::backend::{Backend, open};
use tollgate_testkit::audit;
use tollgate_testkit::redis::Server;
use tollgate_testkit::redis::cluster::Cluster;

use super::Replica;

const ADMINS: usize = 30;
const ROUNDS: usize = 10;
const CONSUMERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn races_of_customers_end_well_in_memory() {
    all(open::open("memory").await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn races_of_customers_end_well_in_a_redb_file() {
    let directory = tempfile::tempdir().unwrap();
    all(Arc::new(Redb::open(directory.path().join("store.redb")).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn races_of_customers_end_well_on_redis() {
    let server = Server::start_volatile().unwrap();
    all(Arc::new(Redis::open(&format!("{}?timeout=10s", server.url())).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn races_of_customers_end_well_on_a_cluster() {
    let cluster = Cluster::start().unwrap();
    all(Arc::new(Redis::open(&format!("{}?timeout=10s", cluster.url())).await.unwrap())).await;
}

/// One admin sets and removes customers of some days of all consumers. Other admins do so, too. The result is why it has
/// set some: each is a customer that nobody else sets, so each is a change.
async fn work_of(admin: usize, replica: Replica) -> Vec<String> {
    let mut made = Vec::new();
    for round in 0..ROUNDS {
        let path = format!("/v1/customers/n/c{}", (admin + round) % CONSUMERS);
        let day = |number: usize| format!("2026-12-{:02}", 1 + number % 28);
        let first = (admin * 7 + round * 3) % 25;
        if (admin + round).is_multiple_of(5) {
            let path = format!("{path}?from={}&reason={admin}-{round}", day(first));
            let status = replica.send(Method::DELETE, &path, None).await.0;
            assert!(matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND), "{status}");
            continue;
        }
        let customer = format!("cus_{admin}_{round}");
        let (starts, ends, reason) = (day(first), day(first + 3), format!("{admin}-{round}"));
        let spec = json!({ "customer": customer, "starts_at": starts, "ends_at": ends, "reason": reason });
        let (status, answer) = replica.send(Method::PUT, &path, Some(spec)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        // The answer is what this admin has made, whatever came before and after.
        let pays = answer["periods"].as_array().unwrap().iter().find(|period| {
            period["starts"].as_str() <= Some(&starts)
                && period["ends"].as_str().is_none_or(|ends| *starts < *ends)
        });
        assert_eq!(pays.unwrap()["customer"], customer, "{answer}");
        made.push(reason);
    }
    made
}

async fn all(backend: Arc<dyn Backend>) {
    let replicas = [Replica::on(&backend), Replica::on(&backend)];
    let admins = (0..ADMINS).map(|admin| tokio::spawn(work_of(admin, replicas[admin % 2].clone())));
    let made: Vec<_> = join_all(admins).await.into_iter().flat_map(Result::unwrap).collect();
    let log = replicas[0].log().await;
    let told = audit::customers(&log).unwrap();
    let reasons: BTreeSet<_> = log.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), log.len(), "no change is logged twice");
    for reason in made {
        assert!(reasons.contains(reason.as_str()), "{reason} was answered, but not made");
    }
    let (_, listed) = replicas[1].send(Method::GET, "/v1/customers/n", None).await;
    let listed = listed["customers"].as_array().unwrap();
    for number in 0..CONSUMERS {
        let consumer = format!("c{number}");
        let (_, kept) = replicas[1].send(Method::GET, &format!("/v1/customers/n/{consumer}"), None).await;
        let kept = kept["periods"].as_array().cloned().unwrap_or_default();
        assert_eq!(told[&consumer], kept, "{consumer}");
        let row = listed.iter().find(|row| row["consumer"] == consumer);
        assert_eq!(row.map_or(&json!([]), |row| &row["periods"]), &json!(kept));
    }
    let customers = log.iter().flat_map(|line| line["after"].as_array().unwrap().iter());
    let customers: BTreeSet<_> = customers.map(|period| period["customer"].as_str().unwrap()).collect();
    for customer in customers {
        let path = format!("/v1/customers/n?customer={customer}");
        let (_, found) = replicas[0].send(Method::GET, &path, None).await;
        let pays = |row: &&Value| {
            row["periods"].as_array().unwrap().iter().any(|period| period["customer"] == *customer)
        };
        let wanted: Vec<_> = listed.iter().filter(pays).cloned().collect();
        assert_eq!(found["customers"], json!(wanted), "{customer}");
    }
}
