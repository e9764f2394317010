//! What must hold, checked against the log of requests alone, by sums over plain lists: nothing here is the product's
//! arithmetic.
//!
//! | check | what must hold |
//! | --- | --- |
//! | [`interval`] | in no interval *t* more than *capacity + rate·t*, of a client, over all gateways |
//! | [`month`] | in no calendar month more than its quota |
//! | [`outage`] | without the store, the same for each gateway |
//! | [`changed`] | whoever gets other limits is refused by nothing that no longer applies |
//! | [`usage`] | what the store says was used is what was let through |
//! | [`fairness`] | who keeps to its limit is not refused |
//! | [`service`] | who asks for much gets all of its limit; who asks for little is never refused; recovery |
//! | `price` | what the requests of one kind of clients cost the store |
//!
//! What is seen at once (a breaker that trips late, a call that the host forbids, a wait that was not true) is found by
//! the cluster itself.

mod calendar;
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

/// All that the checks look at.
pub struct Evidence<'a> {
    /// What was decided before.
    pub plan: &'a Plan,
    /// What has happened.
    pub log: &'a Log,
    /// Each client's requests, in their order.
    pub by_client: BTreeMap<u32, Vec<Shot>>,
}

/// The first thing found that must not be.
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
    /// The plan's client that `client` is, or is one of the group of.
    fn planned(&self, client: u32) -> &crate::plan::Client {
        let group = client / crate::cluster::traffic::GROUP;
        let number = if group == 0 { client } else { group - 1 };
        &self.plan.clients[number as usize]
    }
}
