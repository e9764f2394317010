use super::*;
use crate::lease::{Demand, LeaseState, Refused, Spend};
use crate::table::tests::{Fake, Rules};
use crate::table::{Change, FingerprintKey, Records, SharedData, State, Table, Updated};
use tollgate_core::terms::{Rate, Terms};
use tollgate_core::units::{Cost, Millis, UnixMicros, UnixNanos};
use tollgate_core::wire::{Answer, Change as Said, ChangeKind, Grant, Reply};
use tollgate_store::accounts::{Account, Applied, month_of};

/// 2026-11-24T00:00:00Z.
const NOW: UnixNanos = UnixNanos::from_seconds(1_795_478_400);
const ID: ClientId = ClientId([7; 16]);

/// A node whose worker has just begun. [`Node::change`] leaves records as another worker would.
struct Node {
    policy: Policy,
    table: Table,
    shared: Fake,
    borrower: Borrower,
    is_anonymous: bool,
}

impl Node {
    fn new() -> Self {
        let policy = Policy::from_value(&serde_json::json!({
            "tiers": { "free": { "rate": "400/minute" }, "pro": { "rate": "4000/minute" } }, "default_tier": "free",
            "anonymous": { "rate": "200/minute" }, "store": { "upstream": "127.0.0.1:7600" },
        }))
        .unwrap();
        let shared = Fake::new(Rules::Envoy);
        let table = Table::open(&shared, 64, FingerprintKey([1; 16])).unwrap().table;
        let mut borrower = Borrower::new(&policy, Timing { interval: Millis(100), timeout: Millis(50) }, 1);
        borrower.identify_node(|| 5);
        Self { policy, table, shared, borrower, is_anonymous: false }
    }

    fn change(&self, mut change: impl FnMut(&mut State)) -> State {
        let client = self.table.fingerprint_of(ID, self.is_anonymous);
        let updated = self.table.update(&self.shared, client, NOW, |mut state| {
            change(&mut state);
            (Change::Write(state), state)
        });
        match updated {
            Updated::Done { answer, .. } => answer,
            Updated::Unknown => panic!("the table answers"),
        }
    }

    /// What ticks report of the client while they sweep all slots once.
    fn tick(&mut self, mono: u64) -> Vec<Entry> {
        let ticks = self.table.geometry().count();
        // The sweep takes hardly any time.
        self.borrower.timing.interval = Millis(1);
        let composed = (0..ticks).map(|tick| {
            let mono = mono + u64::from(tick);
            let now = Now { unix: NOW, node: NodeNanos(mono * 1_000_000) };
            let records = Records { table: &self.table, data: &self.shared, now };
            self.borrower.compose(&self.policy, &records, 0)
        });
        composed.flatten().flat_map(|call| call.batch.entries).filter(|entry| entry.client == ID).collect()
    }
}

/// What a record says that has let `milli` through.
fn spent(milli: u64) -> Cost {
    LeaseState::START.plus(Cost(milli))
}

