//! `docs/store.md` does what it says.

use super::*;

const DOCUMENT: &str = include_str!("../../../../../docs/store.md");

/// The words of a command line. They are separated by spaces, except in quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for letter in line.chars() {
        match (letter, quote) {
            ('\'' | '"', None) => quote = Some(letter),
            (_, Some(open)) if open == letter => quote = None,
            (' ', None) => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words
}

/// The request that curl would make of `line`.
fn request(line: &str) -> Request<Body> {
    let (mut request, mut method, mut body) = (Request::builder(), Method::GET, Body::empty());
    let mut words = words(line).into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-H" => {
                let header = words.next().unwrap();
                let header = header.replace("$GATEWAY", &format!("Authorization: Bearer {GATEWAY}"));
                let header = header.replace("$ADMIN", &format!("Authorization: Bearer {ADMIN}"));
                let (name, value) = header.split_once(": ").unwrap();
                request = request.header(name, value);
            }
            "--json" => {
                body = Body::from(words.next().unwrap());
                request = request.header(header::CONTENT_TYPE, "application/json");
                if method == Method::GET {
                    method = Method::POST;
                }
            }
            "-X" => method = words.next().unwrap().parse().unwrap(),
            url => request = request.uri(url.strip_prefix("$STORE").unwrap()),
        }
    }
    request.method(method).body(body).unwrap()
}

#[tokio::test]
async fn every_example_works_in_the_order_in_which_it_is_read() {
    let replica = Replica::new();
    let mut tried = 0;
    for line in DOCUMENT.lines().filter_map(|line| line.strip_prefix("$ curl ")) {
        let answer = replica.send(request(line)).await;
        assert!(answer.status.is_success(), "{line}: {}", answer.text());
        tried += 1;
    }
    assert!(tried >= 15, "{tried} examples were found");
}

#[tokio::test]
async fn every_call_and_every_metric_is_written_about() {
    let replica = Replica::new();
    for path in replica.get("/openapi.json").await.json()["paths"].as_object().unwrap().keys() {
        let root = path.split("/{").next().unwrap();
        assert!(DOCUMENT.contains(root), "{path}");
    }
    replica.lease(&wants("acme", 1, 0, 0)).await;
    replica.charge("acme", 1).await;
    let metrics = replica.get("/metrics").await.text();
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut found = 0;
    for name in names {
        assert!(DOCUMENT.contains(&format!("| `{name}")), "{name}");
        found += 1;
    }
    assert_eq!(found, 7);
}

#[tokio::test]
async fn every_problem_is_described() {
    let described = Replica::new().get("/openapi.json").await.json();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let place = format!("{method} {path}");
            for (status, response) in call["responses"].as_object().unwrap() {
                assert_ne!(response["description"].as_str().unwrap_or_default(), "", "{place}: {status}");
                let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
                let is_problem = status.parse::<u16>().unwrap() >= 400;
                let wanted = if is_problem { json!("#/components/schemas/Problem") } else { json!(null) };
                assert_eq!(*problem, wanted, "{place}: {status}");
            }
            if path.starts_with("/v1/") {
                let of_body: &[&str] =
                    if call["requestBody"].is_null() { &[] } else { &["413", "415", "422"] };
                for status in ["400", "401", "403", "503"].iter().chain(of_body) {
                    assert!(call["responses"][status].is_object(), "{place}: {status}");
                }
            }
        }
    }
}

/// Every text and number that a request may contain, and its place in the description.
fn leaves<'a>(schema: &'a Value, document: &'a Value, place: &str, found: &mut Vec<(String, &'a Value)>) {
    if let Some(name) = schema["$ref"].as_str() {
        return leaves(document.pointer(name.trim_start_matches('#')).unwrap(), document, place, found);
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        for choice in schema[word].as_array().into_iter().flatten() {
            leaves(choice, document, place, found);
        }
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        leaves(field, document, &format!("{place}.{name}"), found);
    }
    if schema["items"].is_object() {
        leaves(&schema["items"], document, &format!("{place}[]"), found);
    }
    found.push((place.to_owned(), schema));
}

#[tokio::test]
async fn every_bound_that_a_check_has_is_described() {
    let described = Replica::new().get("/openapi.json").await.json();
    let mut found = Vec::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let place = format!("{method} {path}");
            for parameter in call["parameters"].as_array().into_iter().flatten() {
                let place = format!("{place} {}", parameter["name"].as_str().unwrap());
                leaves(&parameter["schema"], &described, &place, &mut found);
            }
            for content in call["requestBody"]["content"].as_object().into_iter().flatten() {
                leaves(&content.1["schema"], &described, &place, &mut found);
            }
        }
    }
    for (place, schema) in &found {
        let is = |kind: &str| {
            schema["type"] == kind
                || schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!(kind)))
        };
        let has = |words: &[&str]| words.iter().any(|word| !schema[*word].is_null());
        assert!(!is("string") || has(&["maxLength", "pattern", "enum"]), "{place}: {schema}");
        assert!(
            !(is("number") || is("integer")) || (has(&["maximum"]) && has(&["minimum"])),
            "{place}: {schema}"
        );
        assert!(!is("array") || has(&["maxItems"]), "{place}: {schema}");
    }
    assert!(found.len() > 30, "{}", found.len());
}

#[tokio::test]
async fn what_is_described_is_taken_to_its_last_character_and_not_beyond() {
    let replica = Replica::new();
    replica.charge("acme", 1).await;
    let described = replica.get("/openapi.json").await.json();
    let bound = |schema: &str, property: &str, word: &str| {
        described["components"]["schemas"][schema]["properties"][property][word].as_u64().unwrap() as usize
    };
    let put = |wish: Value| {
        let replica = &replica;
        async move { replica.put("/v1/overrides/n/acme", &wish).await.status.as_u16() }
    };
    let reason = bound("OverrideSpec", "reason", "maxLength");
    for (length, status) in [(1, 200), (reason, 200), (reason + 1, 422), (0, 422)] {
        assert_eq!(put(json!({ "tier": "pro", "reason": "r".repeat(length) })).await, status, "{length}");
    }
    let bonus = bound("OverrideSpec", "bonus", "maximum") as u64;
    for (bonus, status) in [(0, 200), (bonus - 1_000_000, 200), (bonus + 1, 422)] {
        assert_eq!(put(json!({ "tier": "pro", "bonus": bonus, "reason": "x" })).await, status, "{bonus}");
    }
    let moment = bound("OverrideSpec", "expires_at", "maxLength");
    for (length, status) in [(moment, 200), (moment + 1, 422)] {
        let expires_at = format!("9999-12-31T23:59:59.{}Z", "9".repeat(length - 21));
        assert_eq!(
            put(json!({ "tier": "pro", "expires_at": expires_at, "reason": "x" })).await,
            status,
            "{length}"
        );
    }
    let consumer = bound("Check", "consumer", "maxLength");
    for (length, status) in [(consumer, 200), (consumer + 1, 400)] {
        let check = json!({ "namespace": "n", "consumer": "ä".repeat(length), "tier": "free" });
        assert_eq!(replica.post("/v1/check", &check).await.status.as_u16(), status, "{length}");
    }
    let cost = &described["components"]["schemas"]["Check"]["properties"]["cost"]["maximum"];
    assert_eq!(cost.to_string(), "4503599627370.496");
}
