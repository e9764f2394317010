//! Every backend behaves alike: one list of behaviors, run against each of them.
//!
//! Redis servers are started from the system's packages; if those are missing, the tests fail and say what to install.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

mod ask;
mod behaviours;
mod outage;
mod redis_keys;
mod written_before;

use std::sync::Arc;

use tollgate_store::backend::redb::Redb;
use tollgate_store::backend::redis::Redis;
use tollgate_store::backend::{Backend, open};
use tollgate_testkit::redis::Server;
use tollgate_testkit::redis::cluster::Cluster;
use tollgate_testkit::redis::watched::Watched;

#[tokio::test(flavor = "multi_thread")]
async fn every_behaviour_holds_in_memory() {
    behaviours::all(open::open("memory").await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_behaviour_holds_in_a_redb_file() {
    let directory = tempfile::tempdir().unwrap();
    let redb = Redb::open(directory.path().join("store.redb")).await.unwrap();
    behaviours::all(Arc::new(redb)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_behaviour_holds_on_one_redis() {
    let server = Server::start().unwrap();
    behaviours::all(redis(&server.url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_behaviour_holds_on_a_redis_with_tls_and_one_user() {
    let server = Server::start_guarded().unwrap();
    behaviours::all(redis(&server.url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_behaviour_holds_where_sentinels_name_the_master() {
    let watched = Watched::start().unwrap();
    behaviours::all(redis(&watched.url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_behaviour_holds_on_a_cluster() {
    let cluster = Cluster::start().unwrap();
    behaviours::all(redis(&cluster.url()).await).await;
}

/// The Redis at `url`, with long timeouts for a busy machine: these tests do not ask how fast it answers.
async fn redis(url: &str) -> Arc<dyn Backend> {
    let mark = if url.contains('?') { '&' } else { '?' };
    Arc::new(Redis::open(&format!("{url}{mark}timeout=10s&connect_timeout=10s")).await.unwrap())
}
