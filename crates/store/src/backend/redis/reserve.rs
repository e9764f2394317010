//! Reservations as calls of `reserve.lua`, and its answers.

use async_trait::async_trait;
use redis::Value;
use tollgate_core::terms::{Bucket, EXACT, Terms};
use tollgate_core::units::{Cost, UnixMicros, Work};
use tollgate_core::wire::{Answer, Ask, Grant};

use super::Redis;
use super::apply::{answer, exact, pack_offer, time_argument};
use super::bytes::Reader;
use super::key::{self, Keys};
use super::lua::{self, RESERVATION_VERSION, ask, status};
use super::script::{Call, Script};
use super::servers::Servers;
use crate::accounts::{Decided, Hold, Reservation};
use crate::backend::{BackendError, ReservationKey, ReservationStore, Reserved, Settled};

/// The length of a charge's answer.
const GRANT_LENGTH: usize = 68;

/// The script.
pub(super) fn script() -> Script {
    let source = concat!(
        include_str!("../../../scripts/account.lua"),
        include_str!("../../../scripts/apply.lua"),
        include_str!("../../../scripts/reserve.lua")
    );
    Script::kept_alone(&lua::of_accounts(source), "reserve_or_settle")
}

#[async_trait]
impl ReservationStore for Redis {
    async fn reserve(
        &self,
        namespace: &str,
        key: ReservationKey,
        name: Vec<u8>,
        hold: Hold,
    ) -> Result<Reserved, BackendError> {
        self.register(namespace).await;
        reserve(&self.servers, &self.reserve, &Keys::new(namespace), key, (name, &hold), None).await
    }

    async fn settle(
        &self,
        namespace: &str,
        key: ReservationKey,
        cost: Cost,
    ) -> Result<Settled, BackendError> {
        settle(&self.servers, &self.reserve, &Keys::new(namespace), key, cost, None).await
    }
}

/// Reserves what `hold` wants for the client called `name`, at the server's time. Tests set the time by `at`.
pub(super) async fn reserve(
    servers: &Servers,
    script: &Script,
    keys: &Keys,
    key: ReservationKey,
    (name, hold): (Vec<u8>, &Hold),
    at: Option<UnixMicros>,
) -> Result<Reserved, BackendError> {
    let (client, id) = key;
    let mut what = vec![ask::RESERVE];
    what.extend(exact(hold.cost));
    what.extend(hold.ttl.0.to_le_bytes());
    let call = Call {
        keys: vec![
            keys.account(client),
            keys.reservation(client, id),
            keys.reservation_count(client),
            keys.names(key::shard_of(client)),
        ],
        arguments: vec![
            time_argument(at),
            what,
            pack_offer(&hold.terms, &hold.tier),
            name,
            hold.context.clone(),
        ],
    };
    let bytes = bytes_of(script.call(servers, call).await?)?;
    reserved(&bytes, Cost(hold.cost.0.min(EXACT))).ok_or_else(|| damaged(key))
}

/// Settles a reservation with `cost`, at the server's time. Tests set the time by `at`.
pub(super) async fn settle(
    servers: &Servers,
    script: &Script,
    keys: &Keys,
    key: ReservationKey,
    cost: Cost,
    at: Option<UnixMicros>,
) -> Result<Settled, BackendError> {
    let mut what = vec![ask::SETTLE];
    what.extend(exact(cost));
    what.extend([0; 8]);
    let call = Call {
        keys: vec![keys.account(key.0), keys.reservation(key.0, key.1)],
        arguments: vec![time_argument(at), what],
    };
    let bytes = bytes_of(script.call(servers, call).await?)?;
    settled(&bytes).ok_or_else(|| damaged(key))
}

fn bytes_of(value: Value) -> Result<Vec<u8>, BackendError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(BackendError::Corrupt("the answer about a reservation cannot be read".into())),
    }
}

fn damaged((client, _): ReservationKey) -> BackendError {
    BackendError::Corrupt(format!("the account of client {client} or its reservation is damaged"))
}

/// Reads the answer to [`reserve`] for `cost`. `None` means that something is damaged.
fn reserved(bytes: &[u8], cost: Cost) -> Option<Reserved> {
    let (first, rest) = bytes.split_first()?;
    Some(match *first {
        status::GRANTED => Reserved::Now(reservation(rest)?),
        status::REPEATED => Reserved::Before(reservation(rest)?),
        status::TOO_MANY => Reserved::TooMany,
        status::DENIED => {
            let mut reader = Reader(rest);
            let at = UnixMicros(reader.long()?);
            Reserved::Refused(Decided { at, cost, grant: grant(reader.0)? })
        }
        _ => return None,
    })
}

