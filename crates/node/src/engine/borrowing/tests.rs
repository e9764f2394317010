use super::*;
use crate::borrower::Timing;
use crate::clock::{NodeMillis, NodeNanos};
use crate::request::Headers;
use crate::request::tests::{Answers, pairs};
use crate::table::tests::{Fake, Rules};
use crate::table::{FingerprintKey, Table};
use serde_json::{Value, json};
use tollgate_core::policy::Policy;
use tollgate_core::terms::Offer;
use tollgate_core::units::{Cost, Millis, Nanos, UnixNanos};
use tollgate_core::wire::{Answer as Said, Ask, Change as Told, ChangeKind, Reply};
use tollgate_store::accounts::{Account as Kept, Applied};

/// 2026-11-24T00:00:00Z.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);

fn policy(mini: &Value, maxi: &Value) -> Policy {
    Policy::from_value(&json!({
        "tiers": { "mini": mini, "maxi": maxi }, "default_tier": "mini", "anonymous": { "rate": "2/minute" },
        "identity": { "consumer": [{ "header": "x-consumer-username" }], "tier": [{ "header": "x-consumer-groups" }] },
        "store": { "upstream": "127.0.0.1:7600" },
    }))
    .unwrap()
}

/// A node, and the store's account of its only client.
struct Node {
    engine: Engine,
    shared: Fake,
    borrower: Borrower,
    kept: Kept,
    stored: Option<Offer>,
    revision: u64,
    milli: u64,
    is_down: bool,
}

impl Node {
    fn new(policy: Policy) -> Self {
        let shared = Fake::new(Rules::Envoy);
        let table = Table::open(&shared, 64, FingerprintKey([1; 16])).unwrap().table;
        let borrower = worker(&policy);
        Self {
            engine: Engine::new(policy, table),
            shared,
            borrower,
            kept: Kept::default(),
            stored: None,
            revision: 0,
            milli: 1_000_000,
            is_down: false,
        }
    }

    fn reload(&mut self, policy: Policy) {
        self.borrower = worker(&policy);
        self.engine = Engine::new(policy, self.engine.table.clone());
        // A new root does not know that the store is away.
        if self.is_down {
            self.go_down();
        }
    }

    fn go_down(&mut self) {
        self.is_down = true;
        for _ in 0..3 {
            self.borrower.failed(NodeMillis(self.milli), 1);
        }
        assert!(self.borrower.is_store_away());
    }

    fn now(&self) -> Now {
        let node = self.milli * 1_000_000;
        Now { unix: NOW.after(Nanos(node)), node: NodeNanos(node) }
    }

    fn reply(&mut self, call: &Call) -> Reply {
        let now = self.now().unix.micros();
        let answers = call.batch.entries.iter().map(|entry| {
            let offer = self.stored.as_ref().unwrap_or(&call.batch.offers[usize::from(entry.offer)]);
            let Ask::Lease(lease) = &entry.ask else { panic!("leased") };
            match self.kept.apply(&offer.terms().unwrap(), 1, lease, now) {
                Applied::Grant(grant) => Said::Grant(grant),
                Applied::Stale => Said::Stale,
            }
        });
        let answers = answers.collect();
        let is_new = call.batch.revision < self.revision;
        let changes = call.batch.entries.first().zip(self.stored.clone()).filter(|_| is_new);
        let changes =
            changes.map(|(entry, offer)| Told { client: entry.client, what: ChangeKind::Override(offer) });
        Reply {
            now,
            revision: self.revision,
            is_whole: false,
            changes: changes.into_iter().collect(),
            answers,
        }
    }

    fn receive(&mut self, call: &Call) {
        let reply = self.reply(call);
        let (policy, table) = (self.engine.policy.clone(), self.engine.table.clone());
        self.borrower.apply_all(&policy, &table, &self.shared, call, &reply, self.milli * 1_000_000);
    }

    fn consider(&mut self, tier: &str) -> Result<Ruling, Question> {
        let bytes = pairs(&[
            (":method", "GET"),
            (":path", "/"),
            ("x-consumer-username", "acme"),
            ("x-consumer-groups", tier),
        ]);
        let gateway = Answers::default();
        let (now, request) = (self.now(), Request::new(Headers::new(&bytes), &gateway));
        let mut worker = Worker { data: &self.shared, borrower: &mut self.borrower, now };
        match self.engine.consider(&request, &mut worker).unwrap() {
            Considered::Decided(answer) => Ok(answer.ruling.unwrap()),
            Considered::Ask(_, question) => Err(question),
        }
    }

    fn asks(&mut self, question: &Question) -> Call {
        let now = self.now();
        let mut worker = Worker { data: &self.shared, borrower: &mut self.borrower, now };
        self.engine.ask(question, Demand { need: Cost(1_000), queued: Cost(0) }, &mut worker).unwrap()
    }

