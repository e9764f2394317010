//! Redis goes away, and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tollgate_core::units::Cost;

use tollgate_core::wire::Answer;
use tollgate_store::backend::redis::Redis;
use tollgate_store::backend::{Backend, BackendError, Reserved, Settled};
use tollgate_testkit::redis::Server;
use tollgate_testkit::redis::cluster::Cluster;
use tollgate_testkit::redis::watched::Watched;
use tollgate_testkit::wait;

use crate::ask::{UNIT, anonymous, apply, charge, client, daily, grant, made, reserve, settle, used};

const PATIENCE: Duration = Duration::from_secs(30);

/// The longest call to a dead server: nobody waits for it.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The longest call to a server that hangs: a command's timeout, and room for a busy machine.
const IN_TIME: Duration = Duration::from_millis(1_500);

async fn redis(url: &str) -> Arc<dyn Backend> {
    Arc::new(Redis::open(url).await.unwrap())
}

/// Waits until the backend applies again, without counting anything.
async fn applies(backend: &Arc<dyn Backend>) {
    let terms = daily(100, None);
    wait::until_async("the backend to recover", PATIENCE, async || {
        let batch = (0..64).map(|number| charge(number, &terms, 0)).collect();
        let answers = backend.apply("n", batch).await.ok()?.answers;
        answers.iter().all(|answer| matches!(answer, Answer::Grant(_))).then_some(())
    })
    .await
    .unwrap();
}

