use super::super::check::{Configured, Offered};
use super::*;
use proptest::prelude::*;
use tollgate_core::account::{Account, Verdict, decide_all};
use tollgate_core::headers::{TierHeaders, announce, refused};
use tollgate_core::policy::{HeaderFamilies, Policy};
use tollgate_core::units::{Cost, UnixNanos};

const BOTH: HeaderFamilies = HeaderFamilies { x_ratelimit: true, ietf: true };

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn whole() -> Value {
    json!({
        "tiers": {
            "free": { "rate": [{ "rate": "20/second", "burst": 1 }, "100/minute"], "burst": 1.5, "monthly": 300 },
            "partner": { "rate": "unlimited" },
        },
        "default_tier": "free",
        "default_cost": 2,
        "anonymous": { "rate": "30/minute" },
        "overrides": [{ "consumer": "billing", "tier": "partner" }],
    })
}

fn body(policy: &Value) -> Value {
    json!({ "namespace": "n", "consumer": "acme", "policy": policy })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// The store decides like a node that is alone, and answers with the same headers.
    #[test]
    fn a_decision_is_the_filters(steps in prop::collection::vec((0..3_000_000_u64, 1..40_000_u64), 1..40)) {
        let replica = Replica::new();
        let policy = Policy::from_value(&whole()).unwrap();
        let tier = &policy.tiers[0];
        let texts = TierHeaders::new(tier);
        let mut account = Account::default();
        for (micros, milli) in steps {
            replica.pass(micros);
            let now = UnixNanos(replica.now.load(Ordering::Relaxed) * 1_000);
            let verdict = decide_all(&mut account, tier, Cost(milli), now);
            if verdict == Verdict::Never { continue }
            let mut expected = json!({});
            announce(tier, &texts, &account, now, BOTH, &mut |name, value| {
                if let Some(value) = value { expected[name] = String::from_utf8_lossy(value).into() }
            });
            let mut check = body(&whole());
            check["cost"] = serde_json::from_str(&Cost(milli).to_string()).unwrap();
            let decision = block_on(replica.post("/v1/check", &check)).json();
            if let Verdict::NotNow(refusal) = verdict {
                let document = refused(tier, &texts, &refusal, now);
                expected["Retry-After"] = document.retry_after.to_string().into();
                expected["Cache-Control"] = "no-store".into();
                expected["Content-Type"] = "application/problem+json".into();
                prop_assert_eq!(&decision["problem"], &serde_json::from_str::<Value>(&document.body).unwrap());
                prop_assert_eq!(&decision["retry_after"], document.retry_after);
            }
            prop_assert_eq!(&decision["allowed"], verdict == Verdict::Allowed);
            // The store's clock counts microseconds. It rounds a bucket's level up to a thousandth of a unit, so a
            // moment that close to a whole second may become the next one.
            let reset = decision["reset"].as_u64().unwrap();
            let exact: u64 = expected["X-RateLimit-Reset"].as_str().unwrap().parse().unwrap();
            prop_assert!(reset == exact || reset == exact + 1, "{} {}", reset, exact);
            expected["X-RateLimit-Reset"] = reset.to_string().into();
            prop_assert_eq!(&decision["headers"], &expected);
            prop_assert_eq!(decision["remaining"].to_string(), expected["X-RateLimit-Remaining"].as_str().unwrap());
        }
    }
}

#[tokio::test]
async fn a_whole_policy_says_tier_cost_and_overrides() {
    let replica = Replica::new();
    let decision = replica.post("/v1/check", &body(&whole())).await.json();
    assert_eq!((&decision["tier"], &decision["monthly_remaining"]), (&json!("free"), &json!(298)));
    let mut billing = body(&whole());
    billing["consumer"] = "billing".into();
    billing["tier"] = "free".into();
    let decision = replica.post("/v1/check", &billing).await.json();
    assert_eq!(decision["headers"], json!({ "X-Quota-Tier": "partner" }));
    assert_eq!(decision["limit"], Value::Null);
    let used = replica.get("/v1/usage/n/billing").await.json();
    assert_eq!(
        (&used["used"], &used["limit"]),
        (&json!(2), &Value::Null),
        "billing counts what is not limited"
    );
}

