use super::*;

/// What `/v1/reserve` is sent for acme, who has the tier free.
fn wanted(cost: Value, more: &Value) -> Value {
    let mut body =
        json!({ "namespace": "n", "consumer": "acme", "tier": "free", "cost": cost, "policy": policy() });
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    body
}

async fn reserve(replica: &Replica, cost: u64, more: Value) -> Answer {
    replica.call(Method::POST, "/v1/reserve", GATEWAY, Some(&wanted(cost.into(), &more))).await
}

async fn settle(replica: &Replica, reservation: &Value, cost: Value) -> Answer {
    let body = json!({ "reservation": reservation, "cost": cost });
    replica.call(Method::POST, "/v1/settle", GATEWAY, Some(&body)).await
}

async fn used(replica: &Replica) -> Value {
    replica.get("/v1/usage/n/acme").await.json()["used"].clone()
}

#[tokio::test]
async fn a_reservation_answers_as_a_check_does_and_settling_tells_what_is_left() {
    let replica = Replica::new();
    let held = reserve(&replica, 20, json!({})).await.json();
    let mut checked = Replica::new().charge("acme", 20).await;
    checked["reservation"] = held["reservation"].clone();
    checked["expires_at"] = "2026-11-24T00:05:00Z".into();
    assert_eq!(held, checked);
    assert_eq!(held["headers"]["X-RateLimit-Remaining"], "100");
    assert_eq!(used(&replica).await, 20);

    let settled = settle(&replica, &held["reservation"], json!(7.5)).await.json();
    assert_eq!(
        (&settled["reserved"], &settled["cost"], &settled["tier"]),
        (&20.into(), &7.5.into(), &"free".into())
    );
    assert_eq!(settled["monthly_remaining"], 49_992);
    assert_eq!(settled["headers"]["X-Quota-Monthly-Remaining"], "49992");
    assert_eq!(used(&replica).await, 7.5);
}

#[tokio::test]
async fn a_repeated_call_gets_the_same_answer_on_any_replica_and_charges_nothing() {
    let replica = Replica::new();
    let first = reserve(&replica, 20, json!({ "id": "request 7" })).await.text();
    replica.pass(30 * SECOND);
    let again = reserve(&replica.beside(), 20, json!({ "id": "request 7" })).await.text();
    assert_eq!(first, again);
    let reservation = &serde_json::from_str::<Value>(&first).unwrap()["reservation"];
    let settled = settle(&replica.beside(), reservation, json!(30)).await.text();
    replica.pass(30 * SECOND);
    // Other calls change what is left, and not the answer.
    replica.charge("acme", 5).await;
    assert_eq!(settle(&replica, reservation, json!(30.0)).await.text(), settled);
    assert_eq!(reserve(&replica, 20, json!({ "id": "request 7" })).await.text(), first);
    assert_eq!(used(&replica).await, 35);
    // Without an id nobody can know that a call is repeated.
    let other = reserve(&replica, 20, json!({})).await.json();
    assert_ne!(&other["reservation"], reservation);
    assert_eq!(used(&replica).await, 55);
}

#[tokio::test]
async fn another_cost_for_what_is_known_is_a_conflict_that_says_the_first() {
    let replica = Replica::new();
    let held = reserve(&replica, 20, json!({ "id": "x" })).await.json();
    let detail = reserve(&replica, 21, json!({ "id": "x" })).await.problem(409);
    assert!(detail.contains("of cost 20;"), "{detail}");
    settle(&replica, &held["reservation"], json!(7.5)).await;
    let detail = settle(&replica, &held["reservation"], json!(7)).await.problem(409);
    assert!(detail.contains("with 7.5,"), "{detail}");
    assert_eq!(used(&replica).await, 7.5);
}

#[tokio::test]
async fn what_is_not_settled_in_time_stays_spent() {
    let replica = Replica::new();
    let held = reserve(&replica, 20, json!({ "ttl": 60 })).await.json();
    assert_eq!(held["expires_at"], "2026-11-24T00:01:00Z");
    replica.pass(60 * SECOND);
    for _ in 0..2 {
        let detail = settle(&replica, &held["reservation"], json!(0)).await.problem(404);
        assert!(detail.contains("its ttl is over"), "{detail}");
        replica.pass(120 * SECOND);
    }
    assert_eq!(used(&replica).await, 20);
}

