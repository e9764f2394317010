use super::*;

/// Every call that needs a token, and whether a gateway's token is enough.
const CALLS: [(&str, &str, bool); 17] = [
    ("POST", "/v1/leases", true),
    ("POST", "/v1/check", true),
    ("POST", "/v1/reserve", true),
    ("POST", "/v1/settle", true),
    ("GET", "/v1/usage/n/acme", true),
    ("GET", "/v1/usage/n", false),
    ("GET", "/v1/overrides/n", true),
    ("GET", "/v1/overrides/n/acme", true),
    ("PUT", "/v1/overrides/n/acme", false),
    ("DELETE", "/v1/overrides/n/acme", false),
    ("GET", "/v1/customers/n", false),
    ("GET", "/v1/customers/n/acme", false),
    ("PUT", "/v1/customers/n/acme", false),
    ("DELETE", "/v1/customers/n/acme", false),
    ("GET", "/v1/audit/n", false),
    ("POST", "/v1/reset/n/acme", false),
    ("GET", "/v1/audit/n?limit=1", false),
];

#[tokio::test]
async fn every_call_asks_for_its_token_before_it_reads_anything() {
    let replica = Replica::new();
    for (method, path, is_gateways) in CALLS {
        let method: Method = method.parse().unwrap();
        for token in ["", "wrong-token-000000", &ADMIN[1..], "admin-token-0000012"] {
            let answer = replica.call(method.clone(), path, token, None).await;
            assert!(answer.problem(401).contains("Authorization: Bearer"), "{method} {path}");
            assert_eq!(answer.header(header::WWW_AUTHENTICATE), "Bearer realm=\"tollgate\"");
        }
        let gateways = replica.call(method.clone(), path, GATEWAY, None).await.status;
        assert_eq!(gateways == StatusCode::FORBIDDEN, !is_gateways, "{method} {path}");
        let admins = replica.call(method.clone(), path, ADMIN, None).await.status;
        assert!(admins != StatusCode::FORBIDDEN && admins != StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}

#[tokio::test]
async fn health_and_metrics_need_none_and_tell_of_no_consumer() {
    let replica = Replica::new();
    replica.charge("secret-consumer", 1).await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        let answer = replica.call(Method::GET, path, "", None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!answer.text().contains("secret-consumer"), "{path}");
    }
}

#[tokio::test]
async fn every_path_that_is_described_is_served_and_the_other_way_round() {
    let replica = Replica::new();
    let description = replica.get("/openapi.json").await.json();
    let mut described = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{namespace}", "n").replace("{consumer}", "acme");
            let status = replica.call(method.clone(), &path, "", None).await.status;
            assert!(
                status == StatusCode::OK || status == StatusCode::UNAUTHORIZED,
                "{method} {path}: {status}"
            );
            // A call that nobody has entered there would be tested with no token.
            let is_tested = CALLS.contains(&(method.as_str(), &path, true))
                || CALLS.contains(&(method.as_str(), &path, false));
            assert!(is_tested || !path.starts_with("/v1/"), "CALLS has no {method} {path}");
            described.push(format!("{method} {path}"));
        }
    }
    for (method, path, _) in CALLS.iter().filter(|(_, path, _)| !path.contains('?')) {
        assert!(described.contains(&format!("{method} {path}")), "{method} {path}");
    }
}