#[tokio::test]
async fn a_tier_that_was_told_of_needs_no_policy_on_any_replica() {
    let replica = Replica::new();
    replica.charge("acme", 1).await;
    let without = json!({ "namespace": "n", "consumer": "acme", "tier": "pro" });
    assert_eq!(replica.post("/v1/check", &without).await.json()["limit"], 1_000);
    replica.store.refresh().await;
    let other = replica.beside();
    assert_eq!(other.post("/v1/check", &without).await.json()["limit"], 1_000);
    let unknown = json!({ "namespace": "n", "consumer": "acme", "tier": "gold" });
    let detail = other.post("/v1/check", &unknown).await.problem(422);
    assert!(detail.contains("\"gold\"") && detail.contains("enterprise, free, pro"), "{detail}");
    other.post("/v1/check", &json!({ "namespace": "n", "consumer": "acme" })).await.problem(422);
}

#[tokio::test]
async fn what_costs_nothing_is_never_counted() {
    let replica = Replica::new();
    let mut free = body(&whole());
    free["cost"] = 0.into();
    let decision = replica.post("/v1/check", &free).await.json();
    assert_eq!((&decision["allowed"], &decision["headers"]), (&json!(true), &json!({})));
    replica.get("/v1/usage/n/acme").await.problem(404);
}

#[tokio::test]
async fn shadow_lets_pass_what_it_would_refuse_and_off_counts_nothing() {
    let replica = Replica::new();
    let mut policy = whole();
    policy["enforcement"] = "shadow".into();
    let mut check = body(&policy);
    check["cost"] = 20.into();
    assert_eq!(replica.post("/v1/check", &check).await.json()["outcome"], "allowed");
    let decision = replica.post("/v1/check", &check).await.json();
    assert_eq!((&decision["outcome"], &decision["allowed"]), (&json!("shadow_refused"), &json!(true)));
    assert_eq!(decision["headers"]["X-RateLimit-Remaining"], "0");
    policy["enforcement"] = "off".into();
    let decision = replica.post("/v1/check", &body(&policy)).await.json();
    assert_eq!(decision["headers"], json!({}));
}

#[tokio::test]
async fn a_cost_that_no_bucket_holds_is_refused_for_good() {
    let replica = Replica::new();
    let decision = replica.charge("acme", 151).await;
    assert_eq!((&decision["allowed"], &decision["status"]), (&json!(false), &json!(429)));
    assert_eq!(decision["retry_after"], Value::Null);
    assert!(decision["problem"]["detail"].as_str().unwrap().contains("more than tier free can ever allow"));
}

#[tokio::test]
async fn an_override_counts_for_applications_too_and_headers_can_be_left_out() {
    let replica = Replica::new();
    replica.charge("acme", 1).await;
    replica.put("/v1/overrides/n/acme", &json!({ "tier": "pro", "reason": "x" })).await;
    let decision = replica.charge("acme", 1).await;
    assert_eq!((&decision["tier"], &decision["limit"]), (&json!("pro"), &json!(1_000)));
    let mut policy = whole();
    policy["headers"] = json!({ "x_ratelimit": false });
    let decision = replica.post("/v1/check", &body(&policy)).await.json();
    let names: Vec<_> = decision["headers"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["RateLimit", "RateLimit-Policy"]);
    assert!(decision["limit"].is_u64(), "an application can still know");
}

