//! What admins change at the store is in force on every gateway without a reload.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};
use tollgate_testkit::http::{Request, Response};
use tollgate_testkit::{sample, wait};

use crate::Cluster;
use crate::load::Consumer;

/// Two seconds are promised. A busy machine gets two more.
const WITHIN: Duration = Duration::from_secs(4);

const OVERRIDE: &str = "/v1/overrides/fingerprint/acme";

impl Cluster {
    /// Sends an admin's request, which has to work.
    fn order(&self, request: &Request) -> Response {
        let answer = self.store.client().send(request).unwrap();
        assert!((200..300).contains(&answer.status), "{request:?}: {answer:?}");
        answer
    }

    /// Waits until `holds` is true of acme's answers from every gateway.
    fn assert_soon_everywhere(&self, what: &str, holds: impl Fn(&Response) -> bool) {
        let began = Instant::now();
        for gateway in 0..self.gateways.len() {
            let mut last = None;
            let mut client = self.client(gateway);
            wait::until(what, WITHIN.saturating_sub(began.elapsed()), || {
                let answer = client.send(&Consumer::new("acme", "free").asks("/identify")).unwrap();
                let is_so = holds(&answer);
                last = Some(answer);
                is_so.then_some(())
            })
            .unwrap_or_else(|error| panic!("{error} at gateway {gateway}: {last:?}"));
        }
        println!("{what}: after {:?}", began.elapsed());
    }
}

fn put(value: &Value) -> Request {
    Request::new("PUT", OVERRIDE).json(value)
}

fn tier(answer: &Response) -> Option<&str> {
    answer.header("x-quota-tier")
}

#[test]
fn an_override_its_change_and_its_end_are_in_force_everywhere_within_two_seconds() {
    let cluster = Cluster::open(3, "memory", |_| {});
    cluster.assert_soon_everywhere("its own tier", |answer| tier(answer) == Some("free"));
    cluster.order(&put(&json!({ "tier": "pro", "reason": "trial" })));
    cluster.assert_soon_everywhere("another tier", |answer| {
        (tier(answer), answer.number("x-ratelimit-limit")) == (Some("pro"), Some(1_000))
    });
    cluster.order(&put(&json!({ "rate": "700/minute", "reason": "a limit of its own" })));
    cluster.assert_soon_everywhere("a rate of its own", |answer| {
        answer.number("x-ratelimit-limit") == Some(700) && answer.status == 200
    });
    cluster.order(&Request::new("DELETE", &format!("{OVERRIDE}?reason=over")));
    cluster.assert_soon_everywhere("the end of it", |answer| {
        (tier(answer), answer.number("x-ratelimit-limit")) == (Some("free"), Some(100))
    });
}

#[test]
fn an_override_ends_by_itself_when_it_expires() {
    let cluster = Cluster::open(2, "memory", |_| {});
    cluster.assert_soon_everywhere("its own tier", |answer| tier(answer) == Some("free"));
    let expires = rfc_3339(sample::in_an_hour() - Duration::from_secs(3_600 - 6));
    cluster.order(&put(&json!({ "tier": "pro", "reason": "a moment", "expires_at": expires })));
    cluster.assert_soon_everywhere("another tier", |answer| tier(answer) == Some("pro"));
    // The store removes the override when it expires: the two seconds count from then.
    let is_removed = || (cluster.store.client().get(OVERRIDE).unwrap().status == 404).then_some(());
    wait::until("the override to expire", Duration::from_secs(15), is_removed).unwrap();
    cluster.assert_soon_everywhere("the end of it", |answer| tier(answer) == Some("free"));
}

#[test]
fn who_was_refused_may_go_on_everywhere_after_a_reset() {
    let cluster = Cluster::open(2, "memory", |policy| {
        policy["tiers"]["free"] = json!({ "rate": "6/hour", "burst": 1, "monthly": 1000 });
    });
    let spend_all = || {
        for gateway in 0..2 {
            let mut client = cluster.client(gateway);
            let request = Consumer::new("acme", "free").asks("/identify");
            wait::until("a refusal", WITHIN, || (client.send(&request).unwrap().status == 429).then_some(()))
                .unwrap();
        }
    };
    spend_all();
    let reset = Request::new("POST", "/v1/reset/fingerprint/acme")
        .json(&json!({ "bucket": true, "month": false, "reason": "support" }));
    for _ in 0..2 {
        cluster.order(&reset);
        cluster.assert_soon_everywhere("a full bucket", |answer| answer.status == 200);
        spend_all();
    }
}

/// A moment in seconds since the epoch, as the store reads it.
fn rfc_3339(moment: Duration) -> String {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + moment);
    let words: Vec<&str> = date.split(' ').collect();
    let [_, day, month, year, time, _] = words[..] else { panic!("{date}") };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month).unwrap() + 1;
    format!("{year}-{month:02}-{day}T{time}Z")
}
