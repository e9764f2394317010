use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate_store::backend::redb::Redb;
use tollgate_store::backend::redis::Redis;
use tollgate_store::backend::{Backend, Changed, OverrideChange, open};
use tollgate_testkit::redis::Server;
use tollgate_testkit::redis::cluster::Cluster;

use super::Replica;

const CLIENTS: usize = 50;
const ROUNDS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn races_of_overrides_end_well_in_memory() {
    all(open::open("memory").await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn races_of_overrides_end_well_in_a_redb_file() {
    let directory = tempfile::tempdir().unwrap();
    all(Arc::new(Redb::open(directory.path().join("store.redb")).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn races_of_overrides_end_well_on_redis() {
    let server = Server::start_volatile().unwrap();
    all(Arc::new(Redis::open(&format!("{}?timeout=10s", server.url())).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn races_of_overrides_end_well_on_a_cluster() {
    let cluster = Cluster::start().unwrap();
    all(Arc::new(Redis::open(&format!("{}?timeout=10s", cluster.url())).await.unwrap())).await;
}

async fn all(backend: Arc<dyn Backend>) {
    every_change_is_answered_and_logged_as_it_was(&backend).await;
    a_namespace_never_has_more_than_it_may(&backend).await;
}

/// One admin's changes that were made: the reason, and the revision where an override was set.
async fn changes_of(admin: usize, replica: Replica) -> Vec<(String, Option<u64>)> {
    let mut made = Vec::new();
    for round in 0..ROUNDS {
        let (consumer, reason) = (format!("c{}", (admin + round) % 4), format!("{admin}-{round}"));
        if (admin + round / 2).is_multiple_of(3) {
            match replica.delete(&consumer, &reason).await {
                StatusCode::NO_CONTENT => made.push((reason, None)),
                status => assert_eq!(status, StatusCode::NOT_FOUND, "{consumer} {reason}"),
            }
        } else {
            let (status, answer) = replica.put(&consumer, &reason).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            assert_eq!(answer["reason"], reason, "the answer has another's override");
            made.push((reason, answer["revision"].as_u64()));
        }
    }
    made
}

/// Fifty admins set and remove the overrides of four consumers at two replicas.
async fn every_change_is_answered_and_logged_as_it_was(backend: &Arc<dyn Backend>) {
    let replicas = [Replica::on(backend), Replica::on(backend)];
    for replica in &replicas {
        replica.know_tiers().await;
    }
    let admins = (0..CLIENTS).map(|admin| tokio::spawn(changes_of(admin, replicas[admin % 2].clone())));
    let made: Vec<_> = join_all(admins).await.into_iter().flat_map(Result::unwrap).collect();
    let log = replicas[0].log().await;
    let mut before: HashMap<String, Value> = HashMap::new();
    for line in &log {
        let consumer = line["consumer"].as_str().unwrap();
        let (was, is) = (line["before"].clone(), line["after"].clone());
        assert_eq!(was, before.insert(consumer.to_owned(), is).unwrap_or_default(), "{line}");
    }
    assert_eq!(log.len(), made.len());
    for (reason, revision) in made {
        let line =
            log.iter().find(|line| line["reason"] == reason).unwrap_or_else(|| panic!("no line {reason}"));
        // Every change here is a log line and a revision.
        assert!(revision.is_none_or(|revision| line["number"] == revision), "{line} is {revision:?}");
    }
    // What remains is what the log says, at either replica.
    for replica in &replicas {
        for (consumer, after) in &before {
            let (status, override_) =
                replica.send(axum::http::Method::GET, &format!("/v1/overrides/n/{consumer}"), None).await;
            match after {
                Value::Null => assert_eq!(status, StatusCode::NOT_FOUND),
                after => assert_eq!(override_["reason"], after["reason"]),
            }
        }
    }
}

/// Checks a namespace that may have twenty overrides, after removed ones.
async fn a_namespace_never_has_more_than_it_may(backend: &Arc<dyn Backend>) {
    const MOST: u64 = 20;
    let change = |value: Option<Value>| OverrideChange {
        value: value.map(|value| value.to_string().into_bytes()),
        most: MOST,
        ..OverrideChange::default()
    };
    for number in 0..30 {
        let consumer = format!("gone {number}");
        backend.change_override("cap", &consumer, change(Some(json!(1)))).await.unwrap();
        backend.change_override("cap", &consumer, change(None)).await.unwrap();
    }
    let changes = (0..CLIENTS).map(|number| {
        let (backend, change) = (Arc::clone(backend), change(Some(json!(number))));
        tokio::spawn(
            async move { backend.change_override("cap", &format!("c{number}"), change).await.unwrap() },
        )
    });
    let changed: Vec<_> = join_all(changes).await.into_iter().map(Result::unwrap).collect();
    let count =
        |changed: &[Changed]| changed.iter().filter(|changed| matches!(changed, Changed::To(_))).count();
    assert_eq!(count(&changed), 20, "{changed:?}");
    // A consumer with an override may replace it; one without may get one once another is removed.
    let set = changed.iter().position(|changed| *changed != Changed::Full).unwrap();
    let full = changed.iter().position(|changed| *changed == Changed::Full).unwrap();
    let to = async |number: usize, value| {
        backend.change_override("cap", &format!("c{number}"), change(value)).await.unwrap()
    };
    assert!(matches!(to(set, Some(json!(2))).await, Changed::To(_)));
    assert_eq!(to(full, Some(json!(2))).await, Changed::Full);
    assert!(matches!(to(set, None).await, Changed::To(_)));
    assert!(matches!(to(full, Some(json!(2))).await, Changed::To(_)));
    let snapshot = backend.snapshot("cap", tollgate_store::backend::Mark::default()).await.unwrap();
    assert_eq!(snapshot.overrides.iter().filter(|row| row.value.is_some()).count(), 20);
}
