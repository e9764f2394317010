use std::sync::Arc;
use std::time::Duration;
use tollgate_core::units::{Cost, Micros};

use futures_util::future::join_all;
use tollgate_store::accounts::{Hold, LATE, ReservationId};
use tollgate_store::backend::{Backend, Reserved, Settled};
use tollgate_testkit::wait;

use crate::ask::{UNIT, apply, charge, client, daily, made, month, name, reserve, settle, used};

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn what_is_reserved_is_charged_at_once_and_settled_once(
    backend: Arc<dyn Backend>,
    namespace: &str,
) {
    let terms = daily(100, Some(1_000));
    let reservation = made(reserve(&backend, namespace, (1, 1), &terms, 20 * UNIT).await);
    assert_eq!(reservation.reserved.cost, Cost(20 * UNIT));
    assert_eq!(reservation.reserved.grant.month_used, Cost(20 * UNIT));
    assert_eq!(reservation.expires.since(reservation.reserved.at), Micros(300_000_000));
    assert_eq!((reservation.terms.clone(), reservation.tier.as_str()), ((*terms).clone(), "free"));
    assert_eq!(used(&backend, namespace, 1).await, 20 * UNIT);
    let Settled::Now(settled) = settle(&backend, namespace, (1, 1), 7 * UNIT).await else {
        panic!("it was not settled")
    };
    let grant = settled.settled.unwrap().grant;
    assert_eq!((grant.month_used, grant.used[0]), (Cost(7 * UNIT), Cost(7 * UNIT)));
    for cost in [7, 8] {
        let again = settle(&backend, namespace, (1, 1), cost * UNIT).await;
        assert_eq!(again, Settled::Before(settled.clone()));
    }
    assert_eq!(used(&backend, namespace, 1).await, 7 * UNIT);
    // The client is as well known as one that was charged.
    let usage = backend.usage(namespace, client(1), month(&backend).await).await.unwrap().unwrap();
    assert_eq!(
        (usage.name, usage.tier.as_str(), usage.monthly),
        (Some(name(1)), "free", Some(Cost(1_000 * UNIT)))
    );
    // More than was held is charged and not refused.
    made(reserve(&backend, namespace, (1, 2), &terms, 1).await);
    settle(&backend, namespace, (1, 2), 400 * UNIT).await;
    assert_eq!(used(&backend, namespace, 1).await, 407 * UNIT);
}

pub async fn a_repeated_call_charges_nothing_and_gets_the_first_answer(
    backend: Arc<dyn Backend>,
    namespace: &str,
) {
    let terms = daily(100, None);
    let first = made(reserve(&backend, namespace, (1, 1), &terms, 20 * UNIT).await);
    apply(&backend, namespace, charge(1, &terms, UNIT)).await;
    for cost in [20, 30] {
        let again = reserve(&backend, namespace, (1, 1), &terms, cost * UNIT).await;
        assert_eq!(again, Reserved::Before(first.clone()));
    }
    settle(&backend, namespace, (1, 1), 0).await;
    let Reserved::Before(after) = reserve(&backend, namespace, (1, 1), &terms, 20 * UNIT).await else {
        panic!("it was made anew")
    };
    assert_eq!((after.reserved, after.context), (first.reserved, first.context));
    assert_eq!(used(&backend, namespace, 1).await, UNIT);
}

pub async fn a_refused_reservation_holds_nothing(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    let Reserved::Refused(refused) = reserve(&backend, namespace, (1, 1), &terms, 101 * UNIT).await else {
        panic!("it was not refused")
    };
    assert!(refused.grant.refusal.unwrap().never);
    assert_eq!(used(&backend, namespace, 1).await, 0);
    assert_eq!(settle(&backend, namespace, (1, 1), 0).await, Settled::Unknown);
    made(reserve(&backend, namespace, (1, 1), &terms, 100 * UNIT).await);
}

pub async fn what_is_not_settled_in_time_stays_spent_and_is_forgotten(
    backend: Arc<dyn Backend>,
    namespace: &str,
) {
    let hold = Hold {
        tier: "free".into(),
        terms: daily(100, None),
        cost: Cost(20 * UNIT),
        ttl: Micros(1_000_000),
        context: Vec::new(),
    };
    let key = (client(1), ReservationId([1; 16]));
    let made = made(backend.reserve(namespace, key, name(1), hold.clone()).await.unwrap());
    wait::until_async("its time to be over", PATIENCE, async || {
        (backend.now().await.unwrap() >= made.expires).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(settle(&backend, namespace, (1, 1), 0).await, Settled::Unknown);
    assert_eq!(used(&backend, namespace, 1).await, 20 * UNIT);
    // A call that is repeated late still finds it.
    let again = backend.reserve(namespace, key, name(1), hold).await.unwrap();
    assert_eq!(again, Reserved::Before(made.clone()));
    assert_eq!(made.forget_at().since(made.expires), LATE);
}

pub async fn many_callers_at_once_never_hold_more_than_the_limit(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    apply(&backend, namespace, charge(1, &terms, 85 * UNIT)).await;
    let tasks = (0..100_u8).map(|id| {
        let (backend, terms, namespace) = (Arc::clone(&backend), Arc::clone(&terms), namespace.to_owned());
        tokio::spawn(async move { reserve(&backend, &namespace, (1, id), &terms, 2 * UNIT).await })
    });
    let answers = join_all(tasks).await;
    let held = answers.into_iter().filter(|answer| matches!(answer, Ok(Reserved::Now(_)))).count();
    // Of the fifteen that are left.
    assert_eq!((held, used(&backend, namespace, 1).await), (7, 99 * UNIT));
}

pub async fn many_calls_at_once_settle_once(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    made(reserve(&backend, namespace, (1, 1), &terms, 50 * UNIT).await);
    let tasks = (0..100_u64).map(|cost| {
        let (backend, namespace) = (Arc::clone(&backend), namespace.to_owned());
        tokio::spawn(async move { settle(&backend, &namespace, (1, 1), cost * UNIT).await })
    });
    let mut settled = Vec::new();
    for answer in join_all(tasks).await {
        match answer.unwrap() {
            Settled::Now(kept) => settled.push(kept.settled.unwrap().cost.0),
            Settled::Before(_) => {}
            Settled::Unknown => panic!("it was forgotten"),
        }
    }
    assert_eq!(settled, [used(&backend, namespace, 1).await]);
}

pub async fn a_reservation_is_of_its_namespace_and_client(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    made(reserve(&backend, namespace, (1, 1), &terms, 20 * UNIT).await);
    made(reserve(&backend, namespace, (2, 1), &terms, 10 * UNIT).await);
    let other = format!("{namespace}, another");
    assert_eq!(settle(&backend, &other, (1, 1), 0).await, Settled::Unknown);
    assert_eq!(settle(&backend, namespace, (3, 1), 0).await, Settled::Unknown);
    settle(&backend, namespace, (2, 1), UNIT).await;
    assert_eq!(used(&backend, namespace, 1).await, 20 * UNIT);
    assert_eq!(used(&backend, namespace, 2).await, UNIT);
}
