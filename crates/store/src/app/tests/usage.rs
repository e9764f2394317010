use super::*;
use futures_util::StreamExt;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use tollgate_core::units::Cost;

#[tokio::test]
async fn usage_is_exact_to_the_thousandth() {
    let replica = Replica::new();
    let mut check = json!({ "namespace": "n", "consumer": "a/b c", "tier": "free", "policy": policy() });
    for _ in 0..3 {
        check["cost"] = json!(0.1);
        replica.post("/v1/check", &check).await;
    }
    let answer = replica.get("/v1/usage/n/a%2Fb%20c").await;
    let expected = r#"{"namespace":"n","consumer":"a/b c","tier":"free","month":"2026-11","used":0.3,"limit":50000,"remaining":49999.7,"resets_at":"2026-12-01T00:00:00Z"}"#;
    assert_eq!(answer.text(), expected);
    let before = replica.get("/v1/usage/n/a%2Fb%20c?month=2026-10").await.json();
    assert_eq!((&before["used"], &before["resets_at"]), (&json!(0), &json!("2026-11-01T00:00:00Z")));
}

#[tokio::test]
async fn who_was_never_seen_and_what_is_no_month_are_told_apart() {
    let replica = Replica::new();
    replica.get("/v1/usage/n/nobody").await.problem(404);
    for bad in ["2026", "2026-13", "november", "", "2026-11-01"] {
        let detail = replica.get(&format!("/v1/usage/n/nobody?month={bad}")).await.problem(400);
        assert!(detail.contains("2026-11"), "{detail}");
        replica.get(&format!("/v1/usage/n?month={bad}")).await.problem(400);
    }
    replica.get("/v1/usage/n?format=xml").await.problem(400);
    replica.get("/v1/usage/n?moth=2026-11").await.problem(400);
}

#[tokio::test]
async fn each_day_has_what_was_used_on_it() {
    let replica = Replica::new();
    let day = 86_400 * 1_000_000;
    for cost in [7, 2] {
        replica.charge("acme", cost).await;
        replica.now.fetch_add(day, Ordering::Relaxed);
    }
    replica.charge("globex", 4).await;
    let expected = r#"{"namespace":"n","consumer":"acme","tier":"free","from":"2026-11-01","to":"2026-11-27","used":9,"days":[{"day":"2026-11-24","used":7},{"day":"2026-11-25","used":2}]}"#;
    assert_eq!(replica.get("/v1/usage/n/acme?by=day").await.text(), expected);
    let one = replica.get("/v1/usage/n/acme?by=day&from=2026-11-25&to=2026-11-26").await.json();
    assert_eq!((&one["used"], one["days"].as_array().unwrap().len()), (&json!(2), 1));
    let month = replica.get("/v1/usage/n/acme?by=day&month=2026-11").await.json();
    assert_eq!((&month["to"], &month["used"]), (&json!("2026-12-01"), &json!(9)));
    let none = replica.get("/v1/usage/n/acme?by=day&month=2026-10").await.json();
    assert_eq!((&none["used"], &none["days"]), (&json!(0), &json!([])));
    let table =
        "namespace,consumer,tier,day,used\r\nn,acme,free,2026-11-24,7\r\nn,acme,free,2026-11-25,2\r\n";
    assert_eq!(replica.get("/v1/usage/n/acme?by=day&format=csv").await.text(), table);
    let all = replica.get("/v1/usage/n?by=day&from=2026-11-26&format=csv").await;
    assert_eq!(all.text(), "namespace,consumer,tier,day,used\r\nn,globex,free,2026-11-26,4\r\n");
    assert_eq!(replica.get("/v1/usage/n?by=day").await.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_reset_of_the_month_leaves_the_days_alone() {
    let replica = Replica::new();
    replica.charge("acme", 5).await;
    replica.post("/v1/reset/n/acme", &json!({ "month": true, "reason": "goodwill" })).await;
    assert_eq!(replica.get("/v1/usage/n/acme").await.json()["used"], 0);
    assert_eq!(replica.get("/v1/usage/n/acme?by=day").await.json()["used"], 5);
}

#[tokio::test]
async fn days_that_cannot_be_read_are_refused_with_what_to_write() {
    let replica = Replica::new();
    for query in [
        "from=2026-11-01",
        "by=month&to=2026-11-01",
        "by=day&month=2026-11&from=2026-11-01",
        "by=day&from=2026-11-24&to=2026-11-24",
        "by=day&from=2027-01-01",
        "by=day&from=2024-01-01&to=2026-01-01",
        "by=day&from=2026-11",
        "by=day&from=2026-11-31",
        "by=day&from=1970-01-01",
        "by=day&from=9999-12-31",
        "by=day&from=-026-11-01",
        "by=day&from=2026-11-01T00:00:00Z",
        "by=week",
    ] {
        for path in ["/v1/usage/n", "/v1/usage/n/acme"] {
            replica.get(&format!("{path}?{query}")).await.problem(400);
        }
    }
}

#[tokio::test]
async fn the_limit_is_that_of_an_override_in_force() {
    let replica = Replica::new();
    replica.charge("acme", 10).await;
    replica.put("/v1/overrides/n/acme", &json!({ "bonus": 500, "reason": "goodwill" })).await;
    let usage = replica.get("/v1/usage/n/acme").await.json();
    assert_eq!((&usage["limit"], &usage["remaining"]), (&json!(50_500), &json!(50_490)));
}

#[tokio::test]
async fn a_hundred_thousand_consumers_are_streamed_in_small_parts_and_each_is_there_once() {
    const ALL: usize = 100_000;
    let replica = Replica::new();
    let charge = |number: usize| {
        let name = format!("consumer-{number}");
        Entry {
            client: id(&name),
            name: Some(name.into_bytes()),
            ask: Ask::Charge { cost: Cost(UNIT + number as u64 % 1_000) },
            ..Entry::default()
        }
    };
    for first in (0..ALL).step_by(2_000) {
        let entries = (first..first + 2_000).map(charge).collect();
        replica.lease(&Batch { entries, ..wants("acme", 1, 0, 0) }).await;
    }
    for format in ["json", "csv"] {
        let request = Request::get(format!("/v1/usage/n?format={format}&month=2026-11"))
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"));
        let response = replica.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        assert!(kind.contains(format), "{kind}");
        let mut parts = response.into_body().into_data_stream();
        let mut text = Vec::new();
        while let Some(part) = parts.next().await {
            let part = part.unwrap();
            assert!(part.len() <= 20 << 10, "a part of {} bytes", part.len());
            text.extend_from_slice(&part);
        }
        let read: Vec<(String, String)> = if format == "json" {
            let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
            rows.iter()
                .map(|row| (row["consumer"].as_str().unwrap().into(), row["used"].to_string()))
                .collect()
        } else {
            let mut reader = csv::Reader::from_reader(&text[..]);
            reader.records().map(|row| row.unwrap()).map(|row| (row[1].into(), row[4].into())).collect()
        };
        assert_eq!(read.len(), ALL);
        let names: HashSet<_> = read.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), ALL);
        assert!(read.contains(&("consumer-250".into(), "1.25".into())));
    }
}
