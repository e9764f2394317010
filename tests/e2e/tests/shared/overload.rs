//! Clients that offer more than their limit, at three gateways at once.

use std::time::Duration;

use serde_json::json;

use crate::Cluster;
use crate::ledger::{Limit, MINUTE, SECOND};
use crate::length;
use crate::load::{Consumer, Load, Turn};

/// How a client spreads its requests: the gateway of the request with a number and a time.
type Spread = fn(usize, Duration) -> usize;

/// One client, and what must hold for it.
struct Case {
    name: &'static str,
    tier: &'static str,
    limits: &'static [Limit],
    spread: Spread,
    /// The share of its limits' allowance that it must get.
    percent: f64,
}

const FREE: &[Limit] = &[Limit::new(150, 100, MINUTE)];
const PRO: &[Limit] = &[Limit::new(600, 600, MINUTE)];
const TWO_RATES: &[Limit] = &[Limit::new(100, 100, MINUTE), Limit::new(20, 20, SECOND)];

const EVENLY: Spread = |number, _| number % 3;
const SKEWED: Spread = |number, _| match number % 100 {
    99 => 2,
    90.. => 1,
    _ => 0,
};
const MOVING: Spread = |_, at| at.as_secs() as usize % 3;

const CASES: [Case; 5] = [
    Case { name: "even", tier: "free", limits: FREE, spread: EVENLY, percent: 99.0 },
    Case { name: "skewed", tier: "free", limits: FREE, spread: SKEWED, percent: 99.0 },
    Case { name: "moving", tier: "free", limits: FREE, spread: MOVING, percent: 95.0 },
    Case { name: "pro", tier: "brisk", limits: PRO, spread: EVENLY, percent: 99.0 },
    Case { name: "two-rates", tier: "two_rates", limits: TWO_RATES, spread: EVENLY, percent: 99.0 },
];

#[test]
fn who_offers_five_times_its_limit_gets_all_of_it_and_never_more() {
    let cluster = Cluster::open(3, "memory", |policy| {
        policy["tiers"]["brisk"] = json!({ "rate": "600/minute", "burst": 1 });
        policy["tiers"]["two_rates"] = json!({ "rate": ["20/second", "100/minute"], "burst": 1 });
    });
    let load = Load::on(cluster.addresses());
    std::thread::scope(|scope| {
        for case in &CASES {
            let load = &load;
            scope.spawn(move || case.check(load));
        }
    });
}

impl Case {
    fn check(&self, load: &Load) {
        let length = length::of_a_minute();
        let consumer = Consumer::new(self.name, self.tier);
        let log = load.run(|number| {
            let at = self.at(number);
            (at <= length).then(|| Turn {
                at,
                gateway: (self.spread)(number, at),
                consumer: consumer.clone(),
            })
        });
        log.assert_decided();
        let late = log.within(length / 2, length);
        // Five times as much is offered. In a shortened run what gateways borrowed before is a good part of what is admitted.
        let (offered, admitted) = (late.count(), late.admitted().count());
        assert!(offered >= 3 * admitted, "{}: its limit was not met: {admitted} of {offered}", self.name);
        for limit in self.limits {
            limit.assert_never_over(&log, self.name);
        }
        // In a shortened run one request that each gateway may just not have got weighs more than a hundredth.
        let but = length::full_or(0.0, 3.0);
        self.limits[0].assert_used(&log, self.percent, but, self.name);
    }

    /// When the request with this number is due. A shortened run offers twice what the bucket holds in its first third, so that
    /// the limit is met for most of it.
    fn at(&self, number: usize) -> Duration {
        let limit = &self.limits[0];
        let third = length::of_a_minute().as_secs_f64() / 3.0;
        let early = length::full_or(0.0, 2.0 * limit.capacity as f64);
        let of_early = (number as f64).min(early) / early.max(1.0) * third;
        let offered = 5.0 * limit.units as f64 / limit.period.as_secs_f64();
        Duration::from_secs_f64(of_early + (number as f64 - early).max(0.0) / offered)
    }
}