#[tokio::test]
async fn a_settled_reservation_is_remembered_for_a_minute_beyond_its_time() {
    let replica = Replica::new();
    let held = reserve(&replica, 20, json!({ "ttl": 1, "id": "x" })).await.json();
    let settled = settle(&replica, &held["reservation"], json!(1)).await.text();
    replica.pass(60 * SECOND);
    assert_eq!(settle(&replica, &held["reservation"], json!(1)).await.text(), settled);
    replica.pass(SECOND);
    settle(&replica, &held["reservation"], json!(1)).await.problem(404);
    // The id can then be used for another request.
    let next = reserve(&replica, 3, json!({ "id": "x" })).await.json();
    assert_eq!(next["allowed"], true);
    assert_eq!(used(&replica).await, 4);
}

#[tokio::test]
async fn a_refused_request_holds_nothing_and_may_ask_again() {
    let replica = Replica::new();
    reserve(&replica, 140, json!({})).await;
    let refused = reserve(&replica, 20, json!({ "id": "x" })).await.json();
    assert_eq!((&refused["allowed"], &refused["status"]), (&false.into(), &429.into()));
    assert_eq!((&refused["reservation"], &refused["expires_at"]), (&Value::Null, &Value::Null));
    assert_eq!((&refused["problem"]["status"], &refused["retry_after"]), (&429.into(), &6.into()));
    assert_eq!(refused["headers"]["Retry-After"], "6");
    assert_eq!(used(&replica).await, 140);
    replica.pass(6 * SECOND);
    assert_eq!(reserve(&replica, 20, json!({ "id": "x" })).await.json()["allowed"], true);
}

#[tokio::test]
async fn nothing_can_be_held_and_settled_all_the_same() {
    let replica = Replica::new();
    let held = reserve(&replica, 0, json!({})).await.json();
    assert_eq!(held["allowed"], true);
    settle(&replica, &held["reservation"], json!(400)).await;
    assert_eq!(used(&replica).await, 400);
    let refused = reserve(&replica, 1, json!({})).await.json();
    assert_eq!(refused["allowed"], false, "the bucket is full");
}

#[tokio::test]
async fn an_override_or_shadow_counts_and_off_holds_nothing() {
    let replica = Replica::new();
    replica.charge("acme", 1).await;
    replica.put("/v1/overrides/n/acme", &json!({ "tier": "pro", "reason": "x" })).await;
    let held = reserve(&replica, 1_000, json!({})).await.json();
    assert_eq!((&held["tier"], &held["allowed"]), (&"pro".into(), &true.into()));
    // It is settled as it was reserved, whatever its tier is by now.
    replica.call(Method::DELETE, "/v1/overrides/n/acme?reason=x", ADMIN, None).await;
    let settled = settle(&replica, &held["reservation"], json!(2)).await.json();
    assert_eq!((&settled["tier"], &settled["limit"]), (&"pro".into(), &1_000.into()));
    assert_eq!(used(&replica).await, 3);

    let mut modes = policy();
    (modes["default_tier"], modes["anonymous"]) = ("free".into(), json!({ "rate": "1/minute" }));
    modes["enforcement"] = "shadow".into();
    let shadow = reserve(&replica, 150, json!({ "policy": modes })).await.json();
    assert_eq!((&shadow["outcome"], &shadow["allowed"]), (&"shadow_refused".into(), &true.into()));
    assert_eq!(shadow["reservation"], Value::Null);
    modes["enforcement"] = "off".into();
    let off = reserve(&replica, 1, json!({ "policy": modes })).await.json();
    assert_eq!((&off["allowed"], &off["reservation"]), (&true.into(), &Value::Null));
    assert_eq!(used(&replica).await, 3);
}