async fn is_away(backend: &Arc<dyn Backend>, limit: Duration) {
    let start = Instant::now();
    let error = backend.now().await.unwrap_err();
    assert!(matches!(error, BackendError::Away(_)), "{error}");
    let entry = charge(1, &daily(100, None), UNIT);
    let error = backend.apply("n", vec![entry]).await.unwrap_err();
    assert!(matches!(error, BackendError::Away(_)), "{error}");
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_away_at_once_and_comes_back_with_its_data() {
    let mut server = Server::start().unwrap();
    let redis = redis(&server.url()).await;
    let terms = daily(100, None);
    apply(&redis, "n", charge(1, &terms, 7 * UNIT)).await;
    for round in 1..=2 {
        server.kill();
        is_away(&redis, AT_ONCE).await;
        server.restart().unwrap();
        applies(&redis).await;
        assert_eq!(used(&redis, "n", 1).await, 7 * UNIT * round);
        apply(&redis, "n", charge(1, &terms, 7 * UNIT)).await;
    }
}

/// Each step is repeated after the server was killed, as a caller does that got no answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_between_two_steps_of_a_reservation_loses_and_repeats_nothing() {
    let mut server = Server::start().unwrap();
    let redis = redis(&server.url()).await;
    let terms = daily(100, None);
    let first = made(reserve(&redis, "n", (1, 1), &terms, 20 * UNIT).await);
    let mut last = Settled::Unknown;
    for round in 0..3 {
        server.kill();
        is_away(&redis, AT_ONCE).await;
        server.restart().unwrap();
        applies(&redis).await;
        if round == 0 {
            let again = reserve(&redis, "n", (1, 1), &terms, 20 * UNIT).await;
            assert_eq!(again, Reserved::Before(first.clone()));
            assert_eq!(used(&redis, "n", 1).await, 20 * UNIT);
            continue;
        }
        let settled = settle(&redis, "n", (1, 1), 7 * UNIT).await;
        match (&last, &settled) {
            (Settled::Unknown, Settled::Now(_)) => {}
            (Settled::Now(first), Settled::Before(again)) => assert_eq!(first, again),
            other => panic!("{other:?}"),
        }
        assert_eq!(used(&redis, "n", 1).await, 7 * UNIT);
        last = settled;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_away_in_time() {
    let server = Server::start().unwrap();
    let redis = redis(&server.url()).await;
    applies(&redis).await;
    server.pause().unwrap();
    is_away(&redis, IN_TIME).await;
    // From now on it is known to be away.
    is_away(&redis, AT_ONCE).await;
    server.resume().unwrap();
    applies(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_yet_is_no_reason_not_to_start() {
    let mut server = Server::start().unwrap();
    server.kill();
    let redis = redis(&server.url()).await;
    is_away(&redis, AT_ONCE).await;
    server.restart().unwrap();
    applies(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_certificate_is_away_and_says_why() {
    let server = Server::start_guarded().unwrap();
    let wrong = server.url().replacen("p%40ss", "wrong", 1);
    let error = redis(&wrong).await.now().await.unwrap_err().to_string();
    assert!(error.contains("Password authentication failed"), "{error}");
    let (without_ca, _) =
        server.url().split_once('?').map(|(url, ca)| (url.to_owned(), ca.to_owned())).unwrap();
    let error = redis(&without_ca).await.now().await.unwrap_err().to_string();
    assert!(error.contains("certificate") || error.contains("UnknownIssuer"), "{error}");
    let error = Redis::open(&format!("{without_ca}?ca=/nowhere.pem")).await.err().unwrap().to_string();
    assert!(error.contains("/nowhere.pem cannot be read"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_master_dies_the_one_that_the_sentinels_promote_goes_on() {
    let mut watched = Watched::start().unwrap();
    let redis = redis(&watched.url()).await;
    let terms = daily(100, None);
    apply(&redis, "n", charge(1, &terms, 7 * UNIT)).await;
    watched.replicated().unwrap();
    watched.master().unwrap().kill();
    is_away(&redis, AT_ONCE).await;
    watched.failed_over().unwrap();
    applies(&redis).await;
    assert_eq!(used(&redis, "n", 1).await, 7 * UNIT);
    // The old server comes back as a replica: a connection that still leads there must not be believed.
    watched.restart().unwrap();
    apply(&redis, "n", charge(1, &terms, UNIT)).await;
    assert_eq!(used(&redis, "n", 1).await, 8 * UNIT);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_node_of_a_cluster_dies_its_clients_alone_fail_until_the_replica_takes_over() {
    let mut cluster = Cluster::start().unwrap();
    let redis = redis(&cluster.url()).await;
    let terms = daily(100, None);
    let batch = |cost| (0..300).map(|number| charge(number, &terms, cost)).collect();
    redis.apply("n", batch(UNIT)).await.unwrap();
    cluster.replicated().unwrap();
    let key = format!("tollgate:a:{{n:{:02x}}}:{}", client(1).0[0], client(1));
    cluster.kill_master_of(&key).unwrap();
    let start = Instant::now();
    let answers = redis.apply("n", batch(0)).await.unwrap().answers;
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    let failed = answers.iter().filter(|answer| **answer == Answer::Failed).count();
    assert!((50..200).contains(&failed), "a third of 300 clients, but {failed}");
    assert_eq!(answers[1], Answer::Failed);
    for answer in answers.into_iter().filter(|answer| *answer != Answer::Failed) {
        assert_eq!(grant(answer).month_used, Cost(UNIT));
    }
    cluster.failed_over().unwrap();
    applies(&redis).await;
    for number in 0..300 {
        assert_eq!(used(&redis, "n", number).await, UNIT, "{number}");
    }
    cluster.restart().unwrap();
    applies(&redis).await;
}

/// A slot moves from one node to another while the store runs: the store follows the redirections of both, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_to_another_node_fails_no_call() {
    let cluster = Cluster::start().unwrap();
    let redis = redis(&cluster.url()).await;
    applies(&redis).await;
    let key = format!("tollgate:a:{{moved:{:02x}}}:{}", client(1).0[0], client(1));
    let (from, to) = cluster.owner_and_another(&key).unwrap();
    let slot = from.ask(&["CLUSTER", "KEYSLOT", &key]).unwrap();
    let [source, target] = [from, to].map(|node| node.ask(&["CLUSTER", "MYID"]).unwrap());
    to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]).unwrap();
    from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]).unwrap();
    let terms = daily(100, None);
    // The old node does not have the account, so it sends the call to the new one, for this once.
    apply(&redis, "moved", anonymous(1, &terms, UNIT)).await;
    for node in [to, from] {
        node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]).unwrap();
    }
    let answer = apply(&redis, "moved", charge(1, &terms, UNIT)).await;
    assert_eq!(grant(answer).month_used, Cost(2 * UNIT));
    assert_eq!(to.ask(&["EXISTS", &key]).unwrap(), "1");
}
