use super::*;

const PATH: &str = "/v1/overrides/n/acme";

#[tokio::test]
async fn an_override_is_read_back_as_it_was_written_with_what_it_comes_to() {
    let replica = Replica::new();
    replica.charge("acme", 1).await;
    let wish = json!({
        "tier": "pro", "rate": ["20/second", "500/minute"], "burst": 2, "monthly": 70_000, "bonus": 30,
        "reason": "launch week", "expires_at": "2026-12-01T00:00:00+01:00",
    });
    let put = replica.put(PATH, &wish).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text());
    let get = replica.get(PATH).await.json();
    assert_eq!(get, put.json());
    for (name, value) in wish.as_object().unwrap() {
        assert_eq!(&get[name], value, "{name}");
    }
    assert_eq!(get["offer"]["monthly"], 70_030);
    assert_eq!(get["offer"]["rates"][1], json!({ "units": 500, "seconds": 60, "burst": 200 }));
    assert_eq!((&get["revision"], &get["actor"]), (&json!(1), &json!("admin")));
    assert_eq!(get["since"], "2026-11-24T00:00:00Z");
    let list = replica.get("/v1/overrides/n").await.json();
    assert_eq!(list["overrides"], json!([get]));
    assert_eq!(replica.get("/v1/overrides/other").await.json()["overrides"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_granted_says_what_to_write() {
    let replica = Replica::new();
    replica.charge("acme", 1).await;
    for (wish, hint) in [
        (json!({ "tier": "gold", "reason": "x" }), "known are enterprise, free, pro"),
        (json!({ "tier": "anonymous", "reason": "x" }), "known are enterprise, free, pro"),
        (json!({ "reason": "x" }), "needs a tier"),
        (json!({ "tier": "pro" }), "reason"),
        (json!({ "tier": "pro", "reason": "  " }), "write why"),
        (json!({ "tier": "pro", "reason": "r".repeat(1_025) }), "1024"),
        (json!({ "burst": 2, "reason": "x" }), "write rate"),
        (json!({ "rate": "100/mnth", "reason": "x" }), "rate: \"100/mnth\" is not a rate"),
        (json!({ "rate": 100, "reason": "x" }), "rate: 100 is not a rate"),
        (json!({ "monthly": -1, "reason": "x" }), "monthly: -1 is not"),
        (json!({ "bonus": 0.5, "reason": "x" }), "u64"),
        (json!({ "bonus": u64::MAX, "reason": "x" }), "4500000000000"),
        (json!({ "tier": "enterprise", "bonus": 5, "reason": "x" }), "monthly"),
        (json!({ "rate": "1000000000/day", "burst": 1_000, "reason": "x" }), "fine"),
        (json!({ "tier": "pro", "reason": "x", "expires_at": "2026-11-24T00:00:00Z" }), "not in the future"),
        (json!({ "tier": "pro", "reason": "x", "expires_at": "tomorrow" }), "RFC 3339"),
        (json!({ "tier": "pro", "reason": "x", "rates": 5 }), "unknown field `rates`"),
        (json!([]), "struct"),
    ] {
        let detail = replica.put(PATH, &wish).await.problem(422);
        assert!(detail.contains(hint), "{wish}: {detail}");
    }
    replica.get(PATH).await.problem(404);
    let detail =
        replica.put("/v1/overrides/n/anonymous", &json!({ "bonus": 5, "reason": "x" })).await.problem(422);
    assert!(detail.contains("write a tier"), "{detail}");
}

#[tokio::test]
async fn each_change_is_in_the_log_with_who_why_before_and_after() {
    let replica = Replica::new();
    replica.charge("acme", 1).await;
    replica.put(PATH, &json!({ "tier": "pro", "reason": "first" })).await;
    let request = Request::put(PATH)
        .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-actor", "ada@example.com")
        .body(Body::from(json!({ "tier": "free", "reason": "second" }).to_string()));
    replica.send(request.unwrap()).await;
    let gone = replica.call(Method::DELETE, &format!("{PATH}?reason=over"), ADMIN, None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    replica.call(Method::DELETE, PATH, ADMIN, None).await.problem(404);

    let log = replica.get("/v1/audit/n?limit=2").await.json();
    let [removed, set] = &log["lines"].as_array().unwrap()[..] else { panic!("{log}") };
    assert_eq!((&removed["action"], &removed["reason"]), (&json!("override_removed"), &json!("over")));
    assert_eq!(set["actor"], "ada@example.com");
    assert_eq!((&set["before"]["tier"], &set["after"]["tier"]), (&json!("pro"), &json!("free")));
    assert_eq!((&set["number"], &log["next"]), (&json!(2), &json!(2)));
    let older = replica.get("/v1/audit/n?limit=2&before=2").await.json();
    assert_eq!((older["lines"].as_array().unwrap().len(), &older["next"]), (1, &Value::Null));
}

#[tokio::test]
async fn a_reset_needs_to_say_what_and_why() {
    let replica = Replica::new();
    replica.post("/v1/reset/n/acme", &json!({ "reason": "x" })).await.problem(422);
    replica.post("/v1/reset/n/acme", &json!({ "bucket": true })).await.problem(422);
    replica.charge("acme", 10).await;
    replica.post("/v1/reset/n/acme", &json!({ "month": true, "reason": "x" })).await;
    assert_eq!(replica.get("/v1/usage/n/acme").await.json()["used"], 0);
}

#[tokio::test]
async fn a_tiers_new_limits_count_for_overrides_to_it() {
    let replica = Replica::new();
    replica.lease(&wants("acme", 1, 0, 0)).await;
    replica.put(PATH, &json!({ "tier": "pro", "bonus": 1, "reason": "x" })).await;
    let raised = Batch { offers: vec![free(), offer("pro", 2_000, 9)], ..wants("beta", 1, 0, 0) };
    replica.lease(&raised).await;
    assert_eq!(replica.get(PATH).await.json()["offer"]["monthly"], 10);
    // It is not lost with the replica that has learned it, either.
    replica.store.refresh().await;
    assert_eq!(replica.beside().get(PATH).await.json()["offer"]["monthly"], 10);
}

#[tokio::test]
async fn what_a_replica_learns_change_by_change_is_what_another_reads_at_once() {
    let replica = Replica::new();
    replica.charge("acme", 1).await;
    let mut dice = 7_u64;
    for step in 1..=1_500_u64 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let consumer = format!("c{}", (dice >> 33) % 60);
        let path = format!("/v1/overrides/n/{consumer}");
        replica.pass(1);
        match (dice >> 50) % 5 {
            0 => {
                replica.call(Method::DELETE, &path, ADMIN, None).await;
            }
            1 => {
                let reset = json!({ "bucket": true, "reason": "x" });
                replica.post(&format!("/v1/reset/n/{consumer}"), &reset).await;
            }
            _ => {
                let wish = json!({ "tier": "pro", "bonus": step, "reason": "x" });
                assert_eq!(replica.put(&path, &wish).await.status, StatusCode::OK);
            }
        }
        if step % 50 != 0 {
            continue;
        }
        let fresh = replica.beside();
        let all = replica.get("/v1/overrides/n").await.json();
        assert_eq!(all, fresh.get("/v1/overrides/n").await.json(), "step {step}");
        let revision = replica.lease(&wants("acme", 1, 0, 0)).await.revision;
        for known in [0, 1, revision / 2, revision - 20, revision - 1, revision, revision + 1] {
            let told = async |replica: &Replica| {
                let reply = replica.lease(&wants("acme", 1, 0, known)).await;
                let mut changes: Vec<_> = reply.changes.iter().map(|change| format!("{change:?}")).collect();
                changes.sort();
                (reply.is_whole, changes)
            };
            assert_eq!(told(&replica).await, told(&fresh).await, "step {step}, {known} of {revision}");
        }
    }
}