#[tokio::test]
async fn many_callers_at_once_never_hold_more_than_there_is() {
    let replica = Replica::new();
    reserve(&replica, 140, json!({})).await;
    let calls = (0..100).map(|number| {
        let (replica, id) = (&replica, format!("request {}", number / 2));
        async move { reserve(replica, 1, json!({ "id": id })).await.json() }
    });
    let answers = futures_util::future::join_all(calls).await;
    let held = answers.iter().filter(|answer| answer["allowed"] == true).count();
    // Each of ten requests asked twice.
    assert_eq!((held, used(&replica).await), (20, 150.into()));
}

#[tokio::test]
async fn what_cannot_be_reserved_or_settled_is_refused_with_what_to_write() {
    let replica = Replica::new();
    let long = "ä".repeat(128);
    for (more, says) in [
        (json!({ "id": "" }), "id is not a name; write 1 to 128 characters"),
        (json!({ "id": format!("{long}ä") }), "id is not a name"),
        (json!({ "id": "a\nb" }), "id is not a name"),
        (json!({ "id": 7 }), "a string"),
        (json!({ "ttl": 0 }), "ttl is out of range; write 1 to 3600 whole seconds"),
        (json!({ "ttl": 3_601 }), "ttl is out of range"),
        (json!({ "ttl": 1.5 }), "u64"),
        (json!({ "ttl": -1 }), "u64"),
        (json!({ "cost": Value::Null }), "three decimals"),
        (json!({ "cost": "1" }), "three decimals"),
        (json!({ "cost": 0.0001 }), "three decimals"),
        (json!({ "expires_at": "2026-11-24T00:01:00Z" }), "unknown field `expires_at`"),
    ] {
        let detail = reserve(&replica, 1, more.clone()).await.problem(422);
        assert!(detail.contains(says), "{more}: {detail}");
    }
    let mut without = wanted(1.into(), &json!({}));
    without.as_object_mut().unwrap().remove("cost");
    assert!(replica.post("/v1/reserve", &without).await.problem(422).contains("missing field `cost`"));
    for (namespace, consumer) in [("", "a"), ("../n", "a"), ("n", ""), ("n", "a\u{0}")] {
        let whose = json!({ "namespace": namespace, "consumer": consumer });
        replica.post("/v1/reserve", &wanted(1.into(), &whose)).await.problem(400);
    }
    let held = reserve(&replica, 1, json!({ "id": long, "ttl": 3_600 })).await.json()["reservation"].clone();
    let text = held.as_str().unwrap();
    for other in
        ["", "n", &text[..text.len() - 1], &format!("{text}0"), &text.to_uppercase(), &format!("{text}\0")]
    {
        let detail = settle(&replica, &json!(other), json!(1)).await.problem(422);
        assert!(detail.contains("what /v1/reserve answered"), "{other}: {detail}");
    }
    for cost in [json!(-1), json!("1"), json!(1e30), Value::Null] {
        settle(&replica, &held, cost).await.problem(422);
    }
    // Well written, and never made.
    let other = text.replacen("n~", "m~", 1);
    settle(&replica, &json!(other), json!(1)).await.problem(404);
    assert_eq!(used(&replica).await, 1);
    assert_eq!(replica.store.backend.namespaces().await.unwrap(), ["n"]);
}

#[tokio::test]
async fn units_are_counted_once_by_the_metrics() {
    let replica = Replica::new();
    let held = reserve(&replica, 20, json!({ "id": "x" })).await.json();
    reserve(&replica, 20, json!({ "id": "x" })).await;
    for _ in 0..2 {
        settle(&replica, &held["reservation"], json!(25)).await;
    }
    let metrics = replica.get("/metrics").await.text();
    assert!(metrics.contains("tollgate_usage_units_total{namespace=\"n\",tier=\"free\"} 25\n"), "{metrics}");
    for call in ["reserve", "settle"] {
        let counted = format!("tollgate_store_requests_total{{call=\"{call}\",outcome=\"ok\"}} 2\n");
        assert!(metrics.contains(&counted), "{metrics}");
    }
}
