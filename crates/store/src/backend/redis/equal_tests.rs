//! The Lua of an account against its Rust, on a real server: the same calls at the same times, and the same answer and
//! state after each.

mod edges;
mod reserving;

use std::collections::HashMap;
use tollgate_core::units::{Cost, Micros, UnixMicros};

use crate::accounts::{Applied, REMEMBERED, Reservation, ReservationCount, day_of, end_of, month_of};
use crate::backend::DayRows;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tollgate_core::terms::{EXACT, Offer, Rate, Terms};
use tollgate_core::wire::{Answer, Ask, LONGEST_EMPTY, LeaseRequest, Returned};
use tollgate_testkit::redis::Server;

use super::*;

/// 2026-11-24T00:00:00Z.
const NOW: u64 = 1_795_478_400_000_000;
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;
const CLIENTS: u8 = 3;

/// What happens to one client.
#[derive(Clone, Debug)]
enum Deed {
    /// What a sound node says next. With `step` 0 it repeats itself, and with an older number it has lost its record.
    Report {
        node: u64,
        step: u32,
        is_new: bool,
        spends: u64,
        keeps: u64,
        need: u64,
        want: u64,
        turn: u16,
    },
    /// What no sound node says.
    Babble {
        node: u64,
        lease: LeaseRequest,
    },
    Charge(u64),
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// The clock moves by this much, forwards or backwards.
    Time(i64),
    /// A batch: the client, the offer, the name if it is sent, and what is asked for.
    Batch(Vec<(u8, usize, Option<Vec<u8>>, Deed)>),
    Reset {
        client: u8,
        bucket: bool,
        month: bool,
    },
    /// A reservation of a client, by its number: the offer, the cost, and for how long it may be settled.
    Reserve {
        key: (u8, u8),
        offer: usize,
        cost: u64,
        ttl: u64,
    },
    /// What it costs in the end.
    Settle {
        key: (u8, u8),
        cost: u64,
    },
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..5_000_u64,
        4 => 0..300_000_u64,
        1 => 0..=EXACT,
        1 => prop::sample::select(vec![0, 1, EXACT - 1, EXACT, EXACT + 1, 1 << 53, (1 << 53) + 1, u64::MAX]),
    ]
}

fn node() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0, 1, 2, u64::MAX])
}

fn deed() -> impl Strategy<Value = Deed> {
    let report = (
        (node(), 0..=2_u32, prop::bool::weighted(0.05), amount()),
        (amount(), prop_oneof![Just(0), amount()], amount(), 0..4_u16),
    )
        .prop_map(|((node, step, is_new, spends), (keeps, need, want, turn))| Deed::Report {
            node,
            step,
            is_new,
            spends,
            keeps,
            need,
            want,
            turn,
        });
    let epoch = prop::sample::select(vec![0, 1, 7, 8, 1 << 32, (1 << 53) + 1, (1 << 53) + 2, u64::MAX]);
    let day = prop_oneof![Just(0), 20_775..20_790_u16, any::<u16>()];
    let lease =
        (epoch, prop_oneof![0..4_u32, any::<u32>()], amount(), amount(), day, amount(), amount(), amount());
    let babble =
        (node(), lease).prop_map(|(node, (epoch, seq, spent, turn, day, hold, need, want))| Deed::Babble {
            node,
            lease: LeaseRequest {
                epoch,
                seq,
                spent: Cost(spent),
                acked: Cost(spent / 3),
                spent_before_day: Cost(turn),
                day,
                hold: Cost(hold),
                need: Cost(need),
                queued: Cost(hold / 2),
                want: Cost(want),
                since: [spent % 3, need % (2 * LONGEST_EMPTY.0), want].map(Micros),
                returned: Returned { cost: Cost((turn % 7).saturating_mul(hold)), age: Micros(need) },
            },
        });
    prop_oneof![6 => report, 1 => babble, 2 => amount().prop_map(Deed::Charge)]
}

fn step() -> impl Strategy<Value = Step> {
    const WHILE: i64 = 20 * SECOND as i64;
    const SKEW: i64 = -2 * SECOND as i64;
    const LONG: i64 = 40 * DAY as i64;
    let time = prop_oneof![
        4 => 0..SECOND as i64,
        4 => 0..WHILE,
        1 => prop::sample::select(vec![1, 9_999_999, 10_000_000, 10_000_001, 3_024_000_000_000]),
        2 => prop::sample::select(vec![3_999_999, 4_000_000, 4_000_001, 47_999_999, 48_000_000, 57_999_999, 58_000_000]),
        1 => 0..LONG,
        1 => SKEW..0,
        1 => -LONG..0,
    ];
    let name = prop_oneof![3 => Just(None), 1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Some)];
    let entry = (0..CLIENTS, 0..3_usize, name, deed());
    prop_oneof![
        3 => time.prop_map(Step::Time),
        6 => prop::collection::vec(entry, 1..4).prop_map(Step::Batch),
        2 => reserving::step(),
        1 => (0..CLIENTS, any::<bool>(), any::<bool>()).prop_map(|(client, bucket, month)| Step::Reset { client, bucket, month }),
    ]
}

