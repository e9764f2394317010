use super::*;
use crate::clock::NodeNanos;
use crate::request::tests::{Answers, pairs};
use crate::request::{Headers, Request};
use crate::table::tests::{Fake, Rules};
use crate::table::{FingerprintKey, Table};
use proptest::prelude::*;
use tollgate_core::limit::{Level, Limit, Period};
use tollgate_core::policy::Policy;
use tollgate_core::units::{Millis, UnixNanos};

/// 2026-11-24T00:00:00Z.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);

const fn at(milli: u64) -> Now {
    let nanos = milli * 1_000_000;
    Now { unix: UnixNanos(NOW.0 + nanos), node: NodeNanos(NOW.0 + nanos) }
}

struct Node {
    engine: Engine,
    data: Fake,
}

impl Node {
    fn new() -> Self {
        let policy = serde_json::json!({
            "tiers": { "free": { "rate": "100/minute", "burst": 1.5, "monthly": 50_000 } },
            "default_tier": "free",
            "anonymous": { "rate": "30/minute" },
            "identity": { "consumer": [{ "header": "x-consumer-username" }] },
            "endpoints": [{ "path": "/chat", "cost": 20, "settle": true }, { "path": "/list", "cost": 15 }],
            "refund": ["5xx"],
        });
        let data = Fake::new(Rules::Envoy);
        let table = Table::open(&data, 64, FingerprintKey([1; 16])).unwrap().table;
        Self { engine: Engine::new(Policy::from_value(&policy).unwrap(), table), data }
    }

    fn ask(&self, path: &str, now: Now) -> Ruling {
        let bytes = pairs(&[(":method", "POST"), (":path", path), ("x-consumer-username", "acme")]);
        let gateway = Answers::default();
        let request = Request::new(Headers::new(&bytes), &gateway);
        self.engine.decide(&request, &self.data, now.unix).unwrap().ruling.unwrap()
    }

    fn settle(&self, ruling: &mut Ruling, milli: u64, now: Now) {
        self.engine.settle(ruling, Cost(milli), &self.data, now);
    }
}

fn minute() -> Limit {
    Limit::new(100, Period::Minute, 150).unwrap()
}

/// What is left of the minute, and what the month has used.
fn left(ruling: &Ruling) -> (Cost, Cost) {
    let account = ruling.account.unwrap();
    (minute().available(account.levels[0]), account.used)
}

#[test]
fn less_comes_back_and_more_is_charged_and_the_ruling_shows_it() {
    let node = Node::new();
    let mut ruling = node.ask("/chat", at(0));
    assert_eq!((ruling.charged, left(&ruling)), (Cost(20_000), (Cost(130_000), Cost(20_000))));
    node.settle(&mut ruling, 5_500, at(0));
    assert_eq!(left(&ruling), (Cost(144_500), Cost(5_500)));
    let mut ruling = node.ask("/chat", at(0));
    node.settle(&mut ruling, 60_125, at(0));
    assert_eq!(left(&ruling), (Cost(84_375), Cost(65_625)));
    node.settle(&mut ruling, 0, at(0));
    assert_eq!(left(&ruling), (Cost(84_375), Cost(65_625)), "a charge is settled once");
}

#[test]
fn more_than_the_bucket_holds_fills_it_and_the_month_counts_all() {
    let node = Node::new();
    let mut ruling = node.ask("/chat", at(0));
    node.settle(&mut ruling, 1_000_000, at(0));
    assert_eq!(left(&ruling), (Cost(0), Cost(1_000_000)));
    assert_eq!(node.ask("/list", at(0)).outcome, Outcome::RefusedRate);
}

#[test]
fn what_has_drained_is_not_given_back_to_the_bucket() {
    let node = Node::new();
    let mut slow = node.ask("/chat", at(0));
    let later = at(30_000);
    assert_eq!(left(&node.ask("/list", later)), (Cost(135_000), Cost(35_000)));
    node.settle(&mut slow, 0, later);
    assert_eq!(left(&slow), (Cost(135_000), Cost(15_000)));
}