/// Reads the answer to [`settle`]. `None` means that something is damaged.
fn settled(bytes: &[u8]) -> Option<Settled> {
    let (first, rest) = bytes.split_first()?;
    Some(match *first {
        status::GRANTED => Settled::Now(reservation(rest)?),
        status::REPEATED => Settled::Before(reservation(rest)?),
        status::ABSENT => Settled::Unknown,
        _ => return None,
    })
}

/// Reads a reservation as `reserve.lua` packs it.
pub(super) fn reservation(bytes: &[u8]) -> Option<Reservation> {
    let mut reader = Reader(bytes);
    if reader.byte()? != RESERVATION_VERSION {
        return None;
    }
    let (at, cost, expires) = (UnixMicros(reader.long()?), Cost(reader.long()?), UnixMicros(reader.long()?));
    let (offer, context) = (reader.short()?, reader.short()?);
    let (terms, tier) = offer_of(reader.take(offer.into())?)?;
    let context = reader.take(context.into())?.to_vec();
    let reserved = Decided { at, cost, grant: grant(reader.take(GRANT_LENGTH)?)? };
    let settled = if reader.is_empty() {
        None
    } else {
        let (at, cost) = (UnixMicros(reader.long()?), Cost(reader.long()?));
        Some(Decided { at, cost, grant: grant(reader.take(GRANT_LENGTH)?)? })
    };
    reader.is_empty().then_some(Reservation { tier, terms, reserved, expires, context, settled })
}

/// Reads what [`pack_offer`] has packed.
fn offer_of(bytes: &[u8]) -> Option<(Terms, String)> {
    let mut reader = Reader(bytes);
    let count = usize::from(reader.byte()?);
    let mut buckets = Vec::with_capacity(3);
    for _ in 0..3 {
        let (drain, weight) = (reader.long()?, reader.long()?);
        buckets.push(Bucket { drain, weight, capacity: Work(reader.long()?) });
    }
    buckets.truncate(count);
    let (is_monthly, monthly) = (reader.byte()?, Cost(reader.long()?));
    let terms = Terms { buckets, monthly: (is_monthly == 1).then_some(monthly) };
    Some((terms, String::from_utf8(reader.0.to_vec()).ok()?))
}

fn grant(bytes: &[u8]) -> Option<Grant> {
    match answer(bytes, &Ask::Charge { cost: Cost(0) })? {
        Answer::Grant(grant) => Some(grant),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tollgate_core::terms::{Offer, Rate};

    #[test]
    fn limits_are_read_as_they_are_packed() {
        let rate = |units| Rate { units, seconds: 60, burst: 150 };
        for rates in [vec![], vec![rate(100)], vec![rate(1), rate(20), rate(999_999)]] {
            for monthly in [None, Some(0), Some(50_000)] {
                let offer = Offer { tier: "free".into(), rates: rates.clone(), monthly };
                let terms = Arc::new(offer.terms().unwrap());
                let read = offer_of(&pack_offer(&terms, "free"));
                assert_eq!(read, Some((Terms::clone(&terms), "free".to_owned())));
            }
        }
    }

    #[test]
    fn what_no_script_has_packed_is_no_reservation() {
        let offer = pack_offer(&Terms::default(), "free");
        let good = [
            &[RESERVATION_VERSION][..],
            &[7; 24],
            &[u8::try_from(offer.len()).unwrap(), 0, 2, 0],
            &offer,
            b"xy",
            &[0; GRANT_LENGTH],
        ]
        .concat();
        let settled = [&good[..], &[1; 16], &[0; GRANT_LENGTH]].concat();
        assert_eq!(reservation(&good).unwrap().context, b"xy");
        assert_eq!(reservation(&settled).unwrap().settled.unwrap().cost, Cost(0x0101_0101_0101_0101));
        for bytes in [&good, &settled] {
            assert_eq!(reservation(&bytes[..bytes.len() - 1]), None);
            assert_eq!(reservation(&[bytes, &[0][..]].concat()), None);
        }
        assert_eq!(reservation(&[&[2], &good[1..]].concat()), None);
        for answer in [&[][..], &[status::DAMAGED], &[status::STALE], &[status::GRANTED]] {
            assert_eq!(reserved(answer, Cost(0)), None, "{answer:?}");
            assert_eq!(super::settled(answer), None, "{answer:?}");
        }
        assert!(reserved(&[&[status::REPEATED], &good[..]].concat(), Cost(0)).is_some());
    }
}
