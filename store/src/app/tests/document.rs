//! `docs/store.md` does what it says.

use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/store.md");

/// The words of a command line: spaces part them, but for those in quotes.
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

/// The request that curl makes of `line`.
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
