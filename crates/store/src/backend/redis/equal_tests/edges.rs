//! The Lua and the Rust at edges that a random step seldom reaches.

use super::*;
use tollgate_core::units::{Cost, UnixMicros};

#[test]
fn lua_and_rust_agree_where_more_nodes_ask_than_an_account_remembers() {
    let server = Server::start().unwrap();
    runtime().block_on(async {
        let redis = open(&server).await;
        let rate = Rate { units: 1_000_000, seconds: 1, burst: 100 };
        let offer = Offer { tier: String::new(), rates: vec![rate], monthly: Some(1_000_000_000) };
        let mut pair = pair(redis, 0, NOW, vec![Arc::new(offer.terms().unwrap())]);
        for round in 0..3_u64 {
            for node in 0..300_u64 {
                // Some nodes keep what they have and cannot be forgotten. Later almost all do.
                let need = if node % (7 - 3 * round) == 0 { 0 } else { 1_000 };
                let deed = Deed::Report {
                    node,
                    step: 1,
                    is_new: false,
                    spends: node % 3,
                    keeps: need,
                    need,
                    want: 0,
                    turn: 0,
                };
                pair.act(&Step::Time(1_000)).await;
                pair.act(&Step::Batch(vec![(0, 0, None, deed)])).await;
            }
        }
    });
}

#[test]
fn lua_and_rust_agree_on_the_edges_of_a_charge() {
    let server = Server::start().unwrap();
    runtime().block_on(async {
        // A microsecond is the least that can be missing, and the month has two units more than the bucket.
        let rate = Rate { units: 6, seconds: 60, burst: 100 };
        let offer = Offer { tier: String::new(), rates: vec![rate], monthly: Some(8) };
        let terms = offer.terms().unwrap();
        assert_eq!(terms.buckets[0].drain, 1);
        let mut pair = pair(open(&server).await, 0, NOW, vec![Arc::new(terms)]);
        let mut passed = Vec::new();
        let times =
            [0; 7].into_iter().chain([10 * SECOND as i64 - 1, 1, 10 * SECOND as i64, 10 * SECOND as i64]);
        // Clocks step back by just as much as is tolerated, and by more.
        for by in times.chain([-(SECOND as i64), SECOND as i64, -(SECOND as i64) - 1]) {
            pair.act(&Step::Time(by)).await;
            let before =
                pair.stored.get(&0).map_or(0, |stored| stored.account.used(month_of(UnixMicros(pair.now))).0);
            pair.act(&Step::Batch(vec![(0, 0, None, Deed::Charge(1_000))])).await;
            passed.push(pair.stored[&0].account.used(month_of(UnixMicros(pair.now))) > Cost(before));
            // This client's month and bucket always have room.
            pair.act(&Step::Batch(vec![(1, 0, None, Deed::Charge(1))])).await;
        }
        let expected = [[true; 6].as_slice(), &[false, false, true, true], &[false; 4]].concat();
        assert_eq!(passed, expected);
    });
}

#[test]
fn lua_knows_the_calendar() {
    let server = Server::start().unwrap();
    runtime().block_on(async {
        let redis = open(&server).await;
        let offer = Arc::new(Offer { monthly: Some(1_000), ..Offer::default() }.terms().unwrap());
        let mut pair = pair(redis, 0, NOW, vec![offer]);
        // A charge that the month refuses tells the month's end. A charge that is accepted tells its month.
        for month in 0..2_000_u16 {
            for now in [end_of(month).0 - 1, end_of(month).0] {
                pair.now = now;
                pair.stored.clear();
                let gone = pair.redis.servers.ask(Command::new("", redis::cmd("FLUSHALL")));
                gone.await.unwrap();
                let deeds = [Deed::Charge(1), Deed::Charge(1_000_000), Deed::Charge(1)];
                let entries = deeds.map(|deed| (0, 0, None, deed));
                pair.apply(&entries).await;
            }
        }
    });
}

#[test]
fn lua_and_rust_agree_on_when_months_and_nodes_are_forgotten() {
    let server = Server::start().unwrap();
    runtime().block_on(async {
        let redis = open(&server).await;
        let offer = Offer { monthly: Some(1_000), ..Offer::default() }.terms().unwrap();
        let mut pair = pair(redis, 0, NOW, vec![Arc::new(offer)]);
        let report = |node: u64| Deed::Report {
            node,
            step: 1,
            is_new: false,
            spends: 5,
            keeps: 0,
            need: 0,
            want: 0,
            turn: 0,
        };
        for _ in 0..40 {
            pair.act(&Step::Batch(vec![(0, 0, None, report(1))])).await;
            pair.now = end_of(month_of(UnixMicros(pair.now))).0;
        }
        for since in [REMEMBERED.0 - 1, REMEMBERED.0, REMEMBERED.0 + 1] {
            pair.act(&Step::Batch(vec![(0, 0, None, report(2))])).await;
            let ends = pair.stored[&0].account.loans.iter().find(|loan| loan.node == 2).unwrap().ends;
            pair.now = ends.0 + since;
            pair.act(&Step::Batch(vec![(0, 0, None, report(3))])).await;
        }
    });
}

