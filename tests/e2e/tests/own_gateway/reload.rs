//! Policies that change while in force, and policies that are wrong.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_e2e::standing::{Standing, tier};
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::Request;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::wait;

use crate::Site;

fn with_rate(config: Config, rate: &str) -> Config {
    config.policy(|policy| policy["tiers"]["pro"]["rate"] = rate.into())
}

/// `tollgate check` says the same.
fn problem(rate: &str) -> String {
    format!("tiers.pro.rate: \"{rate}\" is not a rate; write ")
}

fn updatable(workers: u32) -> Site {
    let upstream = Upstream::on_loopback().unwrap();
    let config = Config::sample(upstream.address()).unwrap();
    let envoy = Envoy::start_updatable(&config, workers).unwrap();
    Site { envoy, upstream, config }
}

#[test]
fn an_envoy_does_not_start_with_a_wrong_policy_and_says_what_is_wrong() {
    let upstream = Upstream::on_loopback().unwrap();
    let wrong = with_rate(Config::sample(upstream.address()).unwrap(), "1000/mnth");
    let failure = format!("{:#}", Envoy::start(&wrong, 1).unwrap_err());
    assert!(failure.contains(&problem("1000/mnth")), "{failure}");
}

#[test]
fn a_running_envoy_refuses_a_wrong_policy_and_serves_on_with_the_old() {
    let mut site = updatable(1);
    // Each rate differs: an Envoy does not try the same wrong configuration twice, nor repeat what is wrong.
    for (rate, left) in [("1000/mnth", 999_999), ("1000", 999_998), ("a lot", 999_997)] {
        let refusal = format!("{:#}", site.envoy.update(&with_rate(site.config.clone(), rate)).unwrap_err());
        assert!(refusal.contains(&problem(rate)), "{refusal}");
        let standing = Standing::of(&site.ask("pro-01", "/identify"));
        assert_eq!((standing.limit, standing.month_left), (1000, Some(left)));
    }
    site.envoy.update(&with_rate(site.config.clone(), "500/minute")).unwrap();
    assert_eq!(Standing::of(&site.ask("pro-01", "/identify")).limit, 500);
}

/// Ends the load, even when a check fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_new_policy_under_load_loses_no_request_and_hands_out_no_fresh_bucket() {
    const RELOADS: u64 = 6;
    let mut site = updatable(4);
    let address = site.envoy.address();
    // This consumer has used up its bucket before.
    let spent = Request::get("/compare").of("free-01");
    while site.ask("free-01", "/compare").status != 429 {}
    let emptied = Instant::now();

    let mut asked = 0;
    let (stop, answered, passed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _whatever_happens = StopAtEnd(&stop);
        for thread in 0..6 {
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || {
                let mut client = tollgate_testkit::http::Client::to(address);
                // Some keep their connection, and with it the policy under which it came; others reconnect.
                while !stop.load(Ordering::Relaxed) {
                    if thread % 2 == 0 {
                        client = tollgate_testkit::http::Client::to(address);
                    }
                    let response = client.send(&Request::get("/identify").of("initech-enterprise")).unwrap();
                    assert_eq!((response.status, tier(&response)), (200, Some("enterprise")));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let status = tollgate_testkit::http::Client::to(address).send(&spent).unwrap().status;
                assert!(matches!(status, 200 | 429), "{status}");
                passed.fetch_add(u64::from(status == 200), Ordering::Relaxed);
            }
        });
        for reload in 1..=RELOADS {
            let next = site.config.clone().policy(|policy| {
                policy["tiers"]["pro"]["rate"] = format!("{}/minute", 1000 + reload).into();
                policy["endpoints"] =
                    json!([{ "path": "/compare", "cost": 2 }, { "path": format!("/v{reload}"), "cost": 1 }]);
            });
            let before = answered.load(Ordering::Relaxed);
            site.envoy.update(&next).unwrap();
            // The workers take the policy over one after the other.
            wait::until("the new rate", Duration::from_secs(20), || {
                asked += 1;
                (Standing::of(&site.ask("pro-01", "/identify")).limit == 1000 + reload).then_some(())
            })
            .unwrap();
            wait::until("requests after the reload", Duration::from_secs(20), || {
                (answered.load(Ordering::Relaxed) > before + 200).then_some(())
            })
            .unwrap();
        }
    });
    // Each request cost two units, of what was left and came back since.
    let units = 2.0 + emptied.elapsed().as_secs_f64() * 100.0 / 60.0;
    let passed = passed.into_inner();
    assert!(passed <= (units / 2.0) as u64, "{passed} × 2 of {units}");
    // The month is not fresh, either.
    let last = Standing::of(&site.ask("pro-01", "/identify"));
    assert_eq!(last.month_left, Some(1_000_000 - asked - 1));
}
