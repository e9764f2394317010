use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tollgate_core::units::{Cost, Micros, UnixMicros};

use super::*;
use crate::accounts::{Hold, ReservationId};
use crate::backend::{ReservationStore, Reserved};
use tollgate_core::terms::{Offer, Terms};
use tollgate_testkit::wait;

/// 2026-11-24T00:00:00Z.
const NOW: u64 = 1_795_478_400_000_000;
const SECOND: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(20);
/// This variable makes the test program the child that is killed.
const CHILD: &str = "TOLLGATE_REDB_CHILD";

fn terms(monthly: Option<u64>) -> Arc<Terms> {
    let rate = tollgate_core::terms::Rate { units: 100, seconds: 60, burst: 100 };
    Arc::new(Offer { tier: "free".into(), rates: vec![rate], monthly }.terms().unwrap())
}

fn charge(client: u8, is_anonymous: bool, cost: u64) -> AccountEntry {
    AccountEntry {
        client: ClientId([client; 16]),
        name: (!is_anonymous).then(|| vec![b'a', client]),
        is_anonymous,
        tier: "free".into(),
        terms: terms(Some(1_000)),
        node: 0,
        ask: Ask::Charge { cost: Cost(cost) },
    }
}

fn fake_clock() -> (Arc<AtomicU64>, Clock) {
    let time = Arc::new(AtomicU64::new(NOW));
    let reader = Arc::clone(&time);
    (time, Arc::new(move || UnixMicros(reader.load(Ordering::SeqCst))))
}

#[tokio::test]
async fn a_second_store_on_the_same_file_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let _first = Redb::open(&path).await.unwrap();
    let error = Redb::open(&path).await.err().unwrap().to_string();
    assert!(error.contains("in use by another process; stop that one"), "{error}");
    let error = Redb::open(directory.path().join("none/store.redb")).await.err().unwrap().to_string();
    assert!(error.contains("its directory must exist"), "{error}");
}

