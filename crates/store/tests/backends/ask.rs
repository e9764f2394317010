//! Short forms of what gateways ask.

use std::sync::Arc;
use tollgate_core::units::{Cost, Micros};

use tollgate_core::client::ClientId;
use tollgate_core::terms::{Offer, Rate, Terms};
use tollgate_core::wire::{Answer, Ask, Grant, LeaseRequest};
use tollgate_store::accounts::{Hold, Reservation, ReservationId, month_of};
use tollgate_store::backend::{AccountEntry, Backend, Changed, OverrideChange, Reserved, Settled};

/// Thousandths in a cost unit.
pub const UNIT: u64 = 1_000;

/// A bucket of `units` that fills in a day: a test sees no refill.
pub fn daily(units: u32, monthly: Option<u64>) -> Arc<Terms> {
    terms(Rate { units, seconds: 86_400, burst: 100 }, monthly)
}

pub fn terms(rate: Rate, monthly: Option<u64>) -> Arc<Terms> {
    Arc::new(Offer { tier: String::new(), rates: vec![rate], monthly }.terms().unwrap())
}

/// The client with this number, spread over the shards.
pub fn client(number: u32) -> ClientId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    id[12..].copy_from_slice(&number.to_be_bytes());
    ClientId(id)
}

/// The name of that [`client`].
pub fn name(number: u32) -> Vec<u8> {
    format!("consumer {number}").into_bytes()
}

pub fn charge(number: u32, terms: &Arc<Terms>, cost: u64) -> AccountEntry {
    AccountEntry {
        client: client(number),
        name: Some(name(number)),
        is_anonymous: false,
        tier: "free".into(),
        terms: Arc::clone(terms),
        node: 0,
        ask: Ask::Charge { cost: Cost(cost) },
    }
}

pub fn anonymous(number: u32, terms: &Arc<Terms>, cost: u64) -> AccountEntry {
    AccountEntry { name: None, is_anonymous: true, tier: "anonymous".into(), ..charge(number, terms, cost) }
}

pub fn lease(number: u32, terms: &Arc<Terms>, node: u64, lease: LeaseRequest) -> AccountEntry {
    AccountEntry { node, ask: Ask::Lease(lease), ..charge(number, terms, 0) }
}

/// A node's report number `seq`: what it has spent in all, what it holds, what it needs.
pub fn report(seq: u32, spent: u64, hold: u64, need: u64) -> LeaseRequest {
    LeaseRequest {
        epoch: 1,
        seq,
        spent: Cost(spent),
        hold: Cost(hold),
        need: Cost(need),
        ..LeaseRequest::default()
    }
}

/// Settles one entry.
pub async fn apply(backend: &Arc<dyn Backend>, namespace: &str, entry: AccountEntry) -> Answer {
    let batch = backend.apply(namespace, vec![entry]).await.unwrap();
    assert_eq!(batch.answers.len(), 1);
    batch.answers[0]
}

pub fn grant(answer: Answer) -> Grant {
    match answer {
        Answer::Grant(grant) => grant,
        other => panic!("{other:?}"),
    }
}

/// Reserves for a client, under a number, for five minutes.
pub async fn reserve(
    backend: &Arc<dyn Backend>,
    namespace: &str,
    (number, id): (u32, u8),
    terms: &Arc<Terms>,
    cost: u64,
) -> Reserved {
    let hold = Hold {
        tier: "free".into(),
        terms: Arc::clone(terms),
        cost: Cost(cost),
        ttl: Micros(300_000_000),
        context: b"what the application keeps".to_vec(),
    };
    let key = (client(number), ReservationId([id; 16]));
    backend.reserve(namespace, key, name(number), hold).await.unwrap()
}

/// Settles what [`reserve`] has reserved.
pub async fn settle(
    backend: &Arc<dyn Backend>,
    namespace: &str,
    (number, id): (u32, u8),
    cost: u64,
) -> Settled {
    let key = (client(number), ReservationId([id; 16]));
    backend.settle(namespace, key, Cost(cost)).await.unwrap()
}

/// The reservation that was just made.
pub fn made(reserved: Reserved) -> Reservation {
    match reserved {
        Reserved::Now(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

/// The backend's current month.
pub async fn month(backend: &Arc<dyn Backend>) -> u16 {
    month_of(backend.now().await.unwrap())
}

/// What the client has used this month.
pub async fn used(backend: &Arc<dyn Backend>, namespace: &str, number: u32) -> u64 {
    let month = month(backend).await;
    backend.usage(namespace, client(number), month).await.unwrap().map_or(0, |usage| usage.used.0)
}

/// Sets or removes a consumer's override, whatever it was before. Returns the new revision.
pub async fn put_override(
    backend: &Arc<dyn Backend>,
    namespace: &str,
    consumer: &str,
    value: Option<Vec<u8>>,
    line: Vec<u8>,
) -> u64 {
    let change = OverrideChange { value, line, most: u64::MAX, ..OverrideChange::default() };
    match backend.change_override(namespace, consumer, change).await.unwrap() {
        Changed::To(revision) => revision,
        other => panic!("{other:?}"),
    }
}
