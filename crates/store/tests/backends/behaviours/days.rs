use std::sync::Arc;

use futures_util::TryStreamExt as _;
use tollgate_core::limit::Day;
use tollgate_core::units::Cost;
use tollgate_core::wire::LeaseRequest;
use tollgate_store::accounts::day_of;
use tollgate_store::backend::{Backend, Days};

use crate::ask::{anonymous, apply, charge, client, daily, lease, made, report, reserve, settle};

/// A report of what was spent up to a day, of which some was spent before it.
fn of_day(seq: u32, spent: u64, before: u64, day: Day) -> LeaseRequest {
    LeaseRequest { spent_before_day: Cost(before), day: day.0, ..report(seq, spent, 0, 0) }
}

async fn used(backend: &Arc<dyn Backend>, namespace: &str, number: u32, days: Days) -> Vec<(Day, Cost)> {
    backend.days_used(namespace, client(number), days).await.unwrap().unwrap().days
}

/// What is reported late counts on its own day, up to 15 months back; the days of anonymous clients are not kept.
pub async fn what_is_reported_late_counts_on_its_own_day(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100_000, None);
    let today = day_of(backend.now().await.unwrap());
    let back = |days: u16| Day(today.0 - days);
    let all = Days { from: back(480), to: Day(today.0 + 2) };
    for (seq, (spent, before, day)) in
        [(500, 0, back(400)), (1_500, 700, back(1)), (1_900, 1_600, today)].into_iter().enumerate()
    {
        let told = of_day(seq as u32 + 1, spent, before, day);
        apply(&backend, namespace, lease(1, &terms, 7, told)).await;
    }
    apply(&backend, namespace, charge(1, &terms, 40)).await;
    let expected = [(back(400), 500), (back(2), 200), (back(1), 800 + 100), (today, 300 + 40)]
        .map(|(day, used)| (day, Cost(used)));
    assert_eq!(used(&backend, namespace, 1, all).await, expected);
    let one = Days { from: back(1), to: today };
    assert_eq!(used(&backend, namespace, 1, one).await, [(back(1), Cost(900))]);
    assert_eq!(used(&backend, namespace, 1, Days { from: today, to: today }).await, []);

    // What is older than a month that is kept is gone.
    apply(&backend, namespace, lease(1, &terms, 8, of_day(1, 70, 0, back(600)))).await;
    assert_eq!(used(&backend, namespace, 1, Days { from: back(700), to: back(500) }).await, []);

    apply(&backend, namespace, anonymous(2, &terms, 1_000)).await;
    let stranger = lease(2, &terms, 7, of_day(1, 900, 0, back(3)));
    apply(
        &backend,
        namespace,
        tollgate_store::backend::AccountEntry { name: None, is_anonymous: true, ..stranger },
    )
    .await;
    let listed: Vec<_> = backend.all_days_used(namespace, all).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].client, listed[0].days.as_slice()), (client(1), expected.as_slice()));
    assert_eq!(backend.days_used(namespace, client(9), all).await.unwrap(), None);
}

/// What comes back comes off the day on which it was charged.
pub async fn what_comes_back_comes_off_its_day(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100_000, None);
    let today = day_of(backend.now().await.unwrap());
    let all = Days { from: Day(today.0 - 5), to: Day(today.0 + 2) };
    made(reserve(&backend, namespace, (1, 1), &terms, 20_000).await);
    settle(&backend, namespace, (1, 1), 7_500).await;
    let sum = |days: Vec<(Day, Cost)>| days.iter().map(|(_, used)| used.0).sum::<u64>();
    // Midnight may be between the two calls.
    assert_eq!(sum(used(&backend, namespace, 1, all).await), 7_500);
}

/// Every consumer that used something is listed once, with its days, however many there are.
pub async fn every_consumer_is_listed_once_with_its_days(backend: Arc<dyn Backend>, namespace: &str) {
    const ALL: u32 = 700;
    let terms = daily(100_000, None);
    let today = day_of(backend.now().await.unwrap());
    let yesterday = Day(today.0 - 1);
    let entries =
        (0..ALL).map(|number| lease(number, &terms, 7, of_day(1, 3_000 + u64::from(number), 1_000, today)));
    backend.apply(namespace, entries.collect()).await.unwrap();
    let days = Days { from: yesterday, to: Day(today.0 + 2) };
    let mut listed: Vec<_> = backend.all_days_used(namespace, days).try_collect().await.unwrap();
    listed.sort_by_key(|used| used.days[1].1);
    assert_eq!(listed.len(), ALL as usize);
    for (number, used) in listed.into_iter().enumerate() {
        assert_eq!(used.client, client(number as u32));
        assert_eq!(used.days, [(yesterday, Cost(1_000)), (today, Cost(2_000 + number as u64))]);
    }
}
