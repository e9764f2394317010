use super::*;

async fn raw(replica: &Replica, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
        .header(header::CONTENT_TYPE, kind);
    replica.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn names_with_control_characters_or_tricks_are_refused_everywhere() {
    let replica = Replica::new();
    let long = "n".repeat(4_097);
    for name in ["%00", "a%0Ab", "%7F", "%C2%85", "%FF", "%C0%AF", "%25:", "%25:acme", "%25:%25ff", &long] {
        for (method, path) in [
            ("GET", "usage"),
            ("GET", "overrides"),
            ("PUT", "overrides"),
            ("DELETE", "overrides"),
            ("GET", "customers"),
            ("PUT", "customers"),
            ("DELETE", "customers"),
            ("POST", "reset"),
        ] {
            let answer =
                raw(&replica, method, &format!("/v1/{path}/n/{name}"), "application/json", b"{}".to_vec())
                    .await;
            answer.problem(400);
        }
    }
    let long = "n".repeat(65);
    for place in ["%2E%2E", "..", ".n", "a%20b", "a%2Fb", "%00", "%FF", "n%25", "%C3%A4", &long] {
        for path in ["usage", "overrides", "customers", "audit"] {
            raw(&replica, "GET", &format!("/v1/{path}/{place}"), "", Vec::new()).await.problem(400);
            let with_name = raw(&replica, "GET", &format!("/v1/{path}/{place}/acme"), "", Vec::new()).await;
            assert!(matches!(with_name.status.as_u16(), 400 | 404), "{path} {place}");
        }
        raw(&replica, "POST", &format!("/v1/reset/{place}/acme"), "application/json", b"{}".to_vec())
            .await
            .problem(400);
    }
    assert_eq!(replica.store.backend.namespaces().await.unwrap(), [""; 0], "and nothing was made of them");
}

#[tokio::test]
async fn what_is_no_name_is_refused_with_the_one_to_write() {
    let replica = Replica::new();
    for (name, spelled) in [("caf%E9", "%:caf%E9"), ("a%0Ab", "%:a%0Ab"), ("%25:acme", "%:%25:acme")] {
        let detail = replica.get(&format!("/v1/usage/n/{name}")).await.problem(400);
        assert!(detail.ends_with(&format!("write {spelled}")), "{detail}");
        let written = spelled.replace('%', "%25");
        replica.get(&format!("/v1/usage/n/{written}")).await.problem(404);
    }
}

#[tokio::test]
async fn bodies_that_are_too_long_of_another_kind_or_none_are_refused() {
    let replica = Replica::new();
    let calls = [
        ("POST", "/v1/check"),
        ("POST", "/v1/reserve"),
        ("POST", "/v1/settle"),
        ("PUT", "/v1/overrides/n/acme"),
        ("PUT", "/v1/customers/n/acme"),
        ("POST", "/v1/reset/n/acme"),
    ];
    for (method, path) in calls {
        let huge = vec![b' '; super::super::body::LONGEST + 1];
        raw(&replica, method, path, "application/json", huge).await.problem(413);
        raw(&replica, method, path, "text/plain", b"{}".to_vec()).await.problem(415);
        raw(&replica, method, path, "", b"{}".to_vec()).await.problem(415);
        let deep = [vec![b'['; 20_000], vec![b']'; 20_000]].concat();
        for (body, status) in [
            (b"".to_vec(), 400),
            (b"{".to_vec(), 400),
            (b"{} {}".to_vec(), 422),
            (b"\xFF\xFE".to_vec(), 400),
            (b"null".to_vec(), 422),
            (b"[]".to_vec(), 422),
            (b"7".to_vec(), 422),
            (b"{}".to_vec(), 422),
            (br#"{"__proto__":{}}"#.to_vec(), 422),
            (deep, 422),
        ] {
            let shown = String::from_utf8_lossy(&body).chars().take(30).collect::<String>();
            let answer = raw(&replica, method, path, "application/json; charset=utf-8", body).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "{path} {shown}: {}", answer.text());
            answer.problem(if answer.status == status { status } else { answer.status.as_u16() });
        }
    }
}

#[tokio::test]
async fn absurd_numbers_are_refused_or_kept_exactly() {
    let replica = Replica::new();
    for cost in
        ["-1", "1e3", "0.0001", "1e400", "99999999999999999999999", "4503599627371", "\"1\"", "true", "[]"]
    {
        let body = format!(
            r#"{{"namespace":"n","consumer":"acme","tier":"free","cost":{cost},"policy":{}}}"#,
            policy()
        );
        let answer = raw(&replica, "POST", "/v1/check", "application/json", body.into_bytes()).await;
        assert!(answer.problem(422).contains("three decimals"), "{cost}: {}", answer.text());
    }
    for limit in ["0", "1001", "-1", "x", "18446744073709551616"] {
        replica.get(&format!("/v1/audit/n?limit={limit}")).await.problem(400);
    }
    for before in ["-1", "x", "1.5"] {
        replica.get(&format!("/v1/audit/n?before={before}")).await.problem(400);
    }
    assert_eq!(replica.get("/v1/audit/n?before=18446744073709551615").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_check_of_whoever_cannot_be_is_refused() {
    let replica = Replica::new();
    for (namespace, consumer) in [("", "a"), ("../n", "a"), ("n", ""), ("n", "a\u{0}"), ("n", "a\nb")] {
        let body =
            json!({ "namespace": namespace, "consumer": consumer, "tier": "free", "policy": policy() });
        replica.post("/v1/check", &body).await.problem(400);
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_there_for_another_method_are_problems_too() {
    let replica = Replica::new();
    for path in
        ["/", "/v1", "/v1/usage", "/v2/check", "/v1/check/", "/v1/usage/n/a/b", "//v1/check", "/v1/usage/n/"]
    {
        replica.get(path).await.problem(404);
    }
    let answer = replica.get("/v1/check").await;
    answer.problem(405);
    assert_eq!(answer.header(header::ALLOW), "POST");
    replica.call(Method::PATCH, "/v1/overrides/n/acme", ADMIN, None).await.problem(405);
}

#[tokio::test]
async fn an_actor_that_is_no_name_is_refused() {
    let replica = Replica::new();
    for actor in ["", &"a".repeat(129), "a\tb"] {
        let request = Request::delete("/v1/overrides/n/acme")
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
            .header("x-actor", actor);
        replica.send(request.body(Body::empty()).unwrap()).await.problem(400);
    }
}
