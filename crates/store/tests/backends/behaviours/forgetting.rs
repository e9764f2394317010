use std::sync::Arc;
use std::time::Duration;

use tollgate_core::terms::Rate;
use tollgate_store::backend::Backend;
use tollgate_testkit::wait;

use crate::ask::{UNIT, anonymous, apply, charge, client, terms};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a backend knows nothing of an anonymous client. Others come meanwhile, because using memory is what tidies it.
async fn is_forgotten(backend: &Arc<dyn Backend>, namespace: &str, number: u32) {
    let terms = terms(Rate { units: 100, seconds: 1, burst: 100 }, None);
    let mut others = 1_000..;
    wait::until_async("the anonymous client to be forgotten", PATIENCE, async || {
        apply(backend, namespace, anonymous(others.next()?, &terms, UNIT)).await;
        backend.usage(namespace, client(number), 0).await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
}

pub async fn an_anonymous_client_is_forgotten_once_its_bucket_is_full(
    backend: Arc<dyn Backend>,
    namespace: &str,
) {
    let quick = terms(Rate { units: 100, seconds: 1, burst: 100 }, None);
    let slow = terms(Rate { units: 100, seconds: 86_400, burst: 100 }, None);
    apply(&backend, namespace, anonymous(1, &quick, 20 * UNIT)).await;
    apply(&backend, namespace, anonymous(2, &slow, 20 * UNIT)).await;
    is_forgotten(&backend, namespace, 1).await;
    assert!(backend.usage(namespace, client(2), 0).await.unwrap().is_some(), "its bucket is not full yet");
}

pub async fn a_consumer_is_not_forgotten(backend: Arc<dyn Backend>, namespace: &str) {
    let quick = terms(Rate { units: 100, seconds: 1, burst: 100 }, None);
    apply(&backend, namespace, charge(1, &quick, UNIT)).await;
    // An anonymous client of the same moment is gone by the time that matters.
    apply(&backend, namespace, anonymous(2, &quick, UNIT)).await;
    is_forgotten(&backend, namespace, 2).await;
    assert!(backend.usage(namespace, client(1), 0).await.unwrap().is_some());
}
