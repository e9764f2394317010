use super::*;
use tollgate_core::units::{Cost, UnixMicros};
use tollgate_core::wire::{Answer as Applied, Change, ChangeKind, Grant, MAX_ENTRIES};

fn grant(reply: &Reply) -> Grant {
    match reply.answers[..] {
        [Applied::Grant(grant)] => grant,
        _ => panic!("{:?}", reply.answers),
    }
}

#[tokio::test]
async fn a_node_is_lent_what_it_needs_on_the_stores_clock() {
    let replica = Replica::new();
    let reply = replica.lease(&wants("acme", 1, 10 * UNIT, 0)).await;
    assert_eq!((reply.now, reply.revision, reply.is_whole), (UnixMicros(NOW), 0, true));
    assert_eq!((grant(&reply).hold, grant(&reply).refusal), (Cost(10 * UNIT), None));
    replica.pass(SECOND);
    assert_eq!(replica.lease(&wants("acme", 2, 0, 0)).await.now, UnixMicros(NOW + SECOND));
}

#[tokio::test]
async fn what_cannot_be_settled_is_answered_in_its_place() {
    let replica = Replica::new();
    let mut batch = wants("acme", 1, UNIT, 0);
    let [entry] = &batch.entries[..] else { panic!("one entry") };
    let nobodys = Entry { client: id("other"), ..entry.clone() };
    let unknown_tier = Entry { offer: 9, ..entry.clone() };
    let wrong_tier = Entry { offer: 2, ..entry.clone() };
    batch.offers.push(Offer { tier: "Not A Tier".into(), ..free() });
    batch.entries = vec![nobodys, entry.clone(), unknown_tier, wrong_tier];
    let answers = replica.lease(&batch).await.answers;
    assert!(
        matches!(answers[..], [Applied::Unusable, Applied::Grant(_), Applied::Unusable, Applied::Unusable]),
        "{answers:?}"
    );
}

#[tokio::test]
async fn a_message_that_is_none_is_refused_with_what_is_read() {
    let replica = Replica::new();
    let mut other = wants("acme", 1, UNIT, 0).to_bytes();
    other[0] = 9;
    let detail = replica.batch(other).await.problem(400);
    assert!(detail.contains("version 9") && detail.contains("version 2"), "{detail}");
    replica.batch(Vec::new()).await.problem(400);
    replica.batch(vec![1, 0xFF]).await.problem(400);
    let many = Batch { entries: vec![Entry::default(); MAX_ENTRIES + 1], ..wants("acme", 1, UNIT, 0) };
    assert!(replica.batch(many.to_bytes()).await.problem(413).contains("2000 entries"));
    replica.batch(vec![1; super::super::body::LONGEST_BATCH + 1]).await.problem(413);
    let place = Batch { namespace: "../x".into(), ..wants("acme", 1, UNIT, 0) };
    assert!(replica.batch(place.to_bytes()).await.problem(400).contains("namespace"));
    replica.post("/v1/leases", &json!({})).await.problem(415);
}

#[tokio::test]
async fn a_batch_in_a_header_is_answered_as_one_in_a_body() {
    let replica = Replica::new();
    let batch = wants("acme", 1, 10 * UNIT, 0);
    let in_header = |text: &str| {
        let request = Request::post("/v1/leases")
            .header(header::AUTHORIZATION, format!("Bearer {GATEWAY}"))
            .header("tollgate-batch", text);
        replica.send(request.body(Body::empty()).unwrap())
    };
    let answer = in_header(&batch.to_header()).await;
    assert_eq!(answer.header(header::CONTENT_TYPE), CONTENT_TYPE);
    let reply = Reply::from_bytes(&answer.body).unwrap();
    assert_eq!(grant(&reply).hold, Cost(10 * UNIT));
    assert_eq!(replica.lease(&batch).await.answers, reply.answers, "the same message again");
    assert!(in_header("no base64url!").await.problem(400).contains("base64url"));
    assert!(in_header("").await.problem(400).contains("not a message"));
    assert!(in_header("Cf8").await.problem(400).contains("version 9"));
}