#[test]
fn what_a_lost_worker_has_left_is_told_under_its_own_tier() {
    let mut node = Node::new();
    node.change(|state| {
        state.lease.owe(Cost(3_000), NodeMillis(1_000));
        state.lease.offer = 1;
    });
    assert_eq!(node.tick(900 + Timing::ORPHANED.0), [], "its worker may be about to");
    let told = node.tick(1_100 + Timing::ORPHANED.0);
    let [Entry { offer: 1, ask: Ask::Lease(lease), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((lease.spent, lease.need, lease.want), (spent(3_000), Cost(0), Cost(0)));
}

#[test]
fn a_client_that_was_silent_for_an_hour_begins_a_new_epoch() {
    let mut node = Node::new();
    let before = node.change(|state| {
        state.lease.owe(Cost(3_000), NodeMillis(1_000));
        state.lease.acked = spent(3_000);
    });
    assert_eq!(node.tick(900 + Timing::QUIET.0), []);
    assert_eq!(node.change(|_| ()).lease.epoch, before.lease.epoch);
    assert_eq!(node.tick(1_100 + Timing::QUIET.0), [], "the store knows all of it");
    let after = node.change(|_| ());
    assert_eq!(
        (after.lease.spent, after.lease.seq),
        (spent(0), 0),
        "a store that has forgotten it would count it again"
    );
    assert!(after.lease.epoch > before.lease.epoch);
}

#[test]
fn whom_this_worker_knows_is_not_swept() {
    let mut node = Node::new();
    node.change(|state| state.lease.owe(Cost(3_000), NodeMillis(1_000)));
    let mono = 1_100 + Timing::ORPHANED.0;
    let acme = Subject { id: ID, name: Some(b"acme"), offer: 0 };
    node.borrower.record_request(&acme, Cost(1_000), false, None, NodeMillis(mono));
    assert_eq!(node.tick(mono), [], "its report comes in its own time");
}

#[test]
fn of_a_consumer_all_is_told_and_of_an_anonymous_client_what_is_not_known() {
    for (is_anonymous, acked) in [(false, 0), (true, 2_000)] {
        let mut node = Node { is_anonymous, ..Node::new() };
        node.change(|state| {
            state.lease.owe(Cost(3_000), NodeMillis(1_000));
            state.lease.acked = spent(2_000);
        });
        let told = node.tick(1_100 + Timing::ORPHANED.0);
        let [Entry { ask: Ask::Lease(lease), .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(
            (lease.spent, lease.acked),
            (spent(3_000), spent(acked)),
            "a store that has lost writes has lost consumers' too"
        );
    }
}

#[test]
fn who_is_refused_often_is_asked_for_by_the_tick() {
    let mut node = Node::new();
    node.change(|state| {
        state.lease.refused = Refused { cost: Cost(1_000), until: NodeMillis(1_500).tick(), limits: 1 };
        state.lease.idle = 100;
    });
    let acme = Subject { id: ID, name: Some(b"acme"), offer: 0 };
    for mono in 2_000..2_004 {
        node.borrower.record_request(&acme, Cost(1_000), true, None, NodeMillis(mono));
    }
    let told = node.tick(2_004);
    let [Entry { ask: Ask::Lease(lease), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((lease.need, lease.hold), (Cost(1_000), Cost(0)), "requests do not ask for themselves then");
}

#[test]
fn whoever_need_not_ask_is_asked_for_though_a_message_has_just_gone_out() {
    let mut node = Node::new();
    let answered = |node: &Node| {
        node.change(|state| {
            state.lease.refused = Refused { cost: Cost(1_000), until: NodeMillis(1_500).tick(), limits: 1 };
            state.lease.is_asking = false;
            state.lease.idle = 2;
        })
    };
    let acme = Subject { id: ID, name: Some(b"acme"), offer: 0 };
    for refused in [&[2_000, 2_100][..], &[2_400], &[2_700]] {
        answered(&node);
        for at in refused {
            node.borrower.record_request(&acme, Cost(1_000), true, None, NodeMillis(*at));
        }
        let told = node.tick(refused[refused.len() - 1]);
        let [Entry { ask: Ask::Lease(lease), .. }] = &told[..] else { panic!("{refused:?}: {told:?}") };
        assert_eq!(lease.need, Cost(1_000), "{refused:?}");
    }
    answered(&node);
    node.borrower.record_request(&acme, Cost(1_000), true, None, NodeMillis(3_300));
    assert_eq!(node.tick(3_300), [], "it has asked for itself");
}

#[test]
fn who_comes_again_when_told_to_asks_for_itself() {
    let mut node = Node::new();
    let acme = Subject { id: ID, name: Some(b"acme"), offer: 0 };
    for (at, is_pressed) in [(2_000, false), (2_600, false), (2_700, true)] {
        node.borrower.record_request(&acme, Cost(1_000), true, None, NodeMillis(at));
        assert_eq!(node.borrower.is_pressed(&ID, NodeMillis(at + 50)), is_pressed, "refused at {at} ms");
    }
}

#[test]
fn what_another_worker_has_borrowed_does_not_go_back_before_its_idle_time_is_over() {
    let mut node = Node::new();
    let acme = Subject { id: ID, name: Some(b"acme"), offer: 0 };
    node.borrower.record_request(&acme, Cost(1_000), false, Some(Cost(0)), NodeMillis(1_000));
    let lend = |node: &Node, asked: u64| {
        node.change(|state| {
            state.lease.epoch = 1;
            state.lease.asked = NodeMillis(asked).tick();
            state.lease.is_asking = false;
            state.lease.left = Cost(1_000);
            state.lease.ends = NodeMillis(20_000).tick();
            state.lease.idle = 2;
        })
    };
    lend(&node, 1_450);
    assert_eq!(node.tick(1_550), [], "the other worker's client has had 100 ms to come again");
    let told = node.tick(1_950);
    let [Entry { ask: Ask::Lease(lease), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((lease.hold, lease.need, lease.want), (Cost(0), Cost(0), Cost(0)));
    // The last message is this worker's own now, and it knows that its client has not come since.
    lend(&node, 1_950);
    let told = node.tick(2_150);
    let [Entry { ask: Ask::Lease(lease), .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(lease.hold, Cost(0));
}

#[test]
fn what_was_lent_under_other_limits_is_given_up_when_they_change() {
    let offer =
        Offer { tier: "own".into(), rates: vec![Rate { units: 1, seconds: 60, burst: 100 }], monthly: None };
    for what in [ChangeKind::Override(offer), ChangeKind::NoOverride, ChangeKind::Reset] {
        let mut node = Node::new();
        node.change(|state| {
            state.lease.owe(Cost(3_000), NodeMillis(1_000));
            state.lease.left = Cost(9_000);
            state.lease.refused = Refused { cost: Cost(10_000), until: NodeMillis(60_000).tick(), limits: 1 };
        });
        let call = node.borrower.call(Vec::new(), NodeMillis(2_000));
        let changes = vec![Said { client: ID, what }];
        let reply = Reply {
            now: UnixMicros(NOW.0 / 1_000),
            revision: 1,
            is_whole: false,
            changes,
            answers: Vec::new(),
        };
        node.borrower.apply_all(&node.policy, &node.table, &node.shared, &call, &reply, 2_001_000_000);
        let lease = node.change(|_| ()).lease;
        assert_eq!((lease.left, lease.refused, lease.owed()), (Cost(0), Refused::default(), Cost(3_000)));
    }
}

#[test]
fn a_name_too_long_for_a_message_is_told_in_its_short_form() {
    let mut node = Node::new();
    let long = [b'n'; 2_000];
    let short = name::as_sent(&long, ID).into_owned();
    assert!(short.len() < 300);
    let subject = Subject { id: ID, name: Some(&long), offer: 0 };
    let now = Now { unix: NOW, ..Now::default() };
    let records = Records { table: &node.table, data: &node.shared, now };
    let call = node.borrower.ask_charge(&records, &subject, &node.policy.tiers[0], Cost(1_000));
    assert_eq!(call.batch.entries[0].name.as_ref(), Some(&short));
    assert!(Batch::from_bytes(&call.batch.to_bytes()).is_ok(), "the store takes it");
    // A tick sends it like this, too.
    node.change(|state| state.lease.owe(Cost(3_000), NodeMillis(1_000)));
    node.borrower.record_request(&subject, Cost(3_000), false, Some(Cost(0)), NodeMillis(1_000));
    let told = node.tick(1_000 + Timing::ORPHANED.0);
    assert_eq!(told[0].name.as_ref(), Some(&short));
}

impl Borrower {
    /// Applies all answers of `reply` to `call`.
    pub(crate) fn apply_all(
        &mut self,
        policy: &Policy,
        table: &Table,
        data: &impl SharedData,
        call: &Call,
        reply: &Reply,
        mono_nanos: u64,
    ) {
        let (mut received, _) = self.receive(policy, call.clone(), reply.clone(), NodeNanos(mono_nanos));
        while self.apply_slice(policy, table, data, &mut received, NodeNanos(mono_nanos)) {}
    }
}

/// A node, and the store's account of its client.
struct Pair {
    node: Node,
    account: Account,
    terms: Terms,
    /// How many messages ticks and requests have sent.
    told: u32,
    asked: u32,
}

impl Pair {
    fn new() -> Self {
        let node = Node::new();
        let terms = Offer::of(&node.policy.tiers[0]).unwrap().terms().unwrap();
        Self { node, account: Account::default(), terms, told: 0, asked: 0 }
    }

    /// The store answers `call` at once.
    fn answer(&mut self, call: &Call, mono: u64) {
        let now = NOW.0 / 1_000 + mono * 1_000;
        let answer_to = |entry: &Entry| match &entry.ask {
            Ask::Lease(lease) => match self.account.apply(&self.terms, 5, lease, UnixMicros(now)) {
                Applied::Grant(grant) => Answer::Grant(grant),
                Applied::Stale => Answer::Stale,
            },
            Ask::Charge { .. } => panic!("nothing is charged"),
        };
        let answers = call.batch.entries.iter().map(answer_to).collect();
        let reply =
            Reply { now: UnixMicros(now), revision: 0, is_whole: false, changes: Vec::new(), answers };
        let Node { policy, table, shared, borrower, .. } = &mut self.node;
        borrower.apply_all(policy, table, shared, call, &reply, mono * 1_000_000);
    }

    /// A request of one unit, which is let through.
    fn request(&mut self, mono: u64) {
        let acme = Subject { id: ID, name: Some(b"acme"), offer: 0 };
        for _ in 0..2 {
            let mut spend = Spend::Ask;
            let left = self
                .node
                .change(|state| spend = state.lease.spend(Cost(1_000), NodeMillis(mono).tick()))
                .lease
                .left;
            if spend == Spend::Paid {
                return self.node.borrower.record_request(
                    &acme,
                    Cost(1_000),
                    false,
                    Some(left),
                    NodeMillis(mono),
                );
            }
            let Node { policy, table, shared, borrower, .. } = &mut self.node;
            let now = Now { unix: NOW, node: NodeNanos(mono * 1_000_000) };
            let records = Records { table, data: shared, now };
            let demand = Demand { need: Cost(1_000), queued: Cost(0) };
            let call = borrower.ask(&records, &acme, &policy.tiers[0], demand).unwrap();
            self.asked += 1;
            self.answer(&call, mono);
        }
        panic!("it is lent nothing at {mono}");
    }

    /// Ticks during `mono`, in milliseconds.
    fn ticks(&mut self, mono: std::ops::Range<u64>) {
        for mono in mono.step_by(100) {
            let Node { policy, table, shared, borrower, .. } = &mut self.node;
            let now = Now { unix: NOW, node: NodeNanos(mono * 1_000_000) };
            let records = Records { table, data: shared, now };
            let Some(call) = borrower.compose(policy, &records, 0) else { continue };
            self.told += call.batch.entries.len() as u32;
            self.answer(&call, mono);
        }
    }

    /// Sends a request `every` milliseconds, `times` times; returns how many messages requests and ticks have sent.
    fn run(&mut self, from: u64, every: u64, times: u64) -> (u32, u32) {
        let before = (self.asked, self.told);
        for request in 0..times {
            let mono = from + request * every;
            self.request(mono);
            self.ticks(mono..mono + every);
        }
        (self.asked - before.0, self.told - before.1)
    }
}

#[test]
fn who_comes_now_and_then_costs_less_than_a_message_a_request() {
    let mut pair = Pair::new();
    // The first request borrows for several, and the rest goes back. With the second request the client is known.
    assert_eq!(pair.run(1_000, 13_000, 2), (2, 3), "two ask, two reports, and one lease goes back");
    let (asked, told) = pair.run(27_000, 13_000, 20);
    assert_eq!(asked, 0);
    assert!(told <= 10, "{told} messages for 20 requests");
    // It comes no more, so the lease goes back and all is reported.
    pair.ticks(287_000..387_000);
    let lease = pair.node.change(|_| ()).lease;
    assert_eq!((lease.left, lease.owed(), pair.node.borrower.remembers()), (Cost(0), Cost(0), 0));
    assert_eq!(pair.account.used(month_of(pair.account.at)), Cost(22_000));
}

#[test]
fn however_often_now_and_then_is_a_lease_lasts_for_some_requests() {
    for every in [4_500, 5_500, 7_000, 9_000, 15_000, 22_000, 40_000] {
        let mut pair = Pair::new();
        pair.run(1_000, every, 3);
        let (asked, told) = pair.run(1_000 + 3 * every, every, 12);
        assert!(asked <= 1 && told <= 12, "every {every} ms: {asked} and {told} for 12 requests");
    }
}

#[test]
fn who_comes_seldom_is_lent_what_it_needs_and_gives_nothing_back() {
    let mut pair = Pair::new();
    pair.run(1_000, 70_000, 1);
    assert_eq!(pair.run(71_000, 70_000, 5), (5, 5), "each asks, and each is reported");
    assert_eq!(pair.account.used(month_of(pair.account.at)), Cost(6_000));
}

#[test]
fn who_comes_now_and_then_and_then_often_is_reported_at_once() {
    let mut pair = Pair::new();
    pair.run(1_000, 13_000, 6);
    let used = |pair: &Pair| pair.account.used(month_of(pair.account.at));
    let before = used(&pair);
    pair.request(79_000);
    pair.ticks(79_000..80_000);
    assert_eq!(used(&pair), before, "one request can wait");
    pair.request(80_000);
    pair.ticks(80_000..80_600);
    assert_eq!(used(&pair), Cost(8_000), "two in a second cannot");
    pair.run(81_000, 700, 40);
    assert_eq!(pair.node.borrower.queue.len(), 1, "brought forward again and again, it stands there once");
}

#[test]
fn an_override_takes_a_calm_lease_back_soon() {
    let mut pair = Pair::new();
    pair.run(1_000, 13_000, 6);
    assert!(pair.account.loans[0].lent > Cost(0));
    let call = pair.node.borrower.call(Vec::new(), NodeMillis(79_000));
    let changes = vec![Said { client: ID, what: ChangeKind::Reset }];
    let now = NOW.0 / 1_000 + 79_000_000;
    let reply = Reply { now: UnixMicros(now), revision: 1, is_whole: false, changes, answers: Vec::new() };
    let Node { policy, table, shared, borrower, .. } = &mut pair.node;
    borrower.apply_all(policy, table, shared, &call, &reply, 79_000_000_000);
    pair.ticks(79_000..80_000);
    assert_eq!(pair.account.loans[0].lent, Cost(0));
}

#[test]
fn a_calm_lease_is_another_workers_until_it_should_have_gone_back() {
    let mut pair = Pair::new();
    pair.run(1_000, 13_000, 6);
    let asked = 79_000 - NodeMillis(79_000).tick().since(pair.node.change(|_| ()).lease.asked).0;
    // Another worker of the node: it has never served the client.
    pair.node.borrower = Node::new().borrower;
    let before = pair.told;
    pair.ticks(79_000..asked + 54_000);
    assert_eq!(pair.told, before, "its own may be about to say something yet");
    pair.ticks(asked + 54_000..asked + 58_000);
    assert_eq!(pair.node.change(|_| ()).lease.left, Cost(0));
    assert_eq!(pair.account.loans[0].lent, Cost(0), "before it ends");
}

#[test]
fn a_worker_that_ends_reports_and_returns_everything_until_nothing_is_left() {
    let mut node = Node::new();
    node.change(|state| {
        state.lease.owe(Cost(3_000), NodeMillis(1_000));
        state.lease.left = Cost(7_000);
        state.lease.offer = 1;
    });
    let at = |milli: u64| Now { unix: NOW, node: NodeNanos(milli * 1_000_000) };
    // Nobody waits for it: what is owed is a moment old.
    let records = |now| Records { table: &node.table, data: &node.shared, now };
    let call = node.borrower.drain(&node.policy, &records(at(1_001))).unwrap();
    let [Entry { client: ID, offer: 1, ask: Ask::Lease(lease), .. }] = &call.batch.entries[..] else {
        panic!("{call:?}")
    };
    assert_eq!((lease.spent, lease.hold, lease.want), (spent(3_000), Cost(0), Cost(0)));
    let grant = Grant { epoch: lease.epoch, seq: lease.seq, spent: lease.spent, ..Grant::default() };
    node.change(|state| {
        state.lease.apply_grant(&grant, lease, at(1_001).millis().tick(), at(1_002).millis().tick());
    });
    assert!(node.borrower.drain(&node.policy, &records(at(1_003))).is_none());
}
