//! Reservations, in Lua and in Rust.

use super::super::reserve::{reservation, reserve, settle};
use super::*;
use crate::accounts::{Hold, LATE, MAX_RESERVATIONS, MINUTE, ReservationId};
use crate::backend::reservation_store;
use crate::backend::{Reserved, Settled};

pub(super) fn step() -> impl Strategy<Value = Step> {
    let key = || (0..CLIENTS, 0..4_u8);
    // Some of the times end within a step of the clock, and all of them are in a few minutes.
    let ttl = prop_oneof![Just(SECOND), 1..200 * SECOND, Just(3_600 * SECOND)];
    prop_oneof![
        (key(), 0..3_usize, amount(), ttl).prop_map(|(key, offer, cost, ttl)| Step::Reserve {
            key,
            offer,
            cost,
            ttl
        }),
        (key(), amount()).prop_map(|(key, cost)| Step::Settle { key, cost }),
    ]
}

fn key_of((client, number): (u8, u8)) -> (ClientId, ReservationId) {
    (ClientId([client; 16]), ReservationId([number; 16]))
}

impl Pair {
    pub(super) async fn reserve(&mut self, key: (u8, u8), offer: usize, cost: u64, ttl: u64) {
        let now = UnixMicros(self.now);
        let hold = Hold {
            tier: format!("tier{offer}").into(),
            terms: Arc::clone(&self.offers[offer]),
            cost: Cost(cost),
            ttl: Micros(ttl),
            context: vec![0xFE; usize::from(key.1) * 40],
        };
        let name = b"a reserving client".to_vec();
        let answer = reserve(
            &self.redis.servers,
            &self.redis.reserve,
            &self.namespace,
            key_of(key),
            (name.clone(), &hold),
            Some(now),
        );
        let answer = answer.await.unwrap();
        let mut stored = self.stored.get(&key.0).cloned().unwrap_or(Stored {
            name: None,
            tier: String::new(),
            monthly: None,
            account: Default::default(),
        });
        let mut count = self.counts.get(&key.0).cloned().unwrap_or_default();
        let kept = self.held.get(&key).cloned();
        let expected = reservation_store::reserve(&mut stored.account, &mut count, kept, &hold, now);
        assert_eq!(answer, expected, "{key:?} {hold:?}");
        if let Reserved::Now(_) | Reserved::Refused(_) = &answer {
            stored.name = Some(name);
            stored.tier = hold.tier.to_string();
            stored.monthly = hold.terms.monthly;
            self.stored.insert(key.0, stored);
        }
        if let Reserved::Now(reservation) = answer {
            self.held.insert(key, reservation);
            self.counts.insert(key.0, count);
        }
        self.same_reservation(key).await;
    }

    pub(super) async fn settle(&mut self, key: (u8, u8), cost: u64) {
        let now = UnixMicros(self.now);
        let answer = settle(
            &self.redis.servers,
            &self.redis.reserve,
            &self.namespace,
            key_of(key),
            Cost(cost),
            Some(now),
        );
        let answer = answer.await.unwrap();
        let kept = self.held.get(&key).cloned();
        let mut stored = self.stored.get(&key.0).cloned();
        let mut nobody = Default::default();
        let account = stored.as_mut().map_or(&mut nobody, |stored| &mut stored.account);
        assert_eq!(answer, reservation_store::settle(account, kept, Cost(cost), now), "{key:?} {cost}");
        if let Settled::Now(reservation) = answer {
            self.held.insert(key, reservation);
            self.stored.insert(key.0, stored.unwrap());
        }
        self.same_reservation(key).await;
    }

    /// Redis has the same reservation, and the same count of the client's.
    async fn same_reservation(&self, key: (u8, u8)) {
        let (client, id) = key_of(key);
        let kept = self.get(self.namespace.reservation(client, id)).await;
        assert_eq!(kept.map(|bytes| reservation(&bytes).unwrap()), self.held.get(&key).cloned());
        let counts = self.get(self.namespace.reservation_count(client)).await.unwrap_or_default();
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let minutes = counts.chunks(8).map(|pair| (number(&pair[..4]), number(&pair[4..]))).collect();
        assert_eq!(ReservationCount { minutes }, self.counts.get(&key.0).cloned().unwrap_or_default());
    }

