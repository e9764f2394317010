//! A hundred thousand consumers that have customers, read in little memory on every backend.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop where it fails"
)]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use tollgate_core::limit::Day;
use tollgate_store::app;
use tollgate_store::app::access::Tokens;
use tollgate_store::app::state::{Bounds, Store};
use tollgate_store::backend::redb::Redb;
use tollgate_store::backend::redis::Redis;
use tollgate_store::backend::{Backend, CustomerChange, all_customers, open};
use tollgate_store::customers::{Periods, customer_at};
use tollgate_testkit::redis::Server;
use tower::ServiceExt as _;

const CONSUMERS: usize = 100_000;

/// Every so many consumers have the same customer.
const CUSTOMERS: usize = 200;

/// What a walk may hold at any time, in bytes. All rows would be five times as much.
const MOST: i64 = 2 << 20;

/// The bytes that are allocated now, and the most that ever were since this was last set.
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: it does what the system's allocator does, and counts the bytes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let bytes = layout.size() as i64;
        PEAK.fetch_max(LIVE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

fn consumer(number: usize) -> String {
    format!("consumer {:06}", number * 7_919 % CONSUMERS)
}

async fn fill(backend: &Arc<dyn Backend>) {
    let changes = (0..CONSUMERS).map(|number| {
        let customer = format!("cus_{}", number % CUSTOMERS);
        let periods = Periods::default().with(Some(&customer), Day::FIRST, None);
        let change = CustomerChange {
            after: Some(periods.to_bytes()),
            joined: vec![customer],
            line: b"line".to_vec(),
            ..CustomerChange::default()
        };
        async move { assert!(backend.change_customers("n", &consumer(number), change).await.unwrap()) }
    });
    stream::iter(changes).for_each_concurrent(256, |change| change).await;
}

async fn walk(backend: &Arc<dyn Backend>) {
    let walked = all_customers(Arc::clone(backend), "n").try_fold(0, async |count, (name, periods)| {
        assert_eq!(name, format!("consumer {count:06}"));
        assert!(customer_at(periods.as_slice(), Day::FIRST).is_some());
        Ok(count + 1)
    });
    assert_eq!(walked.await.unwrap(), CONSUMERS);
}

/// Reads all pages of the API for `query`. The result is how many rows they have.
async fn pages(backend: &Arc<dyn Backend>, query: &str) -> usize {
    let app = app::app(Store::new(Arc::clone(backend), Tokens::default(), Bounds::default()).unwrap());
    let (mut count, mut after) = (0, String::new());
    loop {
        let request = Request::get(format!("/v1/customers/n?limit=1000{query}{after}")).body(Body::empty());
        let response = app.clone().oneshot(request.unwrap()).await.unwrap();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let page: Value = serde_json::from_slice(&bytes).unwrap();
        count += page["customers"].as_array().unwrap_or_else(|| panic!("{page}")).len();
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace(' ', "%20")),
            None => return count,
        }
    }
}

/// How many bytes more than before were allocated at some time of `work`.
async fn grown_by(work: impl Future<Output = ()>) -> i64 {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    work.await;
    PEAK.load(Relaxed) - before
}

/// It is one test, because the count is of the whole process.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_consumers_are_read_in_constant_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_volatile().unwrap();
    let redb = Redb::open(directory.path().join("store.redb")).await.unwrap();
    let redis = Redis::open(&format!("{}?timeout=10s", server.url())).await.unwrap();
    for backend in [open::open("memory").await.unwrap(), Arc::new(redb), Arc::new(redis)] {
        fill(&backend).await;
        // The file's pages are in the cache after the first time.
        walk(&backend).await;
        let walked = grown_by(walk(&backend)).await;
        let paged = grown_by(async { assert_eq!(pages(&backend, "").await, CONSUMERS) }).await;
        let of_one = grown_by(async {
            assert_eq!(pages(&backend, "&customer=cus_7").await, CONSUMERS / CUSTOMERS);
        });
        let of_one = of_one.await;
        println!(
            "{}: {walked} bytes for the walk, {paged} for the pages, {of_one} for one customer",
            backend.kind()
        );
        assert!(
            walked < MOST && paged < MOST && of_one < MOST,
            "{}: {walked}, {paged}, {of_one}",
            backend.kind()
        );
    }
    let used =
        |key: &str| server.ask(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).unwrap().parse::<usize>().unwrap();
    let bytes = (used("tollgate:p:{n:}") + used("tollgate:i:{n:}")) / CONSUMERS;
    println!("{bytes} bytes of Redis per consumer");
    assert!(bytes < 500, "docs/redis-keys.md says how much a consumer takes");
}
