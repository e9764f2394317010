use std::sync::Arc;

use tollgate_store::backend::{BULLETIN_REMEMBERS, Backend, Bulletin, OverrideRow};

use crate::ask::{UNIT, charge, client, daily, lease, report, settle, standing, used};

fn row(revision: u64, consumer: &str, value: Option<&[u8]>) -> OverrideRow {
    OverrideRow { revision, consumer: consumer.into(), value: value.map(<[u8]>::to_vec) }
}

async fn bulletin(backend: &Arc<dyn Backend>, namespace: &str) -> Bulletin {
    let mut bulletin = backend.bulletin(namespace).await.unwrap();
    bulletin.overrides.sort_by(|one, other| one.consumer.cmp(&other.consumer));
    bulletin
}

pub async fn a_reset_makes_the_bucket_full_and_the_month_untouched(
    backend: Arc<dyn Backend>,
    namespace: &str,
) {
    let terms = daily(10, Some(15));
    let ask =
        async |cost: u64| standing(settle(&backend, namespace, charge(1, &terms, cost * UNIT)).await).refusal;
    assert_eq!(ask(10).await, None);
    assert_eq!(ask(5).await.unwrap().limits, 1);
    assert_eq!(backend.reset(namespace, client(1), true, false, b"bucket".to_vec()).await.unwrap(), 1);
    assert_eq!(used(&backend, namespace, 1).await, 10 * UNIT, "the month stands");
    assert_eq!(ask(5).await, None);
    assert!(ask(5).await.unwrap().month);
    assert_eq!(backend.reset(namespace, client(1), false, true, b"month".to_vec()).await.unwrap(), 2);
    assert_eq!(used(&backend, namespace, 1).await, 0);
    assert_eq!(ask(5).await, None);
    // Whoever was never seen can be reset too, and is not seen by that.
    assert_eq!(backend.reset(namespace, client(2), true, true, b"nobody".to_vec()).await.unwrap(), 3);
    assert_eq!(backend.usage(namespace, client(2), 0).await.unwrap(), None);
    let told = bulletin(&backend, namespace).await;
    assert_eq!(told.resets, [(1, client(1)), (2, client(1)), (3, client(2))]);
    assert_eq!((told.revision, told.since), (3, 0));
    // What is lent stays lent.
    let lent = standing(settle(&backend, namespace, lease(3, &terms, 1, report(1, 0, 0, 10 * UNIT))).await);
    assert_eq!(lent.hold, 10 * UNIT);
    backend.reset(namespace, client(3), true, true, vec![]).await.unwrap();
    assert!(standing(settle(&backend, namespace, charge(3, &terms, UNIT)).await).refusal.is_some());
}

pub async fn an_override_counts_the_revision_up(backend: Arc<dyn Backend>, namespace: &str) {
    assert_eq!(backend.revision(namespace).await.unwrap(), 0);
    assert_eq!(bulletin(&backend, namespace).await, Bulletin::default());
    let put = async |consumer: &str, value: Option<&[u8]>| {
        let value = value.map(<[u8]>::to_vec);
        backend
            .put_override(namespace, consumer, value, format!("line {consumer}").into_bytes())
            .await
            .unwrap()
    };
    assert_eq!(put("acme", Some(b"1")).await, 1);
    assert_eq!(put("bolt", Some(b"")).await, 2);
    assert_eq!(put("acme", Some(b"2")).await, 3);
    assert_eq!(put("bolt", None).await, 4);
    assert_eq!(put("never set", None).await, 5);
    assert_eq!(backend.revision(namespace).await.unwrap(), 5);
    let told = bulletin(&backend, namespace).await;
    assert_eq!(told.overrides, [row(3, "acme", Some(b"2")), row(4, "bolt", None), row(5, "never set", None)]);
    assert_eq!((told.revision, told.since), (5, 0));
    assert_eq!(put("bolt", Some(b"3")).await, 6);
    assert_eq!(bulletin(&backend, namespace).await.overrides[1], row(6, "bolt", Some(b"3")));
}

pub async fn removals_and_resets_are_remembered_for_a_while(backend: Arc<dyn Backend>, namespace: &str) {
    let put = async |consumer: &str, value: Option<&[u8]>| {
        backend.put_override(namespace, consumer, value.map(<[u8]>::to_vec), vec![]).await.unwrap()
    };
    put("stays", Some(b"1")).await;
    put("comes back", None).await;
    put("comes back", Some(b"2")).await;
    put("goes", None).await;
    for number in 0..u32::try_from(BULLETIN_REMEMBERS).unwrap() * 2 {
        backend.reset(namespace, client(number), true, false, vec![]).await.unwrap();
    }
    let told = bulletin(&backend, namespace).await;
    assert_eq!(told.overrides, [row(3, "comes back", Some(b"2")), row(1, "stays", Some(b"1"))]);
    assert!(told.resets.len() >= BULLETIN_REMEMBERS, "{}", told.resets.len());
    assert!(told.since > 4 && told.resets[0].0 > told.since, "{}", told.since);
    assert!(told.resets.is_sorted());
    assert_eq!(told.resets.last().unwrap().0, told.revision);
}

pub async fn the_log_is_read_from_its_end(backend: Arc<dyn Backend>, namespace: &str) {
    assert_eq!(backend.audit(namespace, None, 10).await.unwrap(), []);
    for number in 1..=25_u32 {
        let line = number.to_string().into_bytes();
        if number.is_multiple_of(2) {
            backend.reset(namespace, client(1), true, true, line).await.unwrap();
        } else {
            backend.put_override(namespace, "acme", Some(vec![]), line).await.unwrap();
        }
    }
    let read = async |before: Option<u64>, limit: usize| {
        let lines = backend.audit(namespace, before, limit).await.unwrap();
        let numbered = lines.into_iter().map(|(number, line)| {
            assert_eq!(line, number.to_string().into_bytes());
            number
        });
        numbered.collect::<Vec<_>>()
    };
    assert_eq!(read(None, 3).await, [25, 24, 23]);
    assert_eq!(read(Some(23), 3).await, [22, 21, 20]);
    assert_eq!(read(Some(3), 10).await, [2, 1]);
    assert_eq!(read(Some(1), 10).await, [0; 0]);
    assert_eq!(read(Some(0), 10).await, [0; 0]);
    assert_eq!(read(Some(u64::MAX), 1).await, [25]);
    assert_eq!(read(None, 0).await, [0; 0]);
    assert_eq!(read(None, usize::MAX).await.len(), 25);
}

pub async fn changes_at_once_all_count(backend: Arc<dyn Backend>, namespace: &str) {
    let namespace = namespace.to_owned();
    let tasks: Vec<_> = (0..40_u32)
        .map(|number| {
            let (backend, namespace) = (Arc::clone(&backend), namespace.clone());
            tokio::spawn(async move {
                let value = Some(number.to_be_bytes().to_vec());
                backend.put_override(&namespace, &number.to_string(), value, vec![]).await.unwrap()
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.unwrap());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=40).collect::<Vec<u64>>());
    assert_eq!(bulletin(&backend, &namespace).await.overrides.len(), 40);
}

pub async fn a_document_is_what_was_put_last(backend: Arc<dyn Backend>, namespace: &str) {
    assert_eq!(backend.document(namespace).await.unwrap(), None);
    for document in [vec![], b"{}".to_vec(), vec![0xff; 100_000]] {
        backend.put_document(namespace, document.clone()).await.unwrap();
        assert_eq!(backend.document(namespace).await.unwrap(), Some(document));
    }
}
