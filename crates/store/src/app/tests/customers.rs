//! Today is 2026-11-24.

use super::*;

const PATH: &str = "/v1/customers/n/acme";

fn period(customer: &str, starts: Option<&str>, ends: Option<&str>) -> Value {
    json!({ "customer": customer, "starts": starts, "ends": ends })
}

async fn periods(replica: &Replica) -> Value {
    replica.get(PATH).await.json()["periods"].clone()
}

#[tokio::test]
async fn the_first_customer_pays_from_the_beginning_and_the_next_from_today() {
    let replica = Replica::new();
    replica.get(PATH).await.problem(404);
    let put = replica.put(PATH, &json!({ "customer": "cus_1" })).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text());
    let wanted = json!({ "namespace": "n", "consumer": "acme", "customer": "cus_1", "periods": [period("cus_1", None, None)] });
    assert_eq!(put.json(), wanted);
    assert_eq!(replica.get(PATH).await.json(), wanted);
    replica.pass(3_600 * SECOND);
    let put = replica.put(PATH, &json!({ "customer": "cus_2" })).await.json();
    assert_eq!(put["customer"], "cus_2");
    let wanted =
        json!([period("cus_1", None, Some("2026-11-24")), period("cus_2", Some("2026-11-24"), None)]);
    assert_eq!(put["periods"], wanted);
    // What is not said is null in many a client.
    replica.put(PATH, &json!({ "customer": "cus_2", "starts_at": null, "ends_at": null })).await;
    assert_eq!(periods(&replica).await, wanted);
}

#[tokio::test]
async fn a_period_replaces_what_it_overlaps_and_meets_its_like() {
    let replica = Replica::new();
    let put = async |customer: &str, starts: &str, ends: Option<&str>| {
        let spec = json!({ "customer": customer, "starts_at": starts, "ends_at": ends });
        let answer = replica.put(PATH, &spec).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    };
    put("cus_1", "1970-01-01", None).await;
    let split = put("cus_2", "2026-12-01T00:00:00Z", Some("2027-01-01T01:00:00+01:00")).await;
    let wanted = json!([
        period("cus_1", None, Some("2026-12-01")),
        period("cus_2", Some("2026-12-01"), Some("2027-01-01")),
        period("cus_1", Some("2027-01-01"), None),
    ]);
    assert_eq!((&split["periods"], &split["customer"]), (&wanted, &json!("cus_1")));
    put("cus_1", "2026-11-30", Some("2027-02-01")).await;
    assert_eq!(periods(&replica).await, json!([period("cus_1", None, None)]));
}

#[tokio::test]
async fn from_some_day_on_nobody_pays_and_what_was_before_stays() {
    let replica = Replica::new();
    let delete =
        async |query: &str| replica.call(Method::DELETE, &format!("{PATH}{query}"), ADMIN, None).await;
    delete("").await.problem(404);
    replica.put(PATH, &json!({ "customer": "cus_1" })).await;
    assert_eq!(delete("?from=2026-12-01").await.status, StatusCode::NO_CONTENT);
    let shown = replica.get(PATH).await.json();
    assert_eq!(shown["periods"], json!([period("cus_1", None, Some("2026-12-01"))]));
    assert_eq!(shown["customer"], "cus_1");
    replica.pass(7 * 86_400 * SECOND);
    assert_eq!(replica.get(PATH).await.json()["customer"], Value::Null, "it is 2026-12-01 now");
    // Repeated calls change nothing. The default is today.
    assert_eq!(delete("").await.status, StatusCode::NO_CONTENT);
    assert_eq!(delete("?from=2026-12-01T00:00:00Z").await.status, StatusCode::NO_CONTENT);
    assert_eq!(replica.get("/v1/audit/n").await.json()["lines"].as_array().unwrap().len(), 2);
    assert_eq!(delete("?from=1970-01-01").await.status, StatusCode::NO_CONTENT);
    replica.get(PATH).await.problem(404);
    delete("").await.problem(404);
    for (query, status) in [
        ("?from=soon", 422),
        ("?from=2026-11-24T12:00:00Z", 422),
        ("?reason=", 422),
        ("?day=2026-12-01", 400),
    ] {
        delete(query).await.problem(status);
    }
}