#[tokio::test]
async fn an_override_is_in_force_and_told_of_in_the_very_next_reply() {
    let replica = Replica::new();
    replica.lease(&wants("acme", 1, 0, 0)).await;
    let put = replica.put("/v1/overrides/n/acme", &json!({ "tier": "pro", "reason": "trial" })).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text());

    let reply = replica.lease(&wants("acme", 2, 1_500 * UNIT, 0)).await;
    assert_eq!(reply.revision, 1);
    assert_eq!(reply.changes, [Change { client: id("acme"), what: ChangeKind::Override(pro()) }]);
    assert_eq!(grant(&reply).hold, Cost(1_500 * UNIT), "more than tier free could ever lend");
    let later = replica.lease(&wants("acme", 3, 0, 1)).await;
    assert_eq!((later.is_whole, later.changes.len()), (false, 0), "it is told of once");

    replica.call(Method::DELETE, "/v1/overrides/n/acme", ADMIN, None).await;
    let gone = replica.lease(&wants("acme", 4, 0, 1)).await;
    assert_eq!(gone.changes, [Change { client: id("acme"), what: ChangeKind::NoOverride }]);
    let refused = replica.lease(&wants("acme", 5, 151 * UNIT, 2)).await;
    assert!(grant(&refused).refusal.unwrap().never, "tier free counts again");
}