fn terms() -> impl Strategy<Value = Arc<Terms>> {
    // The rates often repeat, so that tiers have limits in common.
    let units =
        prop_oneof![2 => prop::sample::select(vec![20_u32, 100]), 1 => 1..200_u32, 1 => 1..=1_000_000_u32];
    let rate = (units, prop::sample::select(vec![1_u32, 60, 3_600, 86_400]), 100..=1_000_u32)
        .prop_map(|(units, seconds, burst)| Rate { units, seconds, burst });
    let monthly = prop_oneof![Just(None), (0..2_000_u64).prop_map(Some), Just(Some(EXACT / 1_000))];
    (prop::collection::vec(rate, 0..=3), monthly)
        .prop_filter_map("too fine", |(rates, monthly)| {
            Offer { tier: String::new(), rates, monthly }.terms().ok()
        })
        .prop_map(Arc::new)
}

/// Both sides, and what the nodes believe.
struct Pair {
    redis: Redis,
    namespace: Keys,
    offers: Vec<Arc<Terms>>,
    now: u64,
    stored: HashMap<u8, Stored>,
    said: HashMap<(u8, u64), LeaseRequest>,
    held: HashMap<(u8, u8), Reservation>,
    counts: HashMap<u8, ReservationCount>,
    days: HashMap<u8, DayRows>,
}

impl Pair {
    async fn act(&mut self, step: &Step) {
        match step {
            Step::Time(by) => self.now = self.now.saturating_add_signed(*by).clamp(1_000 * SECOND, EXACT / 2),
            Step::Batch(entries) => self.apply(entries).await,
            Step::Reserve { key, offer, cost, ttl } => self.reserve(*key, *offer, *cost, *ttl).await,
            Step::Settle { key, cost } => self.settle(*key, *cost).await,
            Step::Reset { client, bucket, month } => {
                let id = ClientId([*client; 16]);
                let what = (*bucket, *month);
                apply::reset(
                    &self.redis.servers,
                    &self.redis.apply,
                    &self.namespace,
                    id,
                    what,
                    Some(UnixMicros(self.now)),
                )
                .await
                .unwrap();
                if let Some(stored) = self.stored.get_mut(client) {
                    stored.account.reset(*bucket, *month, UnixMicros(self.now));
                }
            }
        }
        for client in 0..CLIENTS {
            let moved = self.stored.get_mut(&client).map(|stored| stored.account.take_moved());
            let rows = self.days.entry(client).or_default();
            rows.add(&moved.unwrap_or_default(), UnixMicros(self.now));
            for (month, row) in rows.iter() {
                let key = self.namespace.days(ClientId([client; 16]), month);
                let mut get = redis::cmd("GET");
                get.arg(&key);
                let kept = self.redis.servers.ask(Command::new(&key, get)).await.unwrap();
                assert_eq!(kept, Value::BulkString(row.0.clone()), "client {client}, month {month}");
            }
            assert_eq!(self.load(client).await, self.stored.get(&client).cloned(), "client {client}");
        }
    }

    async fn apply(&mut self, entries: &[(u8, usize, Option<Vec<u8>>, Deed)]) {
        let entries: Vec<AccountEntry> = entries
            .iter()
            .map(|(client, offer, name, deed)| {
                let (node, ask) = self.ask(*client, deed);
                AccountEntry {
                    client: ClientId([*client; 16]),
                    name: name.clone(),
                    is_anonymous: false,
                    tier: format!("tier{offer}").into(),
                    terms: Arc::clone(&self.offers[*offer]),
                    node,
                    ask,
                }
            })
            .collect();
        let batch = apply::apply(
            &self.redis.servers,
            &self.redis.apply,
            &self.namespace,
            &entries,
            Some(UnixMicros(self.now)),
        )
        .await
        .unwrap();
        assert_eq!(batch.now, UnixMicros(self.now));
        for (entry, answer) in entries.iter().zip(batch.answers) {
            assert_eq!(answer, self.expect(entry), "{entry:?}");
        }
    }

    /// What a node says now. It is remembered as said.
    fn ask(&mut self, client: u8, deed: &Deed) -> (u64, Ask) {
        match deed {
            Deed::Charge(cost) => (0, Ask::Charge { cost: Cost(*cost) }),
            Deed::Babble { node, lease } => (*node, Ask::Lease(*lease)),
            Deed::Report { node, step, is_new, spends, keeps, need, want, turn } => {
                let mut lease = self
                    .said
                    .get(&(client, *node))
                    .copied()
                    .unwrap_or(LeaseRequest { epoch: 7, ..LeaseRequest::default() });
                if *is_new {
                    lease = LeaseRequest { epoch: lease.epoch.saturating_add(1), ..LeaseRequest::default() };
                }
                if *step > 0 || *is_new {
                    let day = day_of(UnixMicros(self.now)).0;
                    lease.seq = lease.seq.saturating_add(*step);
                    if matches!(*turn, 1 | 3) {
                        lease.spent_before_day = lease.spent.plus(Cost(*spends / 2));
                    }
                    lease.day = match *turn {
                        2 => 0,
                        // The node's clock runs ahead.
                        3 => day.saturating_add(1),
                        // It has not turned yet.
                        4 => day.saturating_sub(1),
                        _ => day,
                    };
                    lease.spent = lease.spent.plus(Cost(*spends));
                    lease.returned = Returned::default();
                    if *keeps % 3 == 0 {
                        let cost = Cost(*spends / 2 + *want % 5_000).min(lease.spent);
                        lease.spent = lease.spent.less(cost);
                        lease.returned = Returned { cost, age: Micros(*keeps % (40 * SECOND)) };
                    }
                    (lease.hold, lease.need, lease.want) = (Cost(*keeps), Cost(*need), Cost(*want));
                    // Every kind occurs: now, earlier, some time ago, and some time ahead.
                    let moment = |amount: u64| match amount % 4 {
                        kind @ 0..2 => kind,
                        2 => 2 + amount % LONGEST_EMPTY.0,
                        _ => LONGEST_EMPTY.0 + amount % (30 * SECOND),
                    };
                    lease.since = [*spends, *keeps, *need].map(|amount| Micros(moment(amount)));
                }
                self.said.insert((client, *node), lease);
                (*node, Ask::Lease(lease))
            }
        }
    }

