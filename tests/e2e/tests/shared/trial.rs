//! A fault under load, and what no fault may change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_testkit::envoy::Envoy;
use tollgate_testkit::wait;

use crate::ledger::{Limit, SECOND};
use crate::load::{Consumer, Load, Log, StopAtEnd, Turn};
use crate::{Cluster, PATIENCE, metric};

/// The limit of a client that always offers more.
pub const LIMIT: Limit = Limit::new(20, 10, SECOND);

/// The longest that a request waits for the store. A tenth of it would do if nothing else ran on the machine.
const TIMEOUT: Duration = Duration::from_millis(500);

/// How much a busy machine may add to it.
const NOISE: Duration = Duration::from_millis(150);

/// Gateways use a store that is back again within two seconds. A busy machine gets two more.
const RECOVERY: Duration = Duration::from_secs(4);

/// The load before and after the fault, and at least while it lasts.
const CALM: Duration = Duration::from_secs(2);

/// Requests per second of all consumers together: enough to see a pattern, and few enough for a busy machine.
const OVERLOAD: f64 = 40.0;
const COUNTED: f64 = 30.0;
const FRESH: f64 = 30.0;

/// The policy of a trial.
pub fn policy(policy: &mut Value) {
    policy["tiers"]["small"] = json!({ "rate": "10/second", "burst": 2 });
    policy["tiers"]["counted"] = json!({ "rate": "unlimited", "monthly": 1_000_000 });
    policy["store"]["timeout"] = format!("{}ms", TIMEOUT.as_millis()).into();
}

/// The outcome of the load, and when each step happened; times count from its beginning.
pub struct Trial {
    /// A client that offers more than [`LIMIT`].
    pub overload: Log,
    /// A client that nothing limits.
    pub counted: Log,
    /// A new consumer with every request.
    fresh: Log,
    fault: Duration,
    /// When all gateways had given the store up, if the trial waited for that.
    noticed: Option<Duration>,
    back: Duration,
    recovered: Duration,
    /// Calls that failed while the fault lasted, by gateway.
    failed: Vec<u64>,
    /// Requests decided without the store before the fault and after the recovery: a machine that hangs for longer than
    /// [`TIMEOUT`] causes them.
    hiccups: [u64; 2],
}

/// How much of the store a fault takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it until it is mended: every gateway gives the store up.
    All,
    /// Some clients' accounts, or all for a moment: gateways may not even notice.
    Some,
}

impl Trial {
    /// Puts load on a cluster, breaks something, waits until all gateways have noticed, lets it last, mends it, and waits until
    /// all gateways use the store again.
    pub fn run(
        cluster: &mut Cluster,
        extent: Extent,
        break_it: impl FnOnce(&mut Cluster),
        mend: impl FnOnce(&mut Cluster),
    ) -> Self {
        let load = Load::on(cluster.addresses());
        let stop = AtomicBool::new(false);
        let gateways = cluster.gateways.len();
        let offer = |rate: f64, who: fn(usize) -> Consumer| {
            load.run(|number| {
                let at = Duration::from_secs_f64(number as f64 / rate);
                let turn = Turn { at, gateway: number % gateways, consumer: who(number) };
                (!stop.load(Ordering::Relaxed)).then_some(turn)
            })
        };
        std::thread::scope(|scope| {
            let _whatever_happens = StopAtEnd(&stop);
            let overload = scope.spawn(|| offer(OVERLOAD, |_| Consumer::new("overload", "small")));
            let counted = scope.spawn(|| offer(COUNTED, |_| Consumer::new("counted", "counted")));
            let fresh =
                scope.spawn(|| offer(FRESH, |number| Consumer::new(&format!("fresh-{number}"), "small")));
            wait::pass(CALM);
            let hiccups_before = alone(&cluster.gateways);
            let failed_before = failed(&cluster.gateways);
            let lost_before: Vec<usize> = cluster.gateways.iter().map(lost).collect();
            let fault = load.began.elapsed();
            break_it(cluster);
            let noticed = (extent == Extent::All).then(|| {
                let gateways = cluster.gateways.iter().zip(&lost_before);
                let all_notice = || gateways.clone().all(|(one, before)| lost(one) > *before).then_some(());
                wait::until("every gateway to notice", PATIENCE, all_notice).unwrap();
                load.began.elapsed()
            });
            wait::pass(CALM);
            let failed =
                failed(&cluster.gateways).iter().zip(failed_before).map(|(all, some)| all - some).collect();
            let back = load.began.elapsed();
            mend(cluster);
            let mended = Instant::now();
            let all_use_it = || cluster.gateways.iter().all(|one| lost(one) == found(one)).then_some(());
            wait::until("every gateway to use the store again", PATIENCE, all_use_it).unwrap();
            let noticed_after = noticed.map(|noticed| noticed - fault);
            println!("noticed after {noticed_after:?}, recovered after {:?}", mended.elapsed());
            assert!(mended.elapsed() <= RECOVERY, "recovered after {:?}", mended.elapsed());
            let recovered = load.began.elapsed();
            let alone_until_now = alone(&cluster.gateways);
            wait::pass(CALM);
            let hiccups = [hiccups_before, alone(&cluster.gateways) - alone_until_now];
            stop.store(true, Ordering::Relaxed);
            let [overload, counted, fresh] = [overload, counted, fresh].map(|log| log.join().unwrap());
            Self { overload, counted, fresh, fault, noticed, back, recovered, failed, hiccups }
        })
    }

