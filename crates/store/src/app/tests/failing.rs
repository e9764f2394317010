//! What callers see if the backend is away, holds nonsense, or never answers.

use super::*;
use crate::accounts::Hold;
use crate::backend::{
    AccountEntry, AccountStore, AppliedBatch, BackendError, Changed, CustomerChange, CustomerPage,
    CustomerQuery, CustomerStore, DayStore, Days, DaysUsed, Mark, NamespaceSnapshot, NamespaceStore,
    OverrideChange, ReservationKey, ReservationStore, Reserved, Settled, Usage,
};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::time::Duration;
use tollgate_core::units::UnixMicros;

#[derive(Clone, Copy)]
enum Failing {
    Away,
    Corrupt,
    Stuck,
}

impl Failing {
    async fn fail<T>(self) -> Result<T, BackendError> {
        match self {
            Self::Away => Err(BackendError::Away("secret-host refused".into())),
            Self::Corrupt => Err(BackendError::Corrupt("secret-key holds x".into())),
            Self::Stuck => std::future::pending().await,
        }
    }

    fn replica(self) -> Replica {
        Replica::on(Arc::new(self), Arc::default(), Bounds::default())
    }
}

#[async_trait]
impl Backend for Failing {
    fn kind(&self) -> &'static str {
        "failing"
    }

    async fn now(&self) -> Result<UnixMicros, BackendError> {
        self.fail().await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.fail().await
    }
}

#[async_trait]
impl AccountStore for Failing {
    async fn apply(&self, _: &str, _: Vec<AccountEntry>) -> Result<AppliedBatch, BackendError> {
        self.fail().await
    }

    async fn usage(&self, _: &str, _: ClientId, _: u16) -> Result<Option<Usage>, BackendError> {
        self.fail().await
    }

    fn usages(&self, _: &str, _: u16) -> BoxStream<'static, Result<Usage, BackendError>> {
        let this = *self;
        stream::once(async move { this.fail().await }).boxed()
    }
}

#[async_trait]
impl DayStore for Failing {
    async fn days_used(&self, _: &str, _: ClientId, _: Days) -> Result<Option<DaysUsed>, BackendError> {
        self.fail().await
    }

    fn all_days_used(&self, _: &str, _: Days) -> BoxStream<'static, Result<DaysUsed, BackendError>> {
        let this = *self;
        stream::once(async move { this.fail().await }).boxed()
    }
}

#[async_trait]
impl ReservationStore for Failing {
    async fn reserve(
        &self,
        _: &str,
        _: ReservationKey,
        _: Vec<u8>,
        _: Hold,
    ) -> Result<Reserved, BackendError> {
        self.fail().await
    }

    async fn settle(&self, _: &str, _: ReservationKey, _: Cost) -> Result<Settled, BackendError> {
        self.fail().await
    }
}

#[async_trait]
impl NamespaceStore for Failing {
    async fn reset(&self, _: &str, _: ClientId, _: bool, _: bool, _: Vec<u8>) -> Result<u64, BackendError> {
        self.fail().await
    }

    async fn change_override(&self, _: &str, _: &str, _: OverrideChange) -> Result<Changed, BackendError> {
        self.fail().await
    }

    async fn revision(&self, _: &str) -> Result<u64, BackendError> {
        self.fail().await
    }

    async fn snapshot(&self, _: &str, _: Mark) -> Result<NamespaceSnapshot, BackendError> {
        self.fail().await
    }

    async fn audit(&self, _: &str, _: Option<u64>, _: usize) -> Result<Vec<(u64, Vec<u8>)>, BackendError> {
        self.fail().await
    }

    async fn document(&self, _: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.fail().await
    }

    async fn put_document(&self, _: &str, _: Vec<u8>) -> Result<(), BackendError> {
        self.fail().await
    }

    async fn namespaces(&self) -> Result<Vec<String>, BackendError> {
        self.fail().await
    }
}