#[tokio::test]
async fn a_policy_that_cannot_work_is_refused_with_its_path() {
    let replica = Replica::new();
    let wrong = json!({ "tiers": { "free": { "rate": "100/mnth" } } });
    let detail = replica.post("/v1/check", &body(&wrong)).await.problem(422);
    assert!(detail.contains("policy.tiers.free.rate: \"100/mnth\" is not a rate"), "{detail}");
    for policy in [json!([]), json!("x"), json!(7), json!({}), json!({ "tiers": {} }), json!({ "tiers": [] })]
    {
        let answer = replica.post("/v1/check", &body(&policy)).await;
        assert!(answer.problem(422).starts_with("policy"), "{policy}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_key_that_stands_twice_is_refused_wherever_it_stands() {
    let replica = Replica::new();
    let send = async |path: &str, method: Method, body: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
            .header(header::CONTENT_TYPE, "application/json");
        replica.send(request.body(Body::from(body.to_owned())).unwrap()).await.problem(422)
    };
    let policy = r#""policy": {"tiers": {"free": {"rate": "1/day"}, "pro": {"rate": "1/day"}, "free": {"rate": "9/day"}}}"#;
    let body = format!(r#"{{"namespace": "n", "consumer": "a", "tier": "free", {policy}}}"#);
    let detail = send("/v1/check", Method::POST, &body).await;
    assert!(detail.contains("policy.tiers.free: is written twice"), "{detail}");
    let body = r#"{"namespace": "n", "consumer": "a", "tier": "free", "tier": "pro"}"#;
    assert!(send("/v1/check", Method::POST, body).await.contains("duplicate field `tier`"));
    replica.charge("acme", 1).await;
    let body = r#"{"rate": [{"rate": "1/day", "rate": "9/day"}], "reason": "x"}"#;
    let detail = send("/v1/overrides/n/acme", Method::PUT, body).await;
    assert!(detail.contains("[0].rate: is written twice"), "{detail}");
}

/// What `--policy` gives the store for a policy.
fn configured(policy: &Value) -> Configured {
    let policy = Policy::from_value(policy).unwrap();
    let offered = Offered::of(&policy).unwrap();
    [(policy.namespace, Arc::new(offered))].into()
}

/// A replica that was started with the policy `n`, and that policy.
fn with_policy() -> (Replica, Value) {
    let (replica, mut policy) = (Replica::new(), whole());
    policy["namespace"] = "n".into();
    replica.store.configure(configured(&policy));
    (replica, policy)
}

async fn decision(replica: &Replica, consumer: &str, rest: Value) -> Value {
    let mut body = rest;
    (body["namespace"], body["consumer"]) = ("n".into(), consumer.into());
    replica.post("/v1/check", &body).await.json()
}

#[tokio::test]
async fn a_policy_that_the_store_was_given_says_tiers_and_defaults_before_any_gateway_speaks() {
    let (replica, _) = with_policy();
    // An override before the first traffic.
    let put = replica.put("/v1/overrides/n/acme", &json!({ "tier": "partner", "reason": "x" })).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text());
    let free = decision(&replica, "globex", json!({})).await;
    assert_eq!(
        (&free["tier"], &free["monthly_remaining"]),
        (&json!("free"), &json!(298)),
        "its default_cost, too"
    );
    assert_eq!(decision(&replica, "acme", json!({})).await["tier"], "partner");
    assert_eq!(decision(&replica, "billing", json!({ "tier": "free" })).await["tier"], "partner");
    replica.post("/v1/check", &json!({ "namespace": "other", "consumer": "globex" })).await.problem(422);
}

#[tokio::test]
async fn what_gateways_tell_changes_no_tier_of_a_policy_that_the_store_was_given() {
    let (replica, _) = with_policy();
    let reply = replica.lease(&wants("initech", 1, UNIT, 0)).await;
    assert_eq!(reply.answers.len(), 1);
    let free = decision(&replica, "globex", json!({ "tier": "free", "cost": 1 })).await;
    assert_eq!(free["limit"], 20, "the policy's own, not the gateway's 100 a minute");
    // New names are learned as ever.
    assert_eq!(decision(&replica, "globex", json!({ "tier": "pro" })).await["limit"], 1_000);
}

#[tokio::test]
async fn a_policy_that_is_read_again_counts_at_once_also_for_overrides_to_its_tiers() {
    let (replica, mut policy) = with_policy();
    replica.put("/v1/overrides/n/acme", &json!({ "tier": "partner", "reason": "x" })).await;
    replica.store.refresh().await;
    policy["tiers"]["free"]["monthly"] = 1_000.into();
    policy["tiers"]["partner"]["monthly"] = 7_000.into();
    replica.store.configure(configured(&policy));
    let free = decision(&replica, "globex", json!({ "tier": "free", "cost": 1 })).await;
    assert_eq!(free["monthly_remaining"], 999);
    assert_eq!(replica.get("/v1/overrides/n/acme").await.json()["offer"]["monthly"], 7_000);
}
