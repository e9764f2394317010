use super::*;
use futures_util::StreamExt;
use std::collections::HashSet;
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