#[async_trait]
impl CustomerStore for Failing {
    async fn customers_of(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.fail().await
    }

    async fn change_customers(&self, _: &str, _: &str, _: CustomerChange) -> Result<bool, BackendError> {
        self.fail().await
    }

    async fn customer_page(&self, _: &str, _: CustomerQuery) -> Result<CustomerPage, BackendError> {
        self.fail().await
    }
}

/// The answers of all calls that need the backend.
async fn all(replica: &Replica) -> Vec<Answer> {
    let check = json!({ "namespace": "n", "consumer": "acme", "tier": "free", "policy": policy() });
    let reserve =
        json!({ "namespace": "n", "consumer": "acme", "tier": "free", "cost": 1, "policy": policy() });
    let reservation = format!("n~{}~{}", id("acme"), id("acme"));
    vec![
        replica.batch(wants("acme", 1, UNIT, 0).to_bytes()).await,
        replica.post("/v1/check", &check).await,
        replica.post("/v1/reserve", &reserve).await,
        replica.post("/v1/settle", &json!({ "reservation": reservation, "cost": 1 })).await,
        replica.get("/v1/usage/n/acme").await,
        replica.get("/v1/usage/n?month=2026-11").await,
        replica.get("/v1/overrides/n").await,
        replica.get("/v1/overrides/n/acme").await,
        replica.put("/v1/overrides/n/acme", &json!({ "tier": "free", "reason": "x" })).await,
        replica.call(Method::DELETE, "/v1/overrides/n/acme", ADMIN, None).await,
        replica.get("/v1/customers/n").await,
        replica.get("/v1/customers/n/acme").await,
        replica.put("/v1/customers/n/acme", &json!({ "customer": "cus_1" })).await,
        replica.call(Method::DELETE, "/v1/customers/n/acme", ADMIN, None).await,
        replica.get("/v1/audit/n").await,
        replica.post("/v1/reset/n/acme", &json!({ "bucket": true, "reason": "x" })).await,
        replica.get("/readyz").await,
    ]
}

#[tokio::test]
async fn a_backend_that_is_away_is_503_with_when_to_come_back() {
    let replica = Failing::Away.replica();
    for answer in all(&replica).await {
        assert!(!answer.problem(503).contains("secret"));
        assert_eq!(answer.header(header::RETRY_AFTER), "1");
    }
    assert_eq!(replica.get("/healthz").await.status, StatusCode::OK);
    let metrics = replica.get("/metrics").await.text();
    assert!(metrics.contains("\ntollgate_store_backend_up 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_backend_that_holds_nonsense_is_500_without_the_details() {
    let mut answers = all(&Failing::Corrupt.replica()).await;
    answers.pop().unwrap().problem(503);
    for answer in answers {
        assert!(!answer.problem(500).contains("secret"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_never_answers_is_given_up_in_time() {
    let began = tokio::time::Instant::now();
    for answer in all(&Failing::Stuck.replica()).await {
        answer.problem(503);
    }
    assert!(began.elapsed() <= Bounds::default().backend_time * 17);
}

#[tokio::test]
async fn more_at_once_than_is_taken_is_503_and_health_is_still_told() {
    let full = Bounds { requests: 0, ..Bounds::default() };
    let replica = Replica::new();
    let replica = Replica::on(Arc::clone(&replica.backend), Arc::clone(&replica.now), full);
    let answer = replica.batch(wants("acme", 1, UNIT, 0).to_bytes()).await;
    assert!(answer.problem(503).contains("too busy"));
    assert_eq!(answer.header(header::RETRY_AFTER), "1");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(replica.get(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up_in_time() {
    let replica = Replica::new();
    let body = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = Request::post("/v1/check")
        .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
        .header(header::CONTENT_TYPE, "application/json");
    let answer =
        tokio::time::timeout(Duration::from_secs(60), replica.send(request.body(body).unwrap())).await;
    answer.unwrap().problem(503);
}
