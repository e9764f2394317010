//! The cost of one change, counted in allocations and in bytes on the wire, not in time.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use axum::http::StatusCode;
use tollgate_store::backend::redis::Redis;
use tollgate_store::backend::{Backend, open};
use tollgate_testkit::redis::Server;

use super::Replica;

/// Changes counted together: one alone may make a map grow.
const CHANGES: usize = 40;

struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: it does what the system's allocator does, and counts the bytes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|bytes| bytes.set(bytes.get() + layout.size() as u64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

async fn fill(replica: &Replica, from: usize, to: usize) {
    for number in from..to {
        let (status, answer) = replica.put(&format!("c{number}"), "many").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
}

/// Bytes that this thread allocates for changes of existing overrides, and for new ones.
async fn allocated(replica: &Replica, round: usize) -> u64 {
    let before = ALLOCATED.get();
    for number in 0..CHANGES / 2 {
        replica.put(&format!("c{number}"), "again").await;
        replica.put(&format!("round {round} number {number}").replace(' ', "-"), "new").await;
    }
    ALLOCATED.get() - before
}

#[tokio::test]
async fn a_change_allocates_the_same_among_four_thousand_as_among_five_hundred() {
    let backend = open::open("memory").await.unwrap();
    let replica = Replica::on(&backend);
    replica.know_tiers().await;
    fill(&replica, 0, 500).await;
    allocated(&replica, 0).await;
    let few = allocated(&replica, 1).await;
    fill(&replica, 500, 4_000).await;
    let many = allocated(&replica, 2).await;
    println!("{} bytes a change among 500, {} among 4,000", few / CHANGES as u64, many / CHANGES as u64);
    assert!(many < few * 3 / 2, "{few} bytes among 500 overrides, {many} among 4,000");
}

#[tokio::test]
async fn a_change_moves_as_many_bytes_from_redis_among_four_thousand_as_among_five_hundred() {
    let server = Server::start_volatile().unwrap();
    let backend: Arc<dyn Backend> =
        Arc::new(Redis::open(&format!("{}?timeout=10s", server.url())).await.unwrap());
    let replica = Replica::on(&backend);
    let moved = || {
        let stats = server.ask(&["INFO", "stats"]).unwrap();
        let value = stats.lines().find_map(|line| line.trim().strip_prefix("total_net_output_bytes:"));
        value.unwrap().parse::<u64>().unwrap()
    };
    replica.know_tiers().await;
    fill(&replica, 0, 500).await;
    let mut costs = Vec::new();
    for (round, overrides) in [500, 4_000].into_iter().enumerate() {
        fill(&replica, 500, overrides).await;
        let before = moved();
        allocated(&replica, round).await;
        costs.push(moved() - before);
    }
    println!("{costs:?} bytes from Redis for {CHANGES} changes");
    // They include the server's own answer about its statistics.
    assert!(costs[1] < costs[0] * 3 / 2, "{costs:?}");
}