#[test]
fn a_refused_request_has_nothing_to_settle() {
    let node = Node::new();
    for _ in 0..7 {
        assert_eq!(node.ask("/chat", at(0)).outcome, Outcome::Allowed);
    }
    let mut refused = node.ask("/chat", at(0));
    assert_eq!((refused.outcome, refused.charged), (Outcome::RefusedRate, Cost(0)));
    assert!(refused.charge.is_none());
    node.settle(&mut refused, 0, at(0));
    assert_eq!(left(&refused), (Cost(10_000), Cost(140_000)));
}

#[test]
fn a_host_may_let_go_on_what_was_refused_and_settle_it() {
    let mut node = Node::new();
    node.engine = node.engine.holding_charges();
    for _ in 0..7 {
        assert_eq!(node.ask("/chat", at(0)).outcome, Outcome::Allowed);
    }
    let mut refused = node.ask("/chat", at(0));
    assert_eq!((refused.outcome, refused.charged), (Outcome::RefusedRate, Cost(0)));
    node.settle(&mut refused, 17_500, at(0));
    assert_eq!(left(&refused), (Cost(0), Cost(157_500)));
    let mut dropped = node.ask("/chat", at(0));
    node.settle(&mut dropped, 0, at(0));
    assert_eq!(left(&node.ask("/chat", at(0))), (Cost(0), Cost(157_500)));
}

#[test]
fn a_record_that_was_evicted_takes_nothing_back() {
    let node = Node::new();
    let mut ruling = node.ask("/chat", at(0));
    let empty = Node::new();
    empty.settle(&mut ruling, 5_000, at(1));
    assert_eq!(left(&ruling), (Cost(150_000), Cost(0)));
}

#[test]
fn what_comes_back_to_a_record_that_was_evicted_is_told_to_the_store() {
    let node = Node::new();
    let charge = Charge { by: By::Node, ..*node.ask("/chat", at(0)).charge.unwrap() };
    let mut state = State::default();
    let tier = node.engine.tier(&charge.under);
    assert!(settle(&mut state, tier, &charge, Cost(5_000), at(1_000), Millis(150)));
    assert_eq!(
        (state.lease.returns.cost, state.lease.spent.plus(Cost(15_000))),
        (Cost(15_000), state.lease.acked)
    );
}

/// The level of a bucket into which every request was poured as it cost, when it came.
fn exact_level(poured: &[(u64, u64)], now: u64) -> Level {
    let limit = minute();
    let (mut level, mut last) = (Level(0), 0);
    for (moment, cost) in poured {
        level = limit.drained(level, Millis(moment - last).nanos());
        level = Level(level.0 + limit.level(Cost(*cost)).0);
        last = *moment;
    }
    limit.drained(level, Millis(now - last).nanos())
}

proptest! {
    /// A bucket never has more room than if every request had cost from the start what it costs in the end, and with nothing
    /// drained in between it has exactly that.
    #[test]
    fn nothing_comes_back_that_was_never_there(
        is_instant in any::<bool>(),
        steps in prop::collection::vec(
            (0..3_u8, any::<prop::sample::Index>(), 0..20_000_u64, prop_oneof![0..500_u64, 0..60_000_u64]), 1..80,
        ),
    ) {
        let node = Node::new();
        let (mut poured, mut open, mut now) = (Vec::new(), Vec::<(usize, Ruling)>::new(), 0);
        let mut shown = None;
        for (kind, which, cost, elapsed) in steps {
            now += if is_instant { 0 } else { elapsed };
            if kind > 0 {
                let ruling = node.ask("/chat", at(now));
                shown = ruling.account;
                if ruling.outcome == Outcome::Allowed {
                    open.push((poured.len(), ruling));
                    poured.push((now, 20_000));
                }
            } else if !open.is_empty() {
                let (index, mut ruling) = open.swap_remove(which.index(open.len()));
                node.settle(&mut ruling, cost, at(now));
                poured[index].1 = cost;
                shown = ruling.account;
            }
            let Some(account) = shown else { continue };
            let (level, exact) = (account.levels[0], exact_level(&poured, now));
            prop_assert!(level >= exact, "{level:?} and {exact:?}");
            prop_assert!(!is_instant || level == exact, "{level:?} and {exact:?}");
            prop_assert_eq!(account.used.0, poured.iter().map(|(_, cost)| cost).sum::<u64>());
        }
    }
}