    /// Checks that no client was harmed: no request failed; no request without a limit was refused, except those without an
    /// answer before the store was known to be away; no limit was exceeded, except as `on_failure: local` says; no request
    /// waited longer than it may; and requests do not ask a store that is away.
    pub fn assert_harmless(&self) {
        let all = [&self.overload, &self.counted, &self.fresh];
        all.iter().for_each(|log| log.assert_decided());
        // Every worker finds out by itself, with three calls: at worst one after the other.
        let known = self.noticed.map_or(self.recovered, |noticed| noticed.max(self.fault + 3 * TIMEOUT));
        for (log, why) in [(&self.counted, "nothing limits it"), (&self.fresh, "each has a full bucket")] {
            let refused = log.only(|shot| shot.status != 200);
            let unanswered = refused.within(self.fault.saturating_sub(TIMEOUT), known + NOISE);
            println!("{} had no answer in time", unanswered.count());
            assert_eq!(refused.count(), unanswered.count(), "{why}: {:?}", refused.shots);
        }

        // The limit holds over all gateways before and after the fault, if no request was decided without the
        // store, and for each node by itself all the time.
        let before = self.overload.within(Duration::ZERO, self.fault);
        let after = self.overload.within(self.recovered, Duration::MAX);
        for ((log, hiccups), when) in [&before, &after].into_iter().zip(self.hiccups).zip(["before", "after"])
        {
            match hiccups {
                0 => LIMIT.assert_never_over(log, &format!("{when} the fault")),
                some => println!("{some} requests were decided without the store {when} the fault"),
            }
        }
        for gateway in 0..self.failed.len() {
            LIMIT.assert_never_over(&self.overload.at(gateway), &format!("gateway {gateway}"));
        }
        assert!(after.admitted().count() > 0, "it goes on");

        let shots = all.iter().flat_map(|log| log.shots.iter().copied()).collect();
        let all = Log { shots };
        let usual = all.within(Duration::ZERO, self.fault).p90();
        let bad = all.within(self.fault, self.back).p90();
        println!("p90: usually {usual:?}, while it lasts {bad:?}; failed calls {:?}", self.failed);
        assert!(bad <= usual + TIMEOUT + NOISE, "{bad:?} while it lasts, {usual:?} before");
        if let Some(noticed) = self.noticed {
            let away = all.within(noticed + CALM / 2, self.back).p90();
            println!("p90 once noticed: {away:?}");
            assert!(away <= usual * 2 + NOISE, "{away:?} once noticed, {usual:?} before");
            self.assert_spared(&all);
        }
    }

    /// Checks that the month's usage has all that was let through.
    pub fn assert_nothing_lost(&self, cluster: &Cluster) {
        cluster.assert_comes_to_use("counted", self.counted.admitted().count());
        cluster.assert_comes_to_use("overload", self.overload.admitted().count());
    }

    /// Checks that requests do not ask a store that is away.
    fn assert_spared(&self, all: &Log) {
        // Each of a gateway's two workers and its main thread makes three calls until it gives up, with those of requests that
        // were under way at the time, and then one to probe, at most four times a second.
        let seconds = (self.back - self.fault).as_secs() + 1;
        let most = 3 * (3 + 4 * seconds) + 18;
        let requests = all.within(self.fault, self.back).count() / self.failed.len();
        assert!(
            self.failed.iter().all(|calls| *calls <= most),
            "{:?} calls of {most}, {requests} requests a gateway",
            self.failed
        );
    }
}

/// Calls to the store that failed, by gateway.
fn failed(gateways: &[Envoy]) -> Vec<u64> {
    gateways.iter().map(|gateway| metric(gateway, "tollgate_store_calls", "outcome=\"failed\"")).collect()
}

/// Requests that the gateways decided without the store.
fn alone(gateways: &[Envoy]) -> u64 {
    gateways.iter().map(|gateway| metric(gateway, "tollgate_requests", "outcome=\"fallback\"")).sum()
}

/// How often workers of the gateway have given the store up.
fn lost(gateway: &Envoy) -> usize {
    said(gateway, " is away; requests are decided by on_failure until it is back")
}

/// How often they have found it again.
fn found(gateway: &Envoy) -> usize {
    said(gateway, "tollgate_store is back")
}

fn said(gateway: &Envoy, words: &str) -> usize {
    gateway.log().lines().filter(|line| line.ends_with(words)).count()
}
