use std::sync::Arc;
use tollgate_core::units::Cost;

use tollgate_store::backend::{
    Backend, CHANGES_REMEMBERED, Changed, Condition, Mark, NOTICES_REMEMBERED, NamespaceSnapshot,
    OverrideChange, OverrideRow,
};

use crate::ask::{UNIT, apply, charge, client, daily, grant, lease, put_override, report, used};

fn row(revision: u64, consumer: &str, value: Option<&[u8]>) -> OverrideRow {
    OverrideRow { revision, consumer: consumer.into(), value: value.map(<[u8]>::to_vec) }
}

async fn snapshot(backend: &Arc<dyn Backend>, namespace: &str) -> NamespaceSnapshot {
    let mut snapshot = backend.snapshot(namespace, Mark::default()).await.unwrap();
    snapshot.overrides.sort_by(|one, other| one.consumer.cmp(&other.consumer));
    snapshot
}

pub async fn a_reset_makes_the_bucket_full_and_the_month_untouched(
    backend: Arc<dyn Backend>,
    namespace: &str,
) {
    let terms = daily(10, Some(15));
    let ask =
        async |cost: u64| grant(apply(&backend, namespace, charge(1, &terms, cost * UNIT)).await).refusal;
    assert_eq!(ask(10).await, None);
    assert_eq!(ask(5).await.unwrap().limits, 1);
    assert_eq!(backend.reset(namespace, client(1), true, false, b"bucket".to_vec()).await.unwrap(), 1);
    assert_eq!(used(&backend, namespace, 1).await, 10 * UNIT, "the month stands");
    assert_eq!(ask(5).await, None);
    assert!(ask(5).await.unwrap().month);
    assert_eq!(backend.reset(namespace, client(1), false, true, b"month".to_vec()).await.unwrap(), 2);
    assert_eq!(used(&backend, namespace, 1).await, 0);
    assert_eq!(ask(5).await, None);
    // A client that was never seen can be reset too, which does not make it seen.
    assert_eq!(backend.reset(namespace, client(2), true, true, b"nobody".to_vec()).await.unwrap(), 3);
    assert_eq!(backend.usage(namespace, client(2), 0).await.unwrap(), None);
    let told = snapshot(&backend, namespace).await;
    assert_eq!(told.resets, [(1, client(1)), (2, client(1)), (3, client(2))]);
    assert_eq!((told.revision, told.since), (3, 0));
    // A reset keeps what is lent.
    let lent = grant(apply(&backend, namespace, lease(3, &terms, 1, report(1, 0, 0, 10 * UNIT))).await);
    assert_eq!(lent.hold, Cost(10 * UNIT));
    backend.reset(namespace, client(3), true, true, vec![]).await.unwrap();
    assert!(grant(apply(&backend, namespace, charge(3, &terms, UNIT)).await).refusal.is_some());
}

pub async fn an_override_counts_the_revision_up(backend: Arc<dyn Backend>, namespace: &str) {
    assert_eq!(backend.revision(namespace).await.unwrap(), 0);
    assert_eq!(snapshot(&backend, namespace).await, NamespaceSnapshot::default());
    let put = async |consumer: &str, value: Option<&[u8]>| {
        let value = value.map(<[u8]>::to_vec);
        put_override(&backend, namespace, consumer, value, format!("line {consumer}").into_bytes()).await
    };
    assert_eq!(put("acme", Some(b"1")).await, 1);
    assert_eq!(put("bolt", Some(b"")).await, 2);
    assert_eq!(put("acme", Some(b"2")).await, 3);
    assert_eq!(put("bolt", None).await, 4);
    assert_eq!(put("never set", None).await, 5);
    assert_eq!(backend.revision(namespace).await.unwrap(), 5);
    let told = snapshot(&backend, namespace).await;
    assert_eq!(told.overrides, [row(3, "acme", Some(b"2")), row(4, "bolt", None), row(5, "never set", None)]);
    assert_eq!((told.revision, told.since), (5, 0));
    assert_eq!(put("bolt", Some(b"3")).await, 6);
    assert_eq!(snapshot(&backend, namespace).await.overrides[1], row(6, "bolt", Some(b"3")));
}