#[tokio::test(start_paused = true)]
async fn an_override_is_in_force_on_another_replica_within_a_second() {
    let (one, other) = {
        let one = Replica::new();
        let other = one.beside();
        (one, other)
    };
    one.lease(&wants("acme", 1, 0, 0)).await;
    other.lease(&wants("acme", 2, 0, 0)).await;
    let store = Arc::clone(&other.store);
    let keeping_up = tokio::spawn(async move { store.keep_up().await });
    one.put("/v1/overrides/n/acme", &json!({ "tier": "pro", "reason": "trial" })).await;
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let reply = other.lease(&wants("acme", 3, 0, 0)).await;
    assert_eq!(reply.changes, [Change { client: id("acme"), what: ChangeKind::Override(pro()) }]);
    keeping_up.abort();
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_nobody_has_asked_for_long_looks_before_it_answers() {
    let one = Replica::new();
    let other = one.beside();
    one.lease(&wants("acme", 1, 0, 0)).await;
    other.lease(&wants("acme", 2, 0, 0)).await;
    one.put("/v1/overrides/n/acme", &json!({ "tier": "pro", "reason": "trial" })).await;
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(other.lease(&wants("acme", 3, 0, 0)).await.changes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_another_replica_has_told_more_is_never_told_less() {
    let one = Replica::new();
    let other = one.beside();
    one.lease(&wants("acme", 1, 0, 0)).await;
    other.lease(&wants("acme", 2, 0, 0)).await;
    one.put("/v1/overrides/n/acme", &json!({ "tier": "pro", "reason": "trial" })).await;
    let known = one.lease(&wants("acme", 3, 0, 0)).await.revision;
    let reply = other.lease(&wants("acme", 4, 1_500 * UNIT, known)).await;
    assert_eq!((reply.revision, reply.is_whole), (known, false));
    assert_eq!(grant(&reply).hold, Cost(1_500 * UNIT));
    // The backend has lost this revision, so the node is sent everything.
    assert!(other.lease(&wants("acme", 5, 0, 99)).await.is_whole);
}

#[tokio::test]
async fn an_override_that_ends_is_told_of_and_written_down() {
    let replica = Replica::new();
    replica.lease(&wants("acme", 1, 0, 0)).await;
    let wish = json!({ "tier": "pro", "reason": "trial", "expires_at": "2026-11-24T00:00:10Z" });
    assert_eq!(replica.put("/v1/overrides/n/acme", &wish).await.status, StatusCode::OK);
    replica.pass(10 * SECOND - 1);
    replica.store.refresh().await;
    let before = replica.lease(&wants("acme", 2, 1_500 * UNIT, 1)).await;
    assert_eq!((before.revision, grant(&before).refusal), (1, None));

    replica.pass(1);
    // The override has ended before any refresh, so it counts no more: this is as much as its bucket holds, and more
    // than the tier's.
    let refused = replica.lease(&wants("acme", 3, 1_500 * UNIT, 1)).await;
    assert!(grant(&refused).refusal.is_some());
    replica.get("/v1/overrides/n/acme").await.problem(404);
    replica.store.refresh().await;
    let reply = replica.lease(&wants("acme", 4, 0, 1)).await;
    assert_eq!(reply.changes, [Change { client: id("acme"), what: ChangeKind::NoOverride }]);
    let log = replica.get("/v1/audit/n").await.json();
    assert_eq!(log["lines"][0]["action"], "override_expired");
    assert_eq!(log["lines"][0]["before"]["tier"], "pro");
}

#[tokio::test]
async fn a_reset_is_told_of_and_makes_the_bucket_whole() {
    let replica = Replica::new();
    replica.charge("acme", 150).await;
    let known = replica.lease(&wants("acme", 1, 100 * UNIT, 0)).await;
    assert!(grant(&known).refusal.is_some());
    let body = json!({ "bucket": true, "reason": "support case 7" });
    assert_eq!(replica.post("/v1/reset/n/acme", &body).await.json(), json!({ "revision": 1 }));
    let reply = replica.lease(&wants("acme", 2, 100 * UNIT, known.revision)).await;
    assert_eq!(reply.changes, [Change { client: id("acme"), what: ChangeKind::Reset }]);
    assert_eq!((grant(&reply).hold, grant(&reply).month_used), (Cost(100 * UNIT), Cost(150 * UNIT)));
    let line = replica.get("/v1/audit/n").await.json()["lines"][0].clone();
    assert_eq!(
        (&line["action"], &line["bucket"], &line["month"]),
        (&json!("reset"), &json!(true), &json!(false))
    );
}

#[tokio::test]
async fn what_a_gateway_sends_for_an_overridden_client_is_not_taken_for_its_tier() {
    let replica = Replica::new();
    replica.lease(&wants("acme", 1, 0, 0)).await;
    replica.put("/v1/overrides/n/acme", &json!({ "rate": "7/minute", "reason": "abuse" })).await;
    let overriding = Offer { rates: vec![Rate { units: 7, seconds: 60, burst: 100 }], ..free() };
    let batch = Batch { offers: vec![overriding], ..wants("acme", 2, 0, 1) };
    replica.lease(&batch).await;
    let beta = replica.put("/v1/overrides/n/beta", &json!({ "tier": "free", "reason": "same" })).await.json();
    assert_eq!(beta["offer"]["rates"][0]["units"], 100);
}

#[tokio::test]
async fn leases_and_usage_are_counted() {
    let replica = Replica::new();
    replica.lease(&wants("acme", 1, 10 * UNIT, 0)).await;
    replica.charge("beta", 2).await;
    let text = replica.get("/metrics").await.text();
    assert!(text.contains("\ntollgate_leased_tokens 10\n"), "{text}");
    assert!(text.contains("tollgate_usage_units_total{namespace=\"n\",tier=\"free\"} 2\n"), "{text}");
    assert!(text.contains("tollgate_store_requests_total{call=\"leases\",outcome=\"ok\"} 1\n"), "{text}");
    let consumers =
        |used| format!("tollgate_quota_consumers{{namespace=\"n\",tier=\"free\",used=\"{used}\"}}");
    assert!(text.contains(&format!("{} 2\n", consumers(0))), "{text}");
    assert!(text.contains(&format!("{} 0\n", consumers(90))), "{text}");
    assert!(text.contains("tollgate_store_backend_seconds_count{call=\"settle\"} 2\n"), "{text}");
}
