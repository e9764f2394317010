use std::collections::BTreeMap;
use std::sync::Arc;
use tollgate_core::units::Cost;

use futures_util::TryStreamExt as _;
use tollgate_store::backend::{AccountEntry, Backend, Usage};

use crate::ask::{UNIT, anonymous, apply, charge, client, daily, month, name};

const CONSUMERS: u32 = 4_000;

pub async fn every_consumer_with_use_is_listed_once(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, Some(5_000));
    for first in (0..CONSUMERS).step_by(500) {
        // Every fifth consumer has used nothing.
        let cost = |number: u32| if number.is_multiple_of(5) { 0 } else { UNIT + u64::from(number % 7) };
        let batch = (first..first + 500).map(|number| charge(number, &terms, cost(number)));
        backend.apply(namespace, batch.collect()).await.unwrap();
    }
    let anonymous = (CONSUMERS..CONSUMERS + 200).map(|number| anonymous(number, &terms, UNIT));
    backend.apply(namespace, anonymous.collect()).await.unwrap();
    // No report has a name for these.
    let nameless = (CONSUMERS + 200..CONSUMERS + 300)
        .map(|number| AccountEntry { name: None, ..charge(number, &terms, UNIT) });
    backend.apply(namespace, nameless.collect()).await.unwrap();
    let month = month(&backend).await;
    let listed: Vec<Usage> = backend.usages(namespace, month).try_collect().await.unwrap();
    let count = listed.len();
    let listed: BTreeMap<Vec<u8>, Usage> =
        listed.into_iter().map(|usage| (usage.name.clone().unwrap(), usage)).collect();
    assert_eq!(listed.len(), count, "one was listed twice");
    for number in 0..CONSUMERS {
        let usage = listed.get(&name(number));
        if number.is_multiple_of(5) {
            assert_eq!(usage, None);
            continue;
        }
        let expected = Usage {
            client: client(number),
            name: Some(name(number)),
            tier: "free".into(),
            monthly: Some(Cost(5_000 * UNIT)),
            used: Cost(UNIT + u64::from(number % 7)),
        };
        assert_eq!(usage, Some(&expected));
    }
    assert_eq!(count, CONSUMERS as usize / 5 * 4);
    let other: Vec<Usage> = backend.usages(namespace, month - 1).try_collect().await.unwrap();
    assert_eq!(other, []);
    let nobody: Vec<Usage> = backend.usages("nobody has applied here", month).try_collect().await.unwrap();
    assert_eq!(nobody, []);
}

pub async fn usage_tells_the_tier_that_was_seen_last(backend: Arc<dyn Backend>, namespace: &str) {
    let (free, pro) = (daily(100, Some(10)), daily(1_000, None));
    apply(&backend, namespace, charge(1, &free, UNIT)).await;
    // A name is reported once and stays.
    let later = AccountEntry { name: None, tier: "pro".into(), ..charge(1, &pro, UNIT) };
    apply(&backend, namespace, later).await;
    let usage = backend.usage(namespace, client(1), month(&backend).await).await.unwrap().unwrap();
    let expected = Usage {
        client: client(1),
        name: Some(name(1)),
        tier: "pro".into(),
        monthly: None,
        used: Cost(2 * UNIT),
    };
    assert_eq!(usage, expected);
}