    async fn get(&self, key: String) -> Option<Vec<u8>> {
        let mut get = redis::cmd("GET");
        get.arg(&key);
        match self.redis.servers.ask(Command::new(&key, get)).await.unwrap() {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        }
    }
}

#[test]
fn lua_and_rust_agree_on_reservations() {
    agree(prop_oneof![
        8 => step(),
        2 => super::step().prop_filter("the rest", |step| !matches!(step, Step::Batch(_))),
        1 => super::step(),
    ]);
}

#[test]
fn lua_and_rust_agree_on_when_a_client_has_too_many_reservations() {
    let server = Server::start().unwrap();
    runtime().block_on(async {
        let offer = Arc::new(Offer { monthly: None, ..Offer::default() }.terms().unwrap());
        let mut pair = pair(open(&server).await, 0, NOW, vec![offer]);
        let minute = u32::try_from(NOW / MINUTE.0).unwrap() + 4;
        let client = key_of((0, 0)).0;
        for count in [MAX_RESERVATIONS - 1, MAX_RESERVATIONS, u32::MAX - 1] {
            let minutes = vec![(minute - 1, 1), (minute, count - 1)];
            let bytes =
                minutes.iter().flat_map(|(minute, count)| [minute.to_le_bytes(), count.to_le_bytes()]);
            let (key, mut set) = (pair.namespace.reservation_count(client), redis::cmd("SET"));
            set.arg(&key).arg(bytes.flatten().collect::<Vec<u8>>());
            pair.redis.servers.ask(Command::new(&key, set)).await.unwrap();
            pair.counts.insert(0, ReservationCount { minutes });
            for number in 0..3 {
                pair.act(&Step::Reserve { key: (0, number), offer: 0, cost: 1, ttl: 60 * SECOND }).await;
            }
        }
        assert_eq!(pair.held.len(), 1);
        // Once the first of the minutes is over, there is room again.
        pair.act(&Step::Time((3 * MINUTE.0) as i64)).await;
        pair.act(&Step::Reserve { key: (0, 3), offer: 0, cost: 1, ttl: 60 * SECOND }).await;
        assert_eq!(pair.held.len(), 1);
        pair.act(&Step::Time(MINUTE.0 as i64)).await;
        pair.act(&Step::Reserve { key: (0, 3), offer: 0, cost: 1, ttl: 60 * SECOND }).await;
        assert_eq!(pair.held.len(), 2);
    });
}

/// Each is a key of its own, which Redis forgets by itself.
#[test]
fn what_redis_keeps_of_reservations_expires() {
    let server = Server::start().unwrap();
    runtime().block_on(async {
        let redis = open(&server).await;
        let terms = Arc::new(Offer { monthly: None, ..Offer::default() }.terms().unwrap());
        let hold =
            Hold { tier: "free".into(), terms, cost: Cost(7), ttl: Micros(90 * SECOND), context: vec![] };
        let keys = Keys::new("expiry");
        let key = key_of((1, 1));
        let left = |key: &str| server.ask(&["PTTL", key]).unwrap().parse::<u64>().unwrap();
        for _ in 0..2 {
            reserve(&redis.servers, &redis.reserve, &keys, key, (b"x".to_vec(), &hold), None).await.unwrap();
            let of_one = left(&keys.reservation(key.0, key.1));
            let most = 90_000 + LATE.millis().0;
            assert!((most - 30_000..=most + 1).contains(&of_one), "{of_one}");
            let of_count = left(&keys.reservation_count(key.0));
            assert!((of_one..=of_one + 60_001).contains(&of_count), "{of_count}");
        }
        settle(&redis.servers, &redis.reserve, &keys, key, Cost(1), None).await.unwrap();
        assert!(left(&keys.reservation(key.0, key.1)) > LATE.millis().0);
    });
}
