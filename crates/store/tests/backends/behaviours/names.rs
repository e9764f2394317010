use std::sync::Arc;
use tollgate_core::units::Cost;

use futures_util::TryStreamExt as _;
use tollgate_core::client::ClientId;
use tollgate_core::name::MAX_NAME;
use tollgate_store::backend::{AccountEntry, Backend, Mark};

use crate::ask::{UNIT, apply, charge, client, daily, grant, month, put_override};

pub async fn no_name_is_too_strange(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    let names: [Vec<u8>; 9] = [
        vec![],
        vec![0],
        b"\r\n$-1\r\n".to_vec(),
        b"*{}:%7D".to_vec(),
        vec![0xff, 0xfe, 0x80],
        "ÄÖ🚪".into(),
        vec![b'x'; MAX_NAME],
        vec![0xff; MAX_NAME],
        b"tollgate:n:{a:00}".to_vec(),
    ];
    let ids = [
        [0; 16],
        [0xff; 16],
        *b"\r\n\0{}:*%$1234567",
        [b'{'; 16],
        [b'}'; 16],
        [1; 16],
        [2; 16],
        [3; 16],
        [4; 16],
    ];
    let long = "t".repeat(MAX_NAME);
    for (name, id) in names.iter().zip(ids) {
        let entry = charge(0, &terms, UNIT);
        let entry = AccountEntry {
            client: ClientId(id),
            name: Some(name.clone()),
            tier: long.as_str().into(),
            ..entry
        };
        assert_eq!(grant(apply(&backend, namespace, entry).await).month_used, Cost(UNIT));
    }
    let month = month(&backend).await;
    let listed: Vec<_> = backend.usages(namespace, month).try_collect().await.unwrap();
    assert_eq!(listed.len(), names.len());
    for (name, id) in names.iter().zip(ids) {
        let usage = listed.iter().find(|usage| usage.client == ClientId(id)).unwrap();
        assert_eq!(
            (usage.name.as_ref(), usage.used, usage.tier.as_str()),
            (Some(name), Cost(UNIT), long.as_str())
        );
    }
    no_consumer_of_an_override_is_too_strange(&backend, namespace).await;
}

async fn no_consumer_of_an_override_is_too_strange(backend: &Arc<dyn Backend>, namespace: &str) {
    for consumer in ["", "a\0b", "\r\n", "{}*", &"x".repeat(MAX_NAME)] {
        let value = Some(vec![0, 255, b'\n']);
        put_override(backend, namespace, consumer, value.clone(), vec![0, 255]).await;
        let snapshot = backend.snapshot(namespace, Mark::default()).await.unwrap();
        let row = snapshot.overrides.iter().find(|row| row.consumer == consumer).unwrap();
        assert_eq!(row.value, value);
    }
    assert_eq!(backend.audit(namespace, None, 1).await.unwrap()[0].1, [0, 255]);
}

pub async fn namespaces_do_not_see_each_other(backend: Arc<dyn Backend>, namespace: &str) {
    let terms = daily(100, None);
    let names = ["", "{", "}", "{}", "a}:{b", "%7D", "a:00", "a", "*", "\r\n\0", "ä"];
    let names: Vec<String> = names.iter().map(|name| format!("{namespace}{name}")).collect();
    let long = format!("{namespace}{}", "n".repeat(MAX_NAME - namespace.len()));
    for name in names.iter().chain([&long]) {
        assert_eq!(
            grant(apply(&backend, name, charge(1, &terms, UNIT)).await).month_used,
            Cost(UNIT),
            "{name:?}"
        );
        assert_eq!(put_override(&backend, name, "c", Some(vec![1]), vec![]).await, 1, "{name:?}");
        assert_eq!(backend.reset(name, client(9), true, true, vec![]).await.unwrap(), 2, "{name:?}");
        assert_eq!(backend.audit(name, None, 10).await.unwrap().len(), 2, "{name:?}");
        assert_eq!(backend.document(name).await.unwrap(), None, "{name:?}");
        backend.put_document(name, vec![1]).await.unwrap();
    }
    let month = month(&backend).await;
    for name in &names {
        let listed: Vec<_> = backend.usages(name, month).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1, "{name:?}");
        assert_eq!(backend.snapshot(name, Mark::default()).await.unwrap().overrides.len(), 1, "{name:?}");
    }
    let known = backend.namespaces().await.unwrap();
    assert!(names.iter().chain([&long]).all(|name| known.contains(name)), "{known:?}");
}
