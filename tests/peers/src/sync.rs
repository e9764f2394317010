//! A fixed window with a counter at each gateway, which is synced with a common one at intervals.
//!
//! - Kong's `rate-limiting` with `policy: redis` and a `sync_rate`
//!   (<https://developer.konghq.com/plugins/rate-limiting>). It calls this strategy accurate only without one
//!   (<https://developer.konghq.com/gateway/rate-limiting/strategies>), and recommends a second at least
//!   (<https://developer.konghq.com/support/rate-limiting-advanced-plugin-showing-warn-in-logs-when-sync-rate-set-between-0-and-1/>).
//!
//! Apache APISIX's `limit-count` with a `sync_interval` describes the same: it decides by the count of the last synchronization
//! and by what the instance has counted since, without what others have
//! (<https://apisix.apache.org/docs/apisix/3.19/plugins/limit-count/>).
//!
//! A gateway fetches the common count with the first request of a window and adds its own. It sends what it has added one
//! `sync_rate` after the first request that it has admitted since the last sync, and fetches the count again with its next
//! request.
//!
//! Assumptions in its favor: a sync takes no time and never fails, a gateway has one worker (Kong's have counters of their
//! own), and all gateways agree on when a minute begins.

use std::collections::HashMap;

use crate::workload::Arrival;
use crate::{LIMIT, MINUTE};

/// The time between two syncs of a gateway: the shortest that is recommended.
pub const SYNC_RATE: u64 = 1_000_000;

/// What one gateway knows of the running window.
#[derive(Clone, Copy, Default)]
struct Known {
    window: u64,
    /// The common count as of the last sync; `None` if the next request has to fetch it.
    common: Option<u64>,
    /// Admitted here since.
    added: u64,
    /// When it sends that; `None` if there is nothing to send.
    sync_at: Option<u64>,
}

/// The times of the admitted requests.
#[must_use]
pub fn admitted(arrivals: &[Arrival], nodes: usize) -> Vec<u64> {
    let mut common: HashMap<u64, u64> = HashMap::new();
    let mut gateways = vec![Known::default(); nodes];
    let mut admitted = Vec::new();
    for arrival in arrivals {
        let window = arrival.at / MINUTE;
        for known in &mut gateways {
            if known.sync_at.is_some_and(|sync_at| sync_at <= arrival.at) {
                *common.entry(known.window).or_default() += known.added;
                *known = Known { window: known.window, ..Known::default() };
            }
        }
        let Some(known) = gateways.get_mut(arrival.gateway) else { continue };
        if known.window != window {
            // What it added to the window before no longer matters.
            *known = Known { window, ..Known::default() };
        }
        let count = *known.common.get_or_insert_with(|| common.get(&window).copied().unwrap_or(0));
        if count + known.added < LIMIT {
            known.added += 1;
            known.sync_at.get_or_insert(arrival.at + SYNC_RATE);
            admitted.push(arrival.at);
        }
    }
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(micros: u64, count: u64, nodes: u64) -> Vec<Arrival> {
        (0..count).map(|number| Arrival { at: number * micros, gateway: (number % nodes) as usize }).collect()
    }

    #[test]
    fn one_gateway_counts_exactly() {
        assert_eq!(admitted(&every(100_000, 1_200, 1), 1).len() as u64, 2 * LIMIT);
    }

    #[test]
    fn within_a_sync_each_gateway_admits_the_whole_limit() {
        assert_eq!(admitted(&every(10, 1_000, 3), 3).len() as u64, 3 * LIMIT);
    }

    #[test]
    fn after_a_sync_the_others_know() {
        let late = [Arrival { at: SYNC_RATE * 2, gateway: 1 }];
        let arrivals: Vec<Arrival> = every(10, 500, 1).into_iter().chain(late).collect();
        assert_eq!(admitted(&arrivals, 2).len() as u64, LIMIT);
    }
}