    fn expect(&mut self, entry: &AccountEntry) -> Answer {
        let stored = self.stored.entry(entry.client.0[0]).or_insert(Stored {
            name: None,
            tier: String::new(),
            monthly: None,
            account: Default::default(),
        });
        if let Some(name) = &entry.name {
            stored.name = Some(name.clone());
        }
        stored.tier = entry.tier.to_string();
        stored.monthly = entry.terms.monthly;
        match &entry.ask {
            Ask::Lease(lease) => {
                match stored.account.apply(&entry.terms, entry.node, lease, UnixMicros(self.now)) {
                    Applied::Grant(grant) => Answer::Grant(grant),
                    Applied::Stale => Answer::Stale,
                }
            }
            Ask::Charge { cost } => {
                Answer::Grant(stored.account.charge(&entry.terms, *cost, UnixMicros(self.now)))
            }
        }
    }

    async fn load(&self, client: u8) -> Option<Stored> {
        let key = self.namespace.account(ClientId([client; 16]));
        let mut get = redis::cmd("GET");
        get.arg(&key);
        match self.redis.servers.ask(Command::new(&key, get)).await.unwrap() {
            Value::BulkString(bytes) => Some(Stored::from_bytes(&bytes).unwrap()),
            _ => None,
        }
    }
}

/// The timeout is long, because a busy machine may be slow and these tests are not about speed.
async fn open(server: &Server) -> Redis {
    Redis::open(&format!("{}?timeout=10s", server.url())).await.unwrap()
}

/// With a function that Redis keeps, or without one.
async fn open_either(server: &Server, is_kept: bool) -> Redis {
    let redis = open(server).await;
    if is_kept {
        return redis;
    }
    Redis { apply: redis.apply.evaluated(), reserve: redis.reserve.evaluated(), ..redis }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn pair(redis: Redis, case: u64, now: u64, offers: Vec<Arc<Terms>>) -> Pair {
    let namespace = Keys::new(&format!("case {case}"));
    Pair {
        redis,
        namespace,
        offers,
        now,
        stored: HashMap::new(),
        said: HashMap::new(),
        held: HashMap::new(),
        counts: HashMap::new(),
        days: HashMap::new(),
    }
}

#[test]
fn lua_and_rust_agree_on_every_answer_and_every_state() {
    agree(step());
}

/// `charge.lua`: an account without loans, charged by one call per entry.
#[test]
fn lua_and_rust_agree_on_charges_alone() {
    let cost = prop_oneof![9 => (0..30_u64).prop_map(|units| units * 1_000), 1 => amount()];
    let charge = (0..CLIENTS, 0..8_usize, cost, prop::option::of("[a-z]{0,9}"));
    let charge = charge.prop_map(|(client, offer, cost, name)| {
        // Another rate is rare, because the account is then not that simple any more.
        let offer = if offer < 3 { offer } else { 0 };
        (client, offer, name.map(String::into_bytes), Deed::Charge(cost))
    });
    agree(prop_oneof![
        8 => charge.prop_map(|entry| Step::Batch(vec![entry])),
        1 => step().prop_filter("no loans", |step| matches!(step, Step::Time(_) | Step::Reset { .. })),
    ]);
}

fn agree(step: impl Strategy<Value = Step>) {
    let server = Server::start().unwrap();
    let runtime = runtime();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let case = std::cell::Cell::new(0_u64);
    let start = prop_oneof![
        Just(NOW),
        (0..20 * SECOND).prop_map(|before| end_of(month_of(UnixMicros(NOW))).0 - before)
    ];
    let strategy = (start, prop::collection::vec(terms(), 3), prop::collection::vec(step, 1..60));
    let result = runner.run(&strategy, |(now, offers, steps)| {
        case.set(case.get() + 1);
        runtime.block_on(async {
            let redis = open_either(&server, case.get().is_multiple_of(2)).await;
            let mut pair = pair(redis, case.get(), now, offers);
            for step in &steps {
                pair.act(step).await;
            }
        });
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