#[tokio::test]
async fn a_anonymous_clients_full_bucket_is_forgotten_and_a_consumer_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (time, clock) = fake_clock();
    let redb = Redb::open_with(directory.path().join("store.redb"), clock).await.unwrap();
    redb.apply("n", vec![charge(1, true, 50_000), charge(2, false, 50_000)]).await.unwrap();
    let anonymous = || redb.usage("n", ClientId([1; 16]), 682);
    assert!(anonymous().await.unwrap().is_some());
    // By now half of the minute's bucket is full again.
    time.store(NOW + 31 * SECOND, Ordering::SeqCst);
    wait::until_async("the anonymous client to be forgotten", PATIENCE, async || {
        anonymous().await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
    assert!(redb.usage("n", ClientId([2; 16]), 682).await.unwrap().is_some());
}

#[tokio::test]
async fn a_damaged_account_is_an_error_and_hurts_no_neighbour() {
    let directory = tempfile::tempdir().unwrap();
    let redb = Redb::open(directory.path().join("store.redb")).await.unwrap();
    redb.apply("n", vec![charge(1, false, 1_000), charge(2, false, 1_000)]).await.unwrap();
    let damage = |transaction: &redb::WriteTransaction, _| {
        let mut accounts = transaction.open_table(table::ACCOUNTS).map_err(table::failed)?;
        accounts.insert(("n", [1; 16]), [1, 255, 255].as_slice()).map_err(table::failed)?;
        Ok(())
    };
    redb.writer.change(damage).await.unwrap();
    let month = 682;
    assert!(matches!(redb.usage("n", ClientId([1; 16]), month).await, Err(BackendError::Corrupt(_))));
    let batch = redb.apply("n", vec![charge(1, false, 1_000), charge(2, false, 1_000)]).await.unwrap();
    assert_eq!(batch.answers[0], Answer::Failed);
    assert!(matches!(batch.answers[1], Answer::Grant(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_an_error_and_never_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    std::fs::write(&path, b"not a database, but long enough to be looked at: ".repeat(1_000)).unwrap();
    assert!(matches!(Redb::open(&path).await, Err(BackendError::Corrupt(_))));

    let sound = directory.path().join("sound.redb");
    let redb = Redb::open(&sound).await.unwrap();
    redb.apply("n", (0..200).map(|client| charge(client, false, 1_000)).collect()).await.unwrap();
    drop(redb);
    let bytes = std::fs::read(&sound).unwrap();
    // One byte is flipped, at places all over the file. It is refused, or nothing refers to that part.
    let mut refused = 0;
    for place in (0..bytes.len()).step_by(bytes.len() / 97) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x55;
        std::fs::write(&path, &damaged).unwrap();
        match Redb::open(&path).await {
            Ok(redb) => assert!(redb.usage("n", ClientId([7; 16]), 682).await.is_ok()),
            Err(BackendError::Corrupt(_)) => refused += 1,
            Err(error) => panic!("byte {place}: {error}"),
        }
    }
    assert!(refused > 0, "no damage was noticed");
}

/// This is no test, but the child of the next one. It applies batches until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_settles_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let redb = Arc::new(Redb::open(path).await.unwrap());
    let lanes = (0..4_u8).map(|lane| {
        let redb = Arc::clone(&redb);
        tokio::spawn(async move {
            for round in 1_u64.. {
                let mut entry = charge(lane, false, 1);
                entry.terms = Arc::new(Terms::default());
                redb.apply("n", vec![entry]).await.unwrap();
                println!("acknowledged {lane} {round}");
            }
        })
    });
    futures_util::future::join_all(lanes.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture", "backend::redb::tests::child_that_settles_until_it_is_killed"])
        .env(CHILD, &path)
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut acknowledged = [0_u64; 4];
    let mut count = 0;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.by_ref().map_while(Result::ok) {
        // The test harness may have printed something first.
        let Some((_, words)) = line.split_once("acknowledged ") else { continue };
        let (lane, round) = words.split_once(' ').unwrap();
        acknowledged[lane.parse::<usize>().unwrap()] = round.parse().unwrap();
        count += 1;
        if count == 400 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(count >= 400, "the child ended by itself after {count}");
    let redb = Redb::open(&path).await.unwrap();
    let month = crate::accounts::month_of(redb.now().await.unwrap());
    for (lane, acknowledged) in (0_u8..).zip(acknowledged) {
        let used = redb.usage("n", ClientId([lane; 16]), month).await.unwrap().unwrap().used;
        assert!(used >= Cost(acknowledged), "lane {lane}: {acknowledged} acknowledged, {used} kept");
        assert!(used <= Cost(acknowledged + 1), "lane {lane}: {acknowledged} acknowledged, {used} kept");
    }
}

#[tokio::test]
async fn reservations_are_forgotten_once_their_time_is_over_and_nothing_of_them_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (time, clock) = fake_clock();
    let redb = Redb::open_with(directory.path().join("store.redb"), clock).await.unwrap();
    let hold = |ttl: u64| Hold {
        tier: "free".into(),
        terms: terms(None),
        cost: Cost(1_000),
        ttl: Micros(ttl * SECOND),
        context: Vec::new(),
    };
    let reserve = async |number: u8, ttl: u64| {
        let key = (ClientId([number % 3; 16]), ReservationId([number; 16]));
        redb.reserve("n", key, vec![b'a'], hold(ttl)).await.unwrap()
    };
    let kept = || {
        let transaction = redb.file.read().unwrap();
        let reservations = transaction.open_table(table::RESERVATIONS).unwrap().iter().unwrap().count();
        let ends = transaction.open_table(table::RESERVATION_ENDS).unwrap().iter().unwrap().count();
        let counts = transaction.open_table(table::RESERVATION_COUNTS).unwrap().iter().unwrap().count();
        (reservations, ends, counts)
    };
    let becomes = async |wanted| {
        let is_it = async || (kept() == wanted).then_some(());
        wait::until_async("old reservations to be forgotten", PATIENCE, is_it).await.unwrap();
    };
    for number in 0..40 {
        assert!(matches!(reserve(number, 60).await, Reserved::Now(_)));
    }
    assert_eq!(kept(), (40, 40, 3));
    // The number of one whose time is over is taken again before that is forgotten.
    time.store(NOW + 120 * SECOND, Ordering::SeqCst);
    assert!(matches!(reserve(7, 600).await, Reserved::Now(_)));
    time.store(NOW + 180 * SECOND, Ordering::SeqCst);
    becomes((1, 1, 1)).await;
    assert!(matches!(reserve(7, 600).await, Reserved::Before(_)));
    time.store(NOW + 900 * SECOND, Ordering::SeqCst);
    becomes((0, 0, 0)).await;
}

#[tokio::test]
async fn a_damaged_reservation_is_an_error_and_hurts_no_neighbour() {
    let directory = tempfile::tempdir().unwrap();
    let redb = Redb::open(directory.path().join("store.redb")).await.unwrap();
    let hold = Hold {
        tier: "free".into(),
        terms: terms(None),
        cost: Cost(1_000),
        ttl: Micros(60 * SECOND),
        context: Vec::new(),
    };
    let key = |number: u8| (ClientId([1; 16]), ReservationId([number; 16]));
    let damage = |transaction: &redb::WriteTransaction, _| {
        let mut reservations = transaction.open_table(table::RESERVATIONS).map_err(table::failed)?;
        reservations.insert(("n", [1; 16], [1; 16]), [1, 255, 255].as_slice()).map_err(table::failed)?;
        Ok(())
    };
    redb.writer.change(damage).await.unwrap();
    let (damaged, sound, settled) = tokio::join!(
        redb.reserve("n", key(1), vec![b'a'], hold.clone()),
        redb.reserve("n", key(2), vec![b'a'], hold),
        redb.settle("n", key(1), Cost(0)),
    );
    assert!(matches!((damaged, settled), (Err(BackendError::Corrupt(_)), Err(BackendError::Corrupt(_)))));
    assert!(matches!(sound, Ok(Reserved::Now(_))));
}