    fn decide(&mut self, question: &Question) -> Option<Ruling> {
        let now = self.now();
        let mut worker = Worker { data: &self.shared, borrower: &mut self.borrower, now };
        self.engine.decide_waiting(question, &mut worker, StoreReply::Answered, &|| Network::Unknown)
    }

    /// One request, and all the calls that it takes.
    fn ask(&mut self, tier: &str) -> Ruling {
        self.milli += 1;
        let question = match self.consider(tier) {
            Ok(ruling) => return ruling,
            Err(question) => question,
        };
        for _ in 0..4 {
            let call = self.asks(&question);
            self.receive(&call);
            if let Some(ruling) = self.decide(&question) {
                return ruling;
            }
        }
        panic!("it asks for ever");
    }

    fn passed(&mut self, tier: &str, most: usize) -> usize {
        (0..most).filter(|_| matches!(self.ask(tier).outcome, Outcome::Allowed | Outcome::Fallback)).count()
    }

    /// Outcome, tier, units a period, and what is left of the month.
    fn shown(&mut self, tier: &str) -> (Outcome, String, u64, Option<u64>) {
        let ruling = self.ask(tier);
        let of = self.engine.tier(&ruling.under);
        let used = ruling.account.unwrap().used;
        let left = of.monthly.map(|quota| quota.less(used).whole_units());
        (ruling.outcome, of.name.clone(), of.limits[0].units(), left)
    }
}

fn worker(policy: &Policy) -> Borrower {
    let mut borrower = Borrower::new(policy, Timing { interval: Millis(100), timeout: Millis(50) }, 1);
    borrower.identify_node(|| 1);
    borrower
}

fn small() -> Value {
    json!({ "rate": "20/hour", "monthly": 20 })
}

fn large() -> Value {
    json!({ "rate": "1000/minute", "monthly": 1_000 })
}

#[test]
fn a_refusal_is_the_old_tiers_and_the_next_request_is_decided_by_the_new_one() {
    for is_down in [false, true] {
        let new = || {
            let mut node = Node::new(policy(&small(), &large()));
            assert_eq!(node.passed("mini", 40), 20);
            if is_down {
                node.go_down();
            }
            assert_eq!(node.ask("mini").outcome, Outcome::RefusedMonth);
            node
        };
        let outcome = if is_down { Outcome::Fallback } else { Outcome::Allowed };
        assert_eq!(new().shown("maxi"), (outcome, "maxi".into(), 1_000, Some(979)), "by tier");
        let mut node = new();
        node.reload(policy(&large(), &large()));
        assert_eq!(node.shown("mini"), (outcome, "mini".into(), 1_000, Some(979)), "by policy");
        assert_eq!(node.passed("mini", 2_000), 979, "and what it used stays used");
        let mut node = new();
        node.shown("maxi");
        assert_eq!(node.ask("mini").outcome, Outcome::RefusedMonth, "and back");
    }
}

#[test]
fn what_was_lent_under_larger_limits_is_given_back() {
    let mut node = Node::new(policy(&json!({ "rate": "10/minute" }), &large()));
    assert_eq!(node.passed("maxi", 4), 4);
    assert_eq!(node.passed("mini", 40), 6);
    let lent = node.kept.loans.iter().fold(Cost(0), |sum, loan| sum.plus(loan.lent));
    assert_eq!(lent, Cost(0));
}

#[test]
fn an_override_that_comes_with_an_answer_decides_the_request_that_it_answers() {
    let mut node = Node::new(policy(&json!({ "rate": "10/minute" }), &large()));
    assert_eq!(node.passed("mini", 5), 5);
    let maxi = node.engine.policy.tier_named("maxi").unwrap();
    node.stored = Offer::of(node.engine.policy.tier(maxi));
    node.revision = 1;
    // First the lease is spent. Then the request that asks learns of the override.
    assert_eq!(node.passed("mini", 40), 40);
    assert_eq!(node.shown("mini").1, "maxi");
}

#[test]
fn an_answer_to_one_tiers_message_does_not_refuse_another_tiers_request() {
    let mut node = Node::new(policy(&json!({ "rate": "100/minute", "monthly": 1 }), &large()));
    assert_eq!(node.passed("mini", 1), 1);
    node.milli += 10;
    let (of_mini, of_maxi) = (node.consider("mini").unwrap_err(), node.consider("maxi").unwrap_err());
    let (first, second) = (node.asks(&of_mini), node.asks(&of_maxi));
    node.receive(&first);
    assert_eq!(node.decide(&of_mini).unwrap().outcome, Outcome::RefusedMonth);
    assert_eq!(node.decide(&of_maxi), None, "it is not its answer");
    node.receive(&second);
    let ruling = match node.decide(&of_maxi) {
        Some(ruling) => ruling,
        None => {
            let again = node.asks(&of_maxi);
            node.receive(&again);
            node.decide(&of_maxi).unwrap()
        }
    };
    assert_eq!(ruling.outcome, Outcome::Allowed);
}
