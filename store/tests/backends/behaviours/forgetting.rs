use std::sync::Arc;
use std::time::Duration;

use tollgate::lease::terms::Rate;
use tollgate_store::backend::Backend;
use tollgate_testkit::wait;

use crate::ask::{UNIT, charge, client, settle, stranger, terms};

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn a_stranger_is_forgotten_once_its_bucket_is_full(backend: Arc<dyn Backend>, namespace: &str) {
    let quick = terms(Rate { units: 100, seconds: 1, burst: 100 }, None);
    let slow = terms(Rate { units: 100, seconds: 86_400, burst: 100 }, None);
    settle(&backend, namespace, stranger(1, &quick, 20 * UNIT)).await;
    settle(&backend, namespace, stranger(2, &slow, 20 * UNIT)).await;
    wait::until_async("the stranger to be forgotten", PATIENCE, async || {
        backend.usage(namespace, client(1), 0).await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
    assert!(backend.usage(namespace, client(2), 0).await.unwrap().is_some(), "its bucket is not full yet");
}

pub async fn a_consumer_is_not_forgotten(backend: Arc<dyn Backend>, namespace: &str) {
    let quick = terms(Rate { units: 100, seconds: 1, burst: 100 }, None);
    settle(&backend, namespace, charge(1, &quick, UNIT)).await;
    // A stranger of the same moment is gone by the time that matters.
    settle(&backend, namespace, stranger(2, &quick, UNIT)).await;
    wait::until_async("the stranger to be forgotten", PATIENCE, async || {
        backend.usage(namespace, client(2), 0).await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
    assert!(backend.usage(namespace, client(1), 0).await.unwrap().is_some());
}
