use std::sync::Arc;
use std::time::Duration;
use tollgate_core::units::{Cost, Millis};

use tollgate_core::wire::Answer;
use tollgate_store::accounts::{LEASE_TTL, SHARE};
use tollgate_store::backend::Backend;
use tollgate_testkit::wait;

use crate::ask::{UNIT, apply, charge, client, daily, grant, lease, report, used};

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn a_node_is_lent_what_it_needs_and_no_two_the_same(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    let first = grant(apply(&backend, namespace, lease(1, &terms, 1, report(1, 0, 0, 60 * UNIT))).await);
    assert_eq!((first.hold, first.refusal), (Cost(60 * UNIT), None));
    assert!(first.ttl > Millis(0) && first.ttl <= LEASE_TTL.millis(), "{first:?}");
    let second = grant(apply(&backend, namespace, lease(1, &terms, 2, report(1, 0, 0, 50 * UNIT))).await);
    let refusal = second.refusal.unwrap();
    // Ten units of a hundred per day are missing.
    assert_eq!((second.hold, refusal.limits, refusal.month, refusal.never), (Cost(0), 1, false, false));
    let wait = Duration::from_micros(refusal.wait.0);
    assert!(wait <= Duration::from_secs(8_640) && wait > Duration::from_secs(8_600), "{wait:?}");
    let never = grant(apply(&backend, namespace, lease(1, &terms, 3, report(1, 0, 0, 101 * UNIT))).await);
    assert!(never.refusal.unwrap().never);
    let mut greedy = report(2, 60 * UNIT, 0, 0);
    greedy.want = Cost(1_000 * UNIT);
    let greedy = grant(apply(&backend, namespace, lease(1, &terms, 1, greedy)).await);
    assert!(greedy.hold >= Cost(40 * UNIT / SHARE) && greedy.hold < Cost(41 * UNIT / SHARE), "{greedy:?}");
    assert_eq!(used(&backend, namespace, 1).await, 60 * UNIT);
}

pub async fn a_report_counts_once(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, Some(1_000));
    apply(&backend, namespace, lease(1, &terms, 1, report(1, 0, 0, 10 * UNIT))).await;
    for _ in 0..3 {
        let again =
            grant(apply(&backend, namespace, lease(1, &terms, 1, report(2, 4 * UNIT, 6 * UNIT, 0))).await);
        assert_eq!((again.hold, again.month_used), (Cost(6 * UNIT), Cost(4 * UNIT)));
    }
    let older = apply(&backend, namespace, lease(1, &terms, 1, report(1, 0, 0, 10 * UNIT))).await;
    assert_eq!(older, Answer::Stale);
    assert_eq!(used(&backend, namespace, 1).await, 4 * UNIT);
}

pub async fn a_lease_that_nobody_reports_on_counts_as_spent(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    let lent = grant(apply(&backend, namespace, lease(1, &terms, 1, report(1, 0, 0, 30 * UNIT))).await);
    assert_eq!(used(&backend, namespace, 1).await, 0);
    let ends = Duration::from_millis(lent.ttl.0);
    wait::until_async("the lease to end", ends + PATIENCE, async || {
        // A report by any other node lets its time pass.
        apply(&backend, namespace, lease(1, &terms, 2, report(1, 0, 0, 0))).await;
        (used(&backend, namespace, 1).await == 30 * UNIT).then_some(())
    })
    .await
    .unwrap();
    // The node was only slow, and has spent less.
    apply(&backend, namespace, lease(1, &terms, 1, report(2, 20 * UNIT, 0, 0))).await;
    assert_eq!(used(&backend, namespace, 1).await, 20 * UNIT);
}

pub async fn many_tasks_at_once_never_get_more_than_the_limit(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(200, None);
    let namespace = namespace.to_owned();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (backend, terms, namespace) = (Arc::clone(&backend), Arc::clone(&terms), namespace.clone());
            tokio::spawn(async move {
                let mut allowed = 0;
                for _ in 0..25 {
                    let answer = apply(&backend, &namespace, charge(1, &terms, UNIT)).await;
                    allowed += u32::from(grant(answer).refusal.is_none());
                }
                allowed
            })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        allowed += task.await.unwrap();
    }
    assert_eq!(allowed, 200);
    assert_eq!(used(&backend, &namespace, 1).await, 200 * UNIT);
}

pub async fn many_nodes_at_once_never_hold_more_than_the_limit(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(1_000, Some(700));
    let namespace = namespace.to_owned();
    let tasks: Vec<_> = (0..16)
        .map(|node| {
            let (backend, terms, namespace) = (Arc::clone(&backend), Arc::clone(&terms), namespace.clone());
            tokio::spawn(async move {
                let mut hold = 0;
                for seq in 1..20 {
                    let mut wish = report(seq, 0, hold, hold + 3 * UNIT);
                    wish.want = Cost(hold + 20 * UNIT);
                    hold = grant(apply(&backend, &namespace, lease(1, &terms, node, wish)).await).hold.0;
                }
                hold
            })
        })
        .collect();
    let mut held = 0;
    for task in tasks {
        held += task.await.unwrap();
    }
    assert!(held <= 700 * UNIT, "{held}");
    assert!(held > 690 * UNIT, "{held} of 700000 lent: nothing is to be stranded");
}

pub async fn a_large_batch_is_answered_in_its_order(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    // Every tenth entry is the same client, which can be charged a hundred times.
    let number = |place: u32| if place.is_multiple_of(10) { 0 } else { place };
    let batch = (0..2_000).map(|place| charge(number(place), &terms, UNIT)).collect();
    let applied = backend.apply(namespace, batch).await.unwrap();
    assert_eq!(applied.answers.len(), 2_000);
    for (place, answer) in (0..).zip(&applied.answers) {
        let grant = grant(*answer);
        if number(place) == 0 {
            let nth = u64::from(place / 10) + 1;
            assert_eq!(grant.refusal.is_none(), nth <= 100, "{place}");
            assert_eq!(grant.month_used, Cost(nth.min(100) * UNIT), "{place}");
        } else {
            assert_eq!(grant.month_used, Cost(UNIT), "{place}");
        }
    }
    assert!(backend.apply(namespace, vec![]).await.unwrap().answers.is_empty());
    assert!(backend.usage(namespace, client(9_999), 0).await.unwrap().is_none());
}

pub async fn the_clock_never_goes_back(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    let mut last = backend.now().await.unwrap();
    for _ in 0..20 {
        let applied = backend.apply(namespace, vec![charge(1, &terms, 0)]).await.unwrap().now;
        assert!(applied >= last, "{applied:?} after {last:?}");
        last = applied;
    }
}