pub async fn removals_and_resets_are_remembered_for_a_while(backend: Arc<dyn Backend>, namespace: &str) {
    let put = async |consumer: &str, value: Option<&[u8]>| {
        put_override(&backend, namespace, consumer, value.map(<[u8]>::to_vec), vec![]).await
    };
    put("stays", Some(b"1")).await;
    put("comes back", None).await;
    put("comes back", Some(b"2")).await;
    put("goes", None).await;
    for number in 0..u32::try_from(NOTICES_REMEMBERED).unwrap() * 2 {
        backend.reset(namespace, client(number), true, false, vec![]).await.unwrap();
    }
    let told = snapshot(&backend, namespace).await;
    assert_eq!(told.overrides, [row(3, "comes back", Some(b"2")), row(1, "stays", Some(b"1"))]);
    assert!(told.resets.len() >= NOTICES_REMEMBERED, "{}", told.resets.len());
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
            put_override(&backend, namespace, "acme", Some(vec![]), line).await;
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
                put_override(&backend, &namespace, &number.to_string(), value, vec![]).await
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.unwrap());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=40).collect::<Vec<u64>>());
    assert_eq!(snapshot(&backend, &namespace).await.overrides.len(), 40);
}

pub async fn a_document_is_what_was_put_last(backend: Arc<dyn Backend>, namespace: &str) {
    assert_eq!(backend.document(namespace).await.unwrap(), None);
    for document in [vec![], b"{}".to_vec(), vec![0xff; 100_000]] {
        backend.put_document(namespace, document.clone()).await.unwrap();
        assert_eq!(backend.document(namespace).await.unwrap(), Some(document));
    }
}

pub async fn a_change_is_made_only_where_its_condition_holds_and_knows_what_was_there(
    backend: Arc<dyn Backend>,
    namespace: &str,
) {
    let change = async |value: Option<&str>, condition| {
        let (value, line) = (value.map(|value| value.as_bytes().to_vec()), b"<>".to_vec());
        let change = OverrideChange { value, line, before_at: Some(1), condition, most: 9 };
        backend.change_override(namespace, "acme", change).await.unwrap()
    };
    assert_eq!(change(None, Condition::IsSet).await, Changed::NotMet);
    assert_eq!(change(None, Condition::IsOf(1)).await, Changed::NotMet);
    assert_eq!(change(Some("one"), Condition::None).await, Changed::To(1));
    assert_eq!(change(Some("%1 two"), Condition::None).await, Changed::To(2));
    assert_eq!(change(None, Condition::IsOf(1)).await, Changed::NotMet);
    assert_eq!(change(None, Condition::IsOf(2)).await, Changed::To(3));
    assert_eq!(change(None, Condition::IsSet).await, Changed::NotMet);
    assert_eq!(change(None, Condition::IsOf(3)).await, Changed::NotMet, "what is removed is no override");
    assert_eq!(change(None, Condition::None).await, Changed::To(4));
    let lines = backend.audit(namespace, None, 9).await.unwrap();
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| String::from_utf8(line).unwrap()).collect();
    assert_eq!(lines, ["<null>", "<%1 two>", "<one>", "<null>"]);
}

pub async fn what_has_changed_is_told_to_whoever_knows_the_rest(backend: Arc<dyn Backend>, namespace: &str) {
    let put = async |consumer: &str, value: Option<&[u8]>| {
        put_override(&backend, namespace, consumer, value.map(<[u8]>::to_vec), vec![]).await
    };
    let read = async |mark: Mark| {
        let mut told = backend.snapshot(namespace, mark).await.unwrap();
        told.overrides.sort_by_key(|row| row.revision);
        let mark = Mark { revision: told.revision, at: told.at };
        (told, mark)
    };
    for number in 0..50 {
        put(&format!("c{number}"), Some(b"1")).await;
    }
    let (whole, known) = read(Mark::default()).await;
    assert_eq!((whole.after, whole.overrides.len(), known.revision), (0, 50, 50));
    assert!(known.at > 0);
    let (nothing, same) = read(known).await;
    assert_eq!((nothing.after, nothing.overrides.len(), same), (50, 0, known));
    put("c7", Some(b"2")).await;
    put("c8", None).await;
    put("c7", Some(b"3")).await;
    backend.reset(namespace, client(1), true, true, vec![]).await.unwrap();
    let (told, newest) = read(known).await;
    assert_eq!((told.after, newest.revision), (50, 54));
    assert_eq!(told.overrides, [row(52, "c8", None), row(53, "c7", Some(b"3"))]);
    assert_eq!(told.resets, [(54, client(1))]);
    // A reader that knows another change of that number, or one of a lost future, is told everything.
    for mark in [Mark { at: known.at + 1, ..known }, Mark { revision: 60, ..newest }] {
        assert_eq!(read(mark).await.0.after, 0, "{mark:?}");
    }
    // So is a reader that has missed too much.
    for _ in 0..CHANGES_REMEMBERED - 1 {
        put("c9", Some(b"4")).await;
    }
    assert_eq!(read(newest).await.0.overrides, [row(54 + CHANGES_REMEMBERED - 1, "c9", Some(b"4"))]);
    put("c9", None).await;
    let (told, _) = read(newest).await;
    assert_eq!((told.after, told.overrides.len()), (0, 50), "a removed one is told with them");
}
