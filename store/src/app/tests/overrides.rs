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
        replica.put("/v1/overrides/n/stranger", &json!({ "bonus": 5, "reason": "x" })).await.problem(422);
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
    // Nor is it lost with the replica that was told of it.
    replica.store.look().await;
    assert_eq!(replica.beside().get(PATH).await.json()["offer"]["monthly"], 10);
}
