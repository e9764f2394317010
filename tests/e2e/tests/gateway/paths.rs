//! Spellings of a path: none that reaches the upstream has a lower price.

use tollgate_e2e::caller::Caller;
use tollgate_e2e::gateway::Gateway;
use tollgate_e2e::spelled;
use tollgate_e2e::standing::{OURS, Standing};
use tollgate_spellings::generator::Spellings;

use crate::{Behaviour, behaviours};

pub const BEHAVIOURS: &[Behaviour] = behaviours![
    no_spelling_of_a_dear_path_is_cheap,
    no_spelling_of_a_free_path_carries_another_through,
    whatever_reaches_the_upstream_was_paid_for,
];

/// Spellings of /compare, and some that are almost one. Gateways refuse or normalize many of them.
const OF_A_DEAR_PATH: [&str; 27] = [
    "/compare",
    "//compare",
    "///compare",
    "/./compare",
    "/././/compare",
    "/x/../compare",
    "/../compare",
    "/%63ompare",
    "/%43ompare",
    "/com%70are",
    "/%2e/compare",
    "/%2E%2E/compare",
    "/x/%2e%2e/compare",
    "/%2fcompare",
    "/%2Fcompare",
    "/compare/",
    "/compare/.",
    "/compare//",
    "/compare%2f",
    "/compare?",
    "/compare?a=/health",
    "/compare#/health",
    "/compare;a=b",
    "/compare%20",
    "/compare%00",
    "/%2563ompare",
    "\\compare",
];

/// Ways that lead from the free path to the dear one.
const FROM_A_FREE_PATH: [&str; 16] = [
    "/health/../compare",
    "/health/%2e%2e/compare",
    "/health/..%2fcompare",
    "/health%2f..%2fcompare",
    "/health%2F%2E%2E%2Fcompare",
    "/health/./../compare",
    "/health//../compare",
    "/health/x/../../compare",
    "/health\\..\\compare",
    "/health/..\\compare",
    "/health;/../compare",
    "/health#/../compare",
    "/health%2f..@/../compare",
    "/health%2f;/../compare",
    "/health/..;/compare",
    "/health/..;a=b/compare",
];

/// The cost of a request for a path, by the month's count, and the path that reached the upstream; `None` if none did.
fn price(caller: &mut Caller<'_>, path: &str) -> Option<(u64, String)> {
    let before = Standing::of(&caller.get("/identify")).month_left.expect("a monthly quota");
    let response = caller.get(path);
    if response.status != 200 {
        return None;
    }
    let reached = response.json()["path"].as_str().expect("a path").to_owned();
    let nothing_said = OURS.iter().all(|name| response.header(name).is_none());
    let price = if nothing_said { 0 } else { before - Standing::of(&response).month_left.expect("a month") };
    Some((price, reached))
}

/// The price of the path that reached the upstream. Any path but the other sample paths is a spelling of the dear one.
fn price_of_reached(path: &str) -> u64 {
    match path.split(['?', '#']).next() {
        Some("/health") => 0,
        Some("/identify" | "/batch") => 1,
        _ => 2,
    }
}

fn no_spelling_of_a_dear_path_is_cheap(gateway: &Gateway) {
    all_have_their_price(&mut gateway.consumer("pro-04"), &OF_A_DEAR_PATH);
}

fn no_spelling_of_a_free_path_carries_another_through(gateway: &Gateway) {
    all_have_their_price(&mut gateway.consumer("pro-05"), &FROM_A_FREE_PATH);
}

/// Gateways refuse most of these; a few hundred arrive.
fn whatever_reaches_the_upstream_was_paid_for(gateway: &Gateway) {
    const SEED: u64 = 13;
    let mut caller = gateway.consumer("pro-06");
    let targets = Spellings::new(SEED, &["compare", "health", "identify"]).take(4_000);
    let tally = spelled::are_paid_for(|target| caller.get(target), targets, spelled::sample_price);
    let arrived = tally.statuses.get(&200).copied().unwrap_or_default();
    assert!(arrived > 300 && tally.changed > 100, "{tally:?}");
    assert!(!tally.statuses.contains_key(&500), "{tally:?}");
}

fn all_have_their_price(caller: &mut Caller<'_>, paths: &[&str]) {
    for path in paths {
        if let Some((price, reached)) = price(caller, path) {
            assert!(price >= price_of_reached(&reached), "{path} reached {reached}, charged {price}");
        }
    }
}
