//! The limit divided by the number of gateways: each has a token bucket of its part, and asks no other.
//!
//! - Envoy's `local_ratelimit` with `local_cluster_rate_limit`: the tokens are shared out evenly among the members of the
//!   cluster that the gateway is in (<https://github.com/envoyproxy/envoy/pull/34276>, and
//!   <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter>).
//! - The same is done by hand wherever a limit is per instance
//!   (<https://gateway.envoyproxy.io/latest/tasks/traffic/local-rate-limit/>).
//!
//! Assumptions in its favor: every gateway knows at all times how many there are; the bucket fills continuously and holds parts
//! of a token.

use crate::workload::Arrival;
use crate::{CAPACITY, LIMIT, MINUTE};

/// The times of the admitted requests.
#[must_use]
pub fn admitted(arrivals: &[Arrival], nodes: usize) -> Vec<u64> {
    // The unit is work: a microsecond drains LIMIT of it, so a request weighs as much as its gateway's part drains in its time.
    let weight = MINUTE * nodes as u64;
    let capacity = CAPACITY * MINUTE;
    let mut levels = vec![(0_u64, 0_u64); nodes];
    let mut admitted = Vec::new();
    for arrival in arrivals {
        let Some((at, level)) = levels.get_mut(arrival.gateway) else { continue };
        *level = level.saturating_sub((arrival.at - *at) * LIMIT);
        *at = arrival.at;
        if *level + weight <= capacity {
            *level += weight;
            admitted.push(arrival.at);
        }
    }
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gateway_has_its_part_of_burst_and_rate() {
        let to = |gateway| move |number| Arrival { at: number, gateway };
        let burst: Vec<Arrival> = (0..500).map(to(0)).collect();
        assert_eq!(admitted(&burst, 1).len(), 150);
        assert_eq!(admitted(&burst, 3).len(), 50);
        assert_eq!(admitted(&burst, 10).len(), 15);
        let minutes: Vec<Arrival> =
            (0..10_000).map(|number| Arrival { at: number * 60_000, gateway: 0 }).collect();
        // Ten minutes admit the burst, and what is refilled until the last request.
        assert_eq!(admitted(&minutes, 1).len(), 150 + 999);
    }
}