/// An amount beyond Lua's exact numbers counts as the largest exact one.
#[test]
fn lua_and_rust_agree_on_a_node_that_has_spent_more_than_can_be_told() {
    let server = Server::start().unwrap();
    runtime().block_on(async {
        let offer = Offer { monthly: Some(EXACT / 1_000), ..Offer::default() }.terms().unwrap();
        let mut pair = pair(open(&server).await, 0, NOW, vec![Arc::new(offer)]);
        for (seq, need, want) in [(1, 0, 0), (2, 1_000, 10_000)] {
            let lease = LeaseRequest {
                epoch: 7,
                seq,
                spent: Cost(EXACT + 1),
                acked: Cost(EXACT + 1),
                day: day_of(UnixMicros(NOW)).0,
                need: Cost(need),
                want: Cost(want),
                ..LeaseRequest::default()
            };
            pair.act(&Step::Batch(vec![(0, 0, None, Deed::Babble { node: 1, lease })])).await;
        }
    });
}

/// One charge for each of the accounts.
fn charges(accounts: std::ops::Range<u128>, terms: &Arc<Terms>) -> Vec<AccountEntry> {
    let charge = |account: u128| AccountEntry {
        client: ClientId(account.to_be_bytes()),
        name: None,
        is_anonymous: false,
        tier: "free".into(),
        terms: Arc::clone(terms),
        node: 0,
        ask: Ask::Charge { cost: Cost(1_000) },
    };
    accounts.map(charge).collect()
}

/// A gateway's tick may report a thousand clients, and a request that waits has little time.
#[test]
fn what_a_request_waits_for_does_not_wait_for_all_of_a_long_batch() {
    let server = Server::start().unwrap();
    runtime().block_on(async {
        let redis = open(&server).await;
        let terms = Arc::new(Offer { monthly: Some(1_000), ..Offer::default() }.terms().unwrap());
        let keys = Keys::new("long");
        let apply = async |entries: Vec<AccountEntry>| {
            apply::apply(&redis.servers, &redis.apply, &keys, &entries, Some(UnixMicros(NOW))).await.unwrap();
        };
        apply(charges(0..1, &terms)).await;
        // What the function calls is logged as well.
        server.ask(&["CONFIG", "SET", "slowlog-max-len", "10000"]).unwrap();
        server.ask(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]).unwrap();
        tokio::join!(apply(charges(1..1_001, &terms)), apply(charges(1_001..1_002, &terms)));
        let log = server.ask(&["SLOWLOG", "GET", "10000"]).unwrap();
        // The newest is first. The number of keys follows the function's name.
        let lines: Vec<&str> = log.lines().map(str::trim).collect();
        let calls: Vec<&str> =
            lines.windows(3).filter(|words| words[0] == "FCALL").map(|words| words[2]).collect();
        assert_eq!(calls.len(), 17, "{calls:?}");
        let place = calls.iter().rev().position(|keys| *keys == "1").unwrap();
        assert!(place <= 3, "{calls:?}");
    });
}

/// A function lives as long as its server, so nothing of an account may stay in it.
#[test]
fn what_redis_keeps_of_the_function_does_not_grow_with_the_accounts() {
    let server = Server::start().unwrap();
    let kept = || {
        let memory = server.ask(&["INFO", "memory"]).unwrap();
        let line = memory.lines().find_map(|line| line.strip_prefix("used_memory_vm_functions:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    runtime().block_on(async {
        let redis = open(&server).await;
        let terms = Arc::new(Offer { monthly: Some(1_000), ..Offer::default() }.terms().unwrap());
        let keys = Keys::new("growth");
        let apply = async |accounts: std::ops::Range<u128>| {
            let entries = charges(accounts, &terms);
            apply::apply(&redis.servers, &redis.apply, &keys, &entries, Some(UnixMicros(NOW))).await.unwrap();
        };
        for round in 0..20 {
            apply(round * 64..(round + 1) * 64).await;
        }
        let before = kept();
        for round in 20..320 {
            apply(round * 64..(round + 1) * 64).await;
        }
        let after = kept();
        assert!(after < before + (256 << 10), "{before} bytes, and then {after}");
    });
}
