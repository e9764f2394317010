//! The keys that remain in Redis.

use std::sync::Arc;
use tollgate_core::units::Cost;

use futures_util::TryStreamExt as _;
use tollgate_core::limit::Day;
use tollgate_core::terms::Rate;
use tollgate_store::backend::redis::Redis;
use tollgate_store::backend::{Backend, BackendError, CustomerChange};
use tollgate_store::customers::Periods;
use tollgate_testkit::redis::Server;

use crate::ask::{UNIT, anonymous, apply, charge, client, daily, grant, lease, month, report, terms, used};

async fn redis(server: &Server) -> Arc<dyn Backend> {
    Arc::new(Redis::open(&format!("{}?timeout=10s", server.url())).await.unwrap())
}

/// The time to live of the only account of `number`, in milliseconds.
fn left(server: &Server, number: u32) -> i64 {
    let key = server.ask(&["--scan", "--pattern", &format!("*{}", client(number))]).unwrap();
    server.ask(&["PTTL", &key]).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_expire_when_they_can_be_forgotten() {
    let server = Server::start().unwrap();
    let redis = redis(&server).await;
    let minute = terms(Rate { units: 60, seconds: 60, burst: 100 }, None);
    apply(&redis, "n", anonymous(1, &minute, 30 * UNIT)).await;
    let until_full = left(&server, 1);
    assert!((28_000..=30_001).contains(&until_full), "{until_full}");
    apply(&redis, "n", anonymous(1, &minute, 30 * UNIT)).await;
    let until_full = left(&server, 1);
    assert!((57_000..=60_001).contains(&until_full), "{until_full}, of an account that was there");
    // A node holds a lease on it: the account stays until that has ended for good.
    let mut lent = anonymous(2, &minute, 0);
    lent.ask = lease(2, &minute, 1, report(1, 0, 0, UNIT)).ask;
    apply(&redis, "n", lent).await;
    let until_ended = left(&server, 2);
    assert!((18_000..=20_001).contains(&until_ended), "{until_ended}");
    apply(&redis, "n", charge(3, &minute, UNIT)).await;
    let days = 491 * 86_400_000;
    assert!((days - 60_000..=days).contains(&left(&server, 3)));
    // A reset makes it last neither longer nor forever.
    redis.reset("n", client(3), true, true, vec![]).await.unwrap();
    assert!((days - 60_000..=days).contains(&left(&server, 3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_account_has_expired_is_taken_off_the_list() {
    let server = Server::start().unwrap();
    let redis = redis(&server).await;
    let terms = daily(100, None);
    redis.apply("n", (0..20).map(|number| charge(number, &terms, UNIT)).collect()).await.unwrap();
    let key = server.ask(&["--scan", "--pattern", &format!("tollgate:a:*{}", client(7))]).unwrap();
    server.ask(&["DEL", &key]).unwrap();
    let listed: Vec<_> = redis.usages("n", month(&redis).await).try_collect().await.unwrap();
    assert_eq!(listed.len(), 19);
    let names = key.replacen("tollgate:a:", "tollgate:n:", 1);
    let names = names.rsplit_once(':').unwrap().0;
    let members = server.ask(&["SMEMBERS", names]).unwrap();
    assert!(!members.contains(&client(7).to_string()), "{members}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_account_is_an_error_and_hurts_no_neighbour() {
    let server = Server::start().unwrap();
    let redis = redis(&server).await;
    let terms = daily(100, None);
    let batch = || (0..10).map(|number| charge(number, &terms, UNIT)).collect();
    redis.apply("n", batch()).await.unwrap();
    for (number, how) in [
        (3, &["SET", "key", "nonsense"][..]),
        (4, &["HSET", "key", "a", "b"]),
        // This flag in the second byte has no meaning yet.
        (5, &["SETRANGE", "key", "1", "\x21"]),
    ] {
        let key = server.ask(&["--scan", "--pattern", &format!("tollgate:a:*{}", client(number))]).unwrap();
        if how[0] != "SETRANGE" {
            server.ask(&["DEL", &key]).unwrap();
        }
        let command: Vec<&str> =
            how.iter().map(|word| if *word == "key" { key.as_str() } else { word }).collect();
        server.ask(&command).unwrap();
        assert!(
            matches!(redis.usage("n", client(number), 0).await, Err(BackendError::Corrupt(_))),
            "{number}"
        );
    }
    let answers = redis.apply("n", batch()).await.unwrap().answers;
    for (number, answer) in (0_u32..).zip(answers) {
        if (3..=5).contains(&number) {
            assert_eq!(answer, tollgate_core::wire::Answer::Failed);
        } else {
            assert_eq!(grant(answer).month_used, Cost(2 * UNIT));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_forgotten_the_scripts_is_told_them_again() {
    let server = Server::start().unwrap();
    let redis = redis(&server).await;
    let terms = daily(100, None);
    for round in 1..4 {
        let batch = (0..200).map(|number| charge(number, &terms, UNIT)).collect();
        redis.apply("n", batch).await.unwrap();
        assert_eq!(used(&redis, "n", 1).await, round * UNIT, "each counts once");
        server.ask(&["SCRIPT", "FLUSH"]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_too_few_replicas_have_is_not_answered_for() {
    let server = Server::start().unwrap();
    let redis: Arc<dyn Backend> =
        Arc::new(Redis::open(&format!("{}?replicas=1&timeout=200ms", server.url())).await.unwrap());
    let error = redis.apply("n", vec![charge(1, &daily(100, None), UNIT)]).await.unwrap_err().to_string();
    assert!(error.contains("0 of 1 replicas confirm"), "{error}");
}

/// An operator may not have read of new rights yet. Nothing is half done then.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_keep_customers_is_told_so_and_nothing_is_kept() {
    let server = Server::start().unwrap();
    let periods = Periods::default().with(Some("cus_1"), Day::FIRST, None);
    let change = || CustomerChange {
        after: Some(periods.to_bytes()),
        joined: vec!["cus_1".into()],
        line: b"line".to_vec(),
        ..CustomerChange::default()
    };
    for (user, lacks) in [("a", "-zadd"), ("b", "-zrem")] {
        server.ask(&["ACL", "SETUSER", user, "on", ">secret", "~*", "+@all", lacks]).unwrap();
        let url = server.url().replace("redis://", &format!("redis://{user}:secret@"));
        let redis: Arc<dyn Backend> = Arc::new(Redis::open(&format!("{url}?timeout=10s")).await.unwrap());
        let error = redis.change_customers("n", "acme", change()).await.unwrap_err();
        assert!(matches!(&error, BackendError::Away(why) if why.contains("script")), "{lacks}: {error}");
        assert_eq!(redis.customers_of("n", "acme").await.unwrap(), None, "{lacks}");
        assert_eq!(redis.audit("n", None, 9).await.unwrap(), [], "{lacks}");
        assert_eq!(server.ask(&["--scan", "--pattern", "tollgate:i:*"]).unwrap(), "", "{lacks}");
    }
    assert!(redis(&server).await.change_customers("n", "acme", change()).await.unwrap());
}
