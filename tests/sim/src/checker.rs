//! Checks what must hold, against the log of requests alone and by sums over plain lists. Nothing here uses the product's
//! arithmetic.
//!
//! | check | what must hold |
//! | --- | --- |
//! | [`interval`] | over all gateways, a client gets at most *capacity + rate·t* in any interval *t* |
//! | [`month`] | a client gets at most its quota in any calendar month |
//! | [`outage`] | without the store, the same holds for each gateway |
//! | [`changed`] | a client whose limits change is not refused by a limit that no longer applies |
//! | [`usage`] | what the store says was used is what was let through |
//! | [`fairness`] | a client that keeps to its limit is not refused |
//! | [`service`] | a client that asks for much gets all of its limit, one that asks for little is never refused, and the store is used again after an outage |
//! | `price` | the requests of one kind of clients cost the store no more than promised |
//!
//! The cluster itself finds what shows at once: a breaker that trips late, a call that the host forbids, a wait that was not
//! true.

pub mod calendar;
pub mod changed;
pub mod fairness;
pub mod interval;
mod limits;
pub mod month;
pub mod outage;
mod price;
pub mod service;
pub mod usage;

use std::collections::BTreeMap;

use crate::log::{Log, Shot, Violation};
use crate::plan::Plan;

/// All that the checks read.
pub struct Evidence<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The log of the run.
    pub log: &'a Log,
    /// Each client's requests, in their order.
    pub by_client: BTreeMap<u32, Vec<Shot>>,
}

/// The first violation, if there is one.
#[must_use]
pub fn check(plan: &Plan, log: &Log) -> Option<Violation> {
    if let Some(found) = log.found.borrow().first() {
        return Some(found.clone());
    }
    let mut by_client: BTreeMap<u32, Vec<Shot>> = BTreeMap::new();
    for shot in log.shots.borrow().iter() {
        by_client.entry(shot.client).or_default().push(*shot);
    }
    let evidence = Evidence { plan, log, by_client };
    [
        interval::check,
        month::check,
        outage::check,
        changed::check,
        usage::check,
        fairness::check,
        service::check,
        price::check,
    ]
    .iter()
    .find_map(|check| check(&evidence))
}

impl Evidence<'_> {
    /// The plan's client that has the number `client`, or whose group has it.
    fn planned(&self, client: u32) -> &crate::plan::Client {
        let group = client / crate::cluster::traffic::GROUP;
        let number = if group == 0 { client } else { group - 1 };
        &self.plan.clients[number as usize]
    }
}