#[tokio::test]
async fn what_makes_no_sense_says_what_to_write() {
    let replica = Replica::new();
    let long = "ä".repeat(256);
    for (spec, hint) in [
        (json!({}), "customer"),
        (json!({ "customer": "" }), "visible"),
        (json!({ "customer": " cus_1" }), "without spaces"),
        (json!({ "customer": "cus_1\n" }), "visible"),
        (json!({ "customer": "cus\u{0}1" }), "visible"),
        (json!({ "customer": "cus\u{200b}1" }), "visible"),
        (json!({ "customer": "\u{feff}cus_1" }), "visible"),
        (json!({ "customer": "cus\u{202e}1" }), "visible"),
        (json!({ "customer": long }), "255"),
        (json!({ "customer": 7 }), "string"),
        (
            json!({ "customer": "c", "starts_at": "2026-11-24T12:00:00Z" }),
            "starts_at is not a day; usage is kept by UTC days",
        ),
        (json!({ "customer": "c", "ends_at": "24.11.2026" }), "ends_at is not a day"),
        (json!({ "customer": "c", "starts_at": 20_000 }), "string"),
        (
            json!({ "customer": "c", "starts_at": "2026-12-01", "ends_at": "2026-12-01" }),
            "not after 2026-12-01",
        ),
        (json!({ "customer": "c", "starts_at": "2026-12-01", "ends_at": "2026-11-01" }), "write a later day"),
        (json!({ "customer": "c", "ends_at": "1970-01-01" }), "not after 1970-01-01"),
        (json!({ "customer": "c", "from": "2026-12-01" }), "unknown field `from`"),
        (json!({ "customer": "c", "reason": " " }), "write why"),
        (json!([]), "struct"),
    ] {
        let detail = replica.put(PATH, &spec).await.problem(422);
        assert!(detail.contains(hint), "{spec}: {detail}");
    }
    replica.get(PATH).await.problem(404);
    assert_eq!(replica.get("/v1/audit/n").await.json()["lines"], json!([]));
    // Without a first day it starts today, once there is a period.
    replica.put(PATH, &json!({ "customer": "c" })).await;
    let detail = replica.put(PATH, &json!({ "customer": "d", "ends_at": "2026-11-24" })).await.problem(422);
    assert!(detail.contains("2026-11-24"), "{detail}");
    for name in [&"ä".repeat(255), "ACME Inc. \"&\" <Söhne>", "=1+1", "%:x"] {
        let put = replica.put(PATH, &json!({ "customer": name })).await;
        assert_eq!(put.json()["customer"], *name, "{}", put.text());
        let listed = replica.get(&format!("/v1/customers/n?customer={}", encoded(name))).await.json();
        assert_eq!(listed["customers"][0]["consumer"], "acme", "{listed}");
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn a_hundred_periods_are_kept_and_no_more() {
    let replica = Replica::new();
    let put = async |day: usize, customer: &str| {
        let (starts, ends) = (format!("20{:02}-01-01", day), format!("20{:02}-01-02", day));
        replica.put(PATH, &json!({ "customer": customer, "starts_at": starts, "ends_at": ends })).await
    };
    for day in 0..99 {
        assert_eq!(put(day, "cus_1").await.status, StatusCode::OK);
    }
    assert_eq!(periods(&replica).await.as_array().unwrap().len(), 99);
    replica.put(PATH, &json!({ "customer": "cus_1", "starts_at": "2140-01-01" })).await;
    let detail = put(99, "cus_1").await.problem(422);
    assert!(detail.contains("more than 100 periods; set one that replaces some"), "{detail}");
    assert_eq!(put(7, "cus_2").await.status, StatusCode::OK, "one is replaced");
    let all = replica.put(PATH, &json!({ "customer": "cus_2", "starts_at": "1970-01-01" })).await.json();
    assert_eq!(all["periods"], json!([period("cus_2", None, None)]));
}

#[tokio::test]
async fn each_change_is_in_the_log_with_what_is_gone_and_what_is_new() {
    let replica = Replica::new();
    replica.put(PATH, &json!({ "customer": "cus_1" })).await;
    let request = Request::put(PATH)
        .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-actor", "ada@example.com")
        .body(Body::from(
            json!({ "customer": "cus_2", "starts_at": "2026-12-01", "reason": "sold" }).to_string(),
        ));
    replica.send(request.unwrap()).await;
    replica.call(Method::DELETE, &format!("{PATH}?from=2027-01-01&reason=over"), ADMIN, None).await;
    let log = replica.get("/v1/audit/n").await.json();
    let [removed, set, first] = &log["lines"].as_array().unwrap()[..] else { panic!("{log}") };
    assert_eq!(
        *first,
        json!({
            "number": 1, "at": "2026-11-24T00:00:00Z", "actor": "admin", "action": "customer_set",
            "consumer": "acme", "reason": "", "before": [], "after": [period("cus_1", None, None)],
        })
    );
    assert_eq!((&set["actor"], &set["reason"]), (&json!("ada@example.com"), &json!("sold")));
    assert_eq!(set["before"], json!([period("cus_1", None, None)]));
    let (one, two) = (period("cus_1", None, Some("2026-12-01")), period("cus_2", Some("2026-12-01"), None));
    assert_eq!(set["after"], json!([one, two]));
    assert_eq!((&removed["action"], &removed["reason"]), (&json!("customer_removed"), &json!("over")));
    assert_eq!(removed["before"], json!([two]), "the first period has not changed");
    assert_eq!(removed["after"], json!([period("cus_2", Some("2026-12-01"), Some("2027-01-01"))]));
    // No gateway has to know of any of this.
    assert_eq!(replica.lease(&wants("acme", 1, 0, 0)).await.revision, 0);
}

#[tokio::test]
async fn consumers_are_listed_in_the_order_of_their_bytes_by_pages_and_by_customer() {
    let replica = Replica::new();
    let mut names: Vec<String> =
        ["B", "a", "a b", "a/b", "b", "ä", "%:caf%E9", "%:a%0Ab", "🚪"].map(Into::into).into();
    for (number, name) in names.iter().enumerate() {
        let customer = if number % 3 == 0 { "cus_1" } else { "cus_2" };
        let put = replica
            .put(&format!("/v1/customers/n/{}", encoded(name)), &json!({ "customer": customer }))
            .await;
        assert_eq!((put.status, &put.json()["consumer"]), (StatusCode::OK, &json!(name)));
    }
    let firsts: Vec<String> = names.iter().step_by(3).cloned().collect();
    names.sort_unstable();
    let read = async |query: &str| {
        let (mut read, mut after) = (Vec::new(), String::new());
        loop {
            let page = replica.get(&format!("/v1/customers/n?{query}{after}")).await.json();
            let rows = page["customers"].as_array().unwrap();
            read.extend(rows.iter().map(|row| row["consumer"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", encoded(next)),
                None => return read,
            }
        }
    };
    assert_eq!(read("").await, names);
    for limit in 1..=10 {
        assert_eq!(read(&format!("limit={limit}")).await, names, "{limit}");
        let of_one = read(&format!("limit={limit}&customer=cus_1")).await;
        assert_eq!(
            of_one.iter().collect::<std::collections::BTreeSet<_>>(),
            firsts.iter().collect(),
            "{limit}"
        );
        assert!(of_one.is_sorted());
    }
    assert_eq!(read("customer=cus_3").await, [""; 0]);
    assert_eq!(read("after=zzzz").await, ["ä", "🚪"]);
    assert_eq!(replica.get("/v1/customers/other").await.json(), json!({ "customers": [], "next": null }));
    // Whoever pays on any day is found, and nobody who pays on none.
    replica.put("/v1/customers/n/b", &json!({ "customer": "cus_9", "starts_at": "2027-01-01" })).await;
    assert_eq!(read("customer=cus_9").await, ["b"]);
    replica.call(Method::DELETE, "/v1/customers/n/b?from=2026-12-01", ADMIN, None).await;
    assert_eq!(read("customer=cus_9").await, [""; 0]);
}

#[tokio::test]
async fn pages_that_cannot_be_are_refused() {
    let replica = Replica::new();
    let (long, longer) = ("n".repeat(4_097), "n".repeat(256));
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "customer=",
        "customer=%00",
        "customer=a%0Ab",
        "customer=%20a",
        "customers=a",
        "limit=1&limit=2",
        &format!("after={long}"),
        &format!("customer={longer}"),
    ] {
        replica.get(&format!("/v1/customers/n?{query}")).await.problem(400);
    }
    for query in ["after=%00", "after=", "limit=1000", "after=a%0Ab", "customer=a&after=%00"] {
        assert_eq!(replica.get(&format!("/v1/customers/n?{query}")).await.status, StatusCode::OK, "{query}");
    }
}

#[tokio::test]
async fn a_long_name_has_to_be_known_if_only_its_beginning_is_given() {
    let replica = Replica::new();
    let name = "n".repeat(2_000);
    let whole = replica.put(&format!("/v1/customers/n/{name}"), &json!({ "customer": "cus_1" })).await.json();
    let short = whole["consumer"].as_str().unwrap();
    let path = format!("/v1/customers/n/{}", encoded(short));
    assert_eq!(replica.get(&path).await.json(), whole);
    replica.put(&path, &json!({ "customer": "cus_2" })).await.problem(404);
    replica.charge(&name, 1).await;
    assert_eq!(replica.put(&path, &json!({ "customer": "cus_2" })).await.json()["customer"], "cus_2");
}
