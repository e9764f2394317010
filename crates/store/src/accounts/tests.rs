//! One account, as nodes and charges use it. Each file has one concern.

mod lending;
mod months;
mod pace;
mod properties;
mod reports;
mod reserving;
mod settling;

use super::*;
use tollgate_core::terms::{Offer, Rate};
use tollgate_core::units::{Cost, Micros, Millis, UnixMicros, Work};
use tollgate_core::wire::LONGEST_EMPTY;

/// 2026-11-24T00:00:00Z.
pub(super) const NOW: u64 = 1_795_478_400_000_000;
pub(super) const SECOND: u64 = 1_000_000;
pub(super) const DAY: u64 = 86_400 * SECOND;
/// A whole unit of cost, in thousandths.
pub(super) const UNIT: u64 = 1_000;

pub(super) fn terms(rates: &[(u32, u32, u32)], monthly: Option<u64>) -> Terms {
    let rates =
        rates.iter().map(|(units, seconds, burst)| Rate { units: *units, seconds: *seconds, burst: *burst });
    Offer { tier: "free".into(), rates: rates.collect(), monthly }.terms().unwrap()
}

pub(super) fn free() -> Terms {
    terms(&[(100, 60, 150)], Some(50_000))
}

pub(super) fn ask(seq: u32, spent: u64, hold: u64, need: u64, want: u64) -> LeaseRequest {
    LeaseRequest {
        epoch: 7,
        seq,
        spent: Cost(spent),
        acked: Cost(0),
        spent_before_day: Cost(0),
        day: 0,
        hold: Cost(hold),
        need: Cost(need),
        queued: Cost(0),
        want: Cost(want),
        since: [Micros(0); 3],
        ..LeaseRequest::default()
    }
}

/// What was spent in all months.
fn months(account: &Account) -> u64 {
    let months = account.usage.iter().filter(|usage| usage.period < FIRST_DAY);
    months.map(|usage| usage.used.0).sum()
}

fn grant(applied: Applied) -> Grant {
    match applied {
        Applied::Grant(grant) => grant,
        Applied::Stale => panic!("the message counts as stale"),
    }
}
