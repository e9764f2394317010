//! Somebody goes to the gateway, up to the limit: what the table shows, and whether it should.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tollgate_testkit::http::{Client, Request, Response};
use tollgate_testkit::{interrupt, sample};

/// More than any bucket of the sample policy holds.
const ENOUGH: u64 = 2000;

/// As many requests as show that nothing limits them.
const PLENTY: u64 = 300;

/// Who goes there, and what the policy says about them.
struct Plan {
    who: &'static str,
    credential: Credential,
    target: &'static str,
    cost: u64,
    tier: Option<&'static str>,
    limit: Option<Limit>,
    monthly: Option<u64>,
    /// What explains it.
    why: &'static str,
}

enum Credential {
    Key,
    Token,
    None,
}

/// A rate a minute and the bucket's size.
#[derive(Clone, Copy)]
struct Limit {
    rate: u64,
    burst: u64,
}

const FREE: Limit = Limit { rate: 100, burst: 150 };
const PRO: Limit = Limit { rate: 1000, burst: 1500 };
const ANONYMOUS: Limit = Limit { rate: 30, burst: 30 };

/// What happened.
pub struct Visit {
    /// The consumer.
    pub who: &'static str,
    /// The request.
    pub target: &'static str,
    /// The first answer.
    pub first: Response,
    /// What happened at the limit, in words.
    pub end: String,
    /// What was not as the policy says.
    pub wrong: Vec<String>,
}

/// Everybody's visit. The consumers of the examples to try are not among those who use up their buckets, and the
/// stranger comes from another address than a user's own.
///
/// # Errors
/// When the gateway does not answer.
pub fn all(gateway: SocketAddr) -> anyhow::Result<Vec<Visit>> {
    let key = |who, target, cost, tier, limit, monthly| Plan {
        who,
        credential: Credential::Key,
        target,
        cost,
        tier: Some(tier),
        limit,
        monthly,
        why: "",
    };
    let plans = [
        key("free-01", "/identify", 1, "free", Some(FREE), Some(50_000)),
        key("free-02", "/compare", 2, "free", Some(FREE), Some(50_000)),
        key("pro-01", "/identify", 1, "pro", Some(PRO), Some(1_000_000)),
        Plan {
            credential: Credential::Token,
            why: ", by a token",
            ..key("globex-mobile", "/batch", 1, "pro", Some(PRO), Some(1_000_000))
        },
        key("initech-enterprise", "/identify", 1, "enterprise", None, None),
        key("umbrella-partner", "/compare", 2, "partner", None, None),
        Plan { why: ", by an override", ..key("billing-worker", "/batch", 1, "partner", None, None) },
        Plan {
            credential: Credential::None,
            ..key("nobody", "/identify", 1, "anonymous", Some(ANONYMOUS), None)
        },
        Plan {
            credential: Credential::None,
            tier: None,
            why: ", at no cost",
            ..key("nobody", "/health", 0, "", None, None)
        },
    ];
    plans.into_iter().map(|plan| plan.visit(gateway)).collect()
}

impl Plan {
    fn visit(self, gateway: SocketAddr) -> anyhow::Result<Visit> {
        let mut client = Client::to(gateway);
        let request = match self.credential {
            Credential::Key => Request::get(self.target).of(self.who),
            Credential::Token => {
                let token = sample::token(self.who, sample::in_an_hour());
                Request::get(self.target).header("Authorization", format!("Bearer {token}"))
            }
            Credential::None => {
                client = client.from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
                Request::get(self.target)
            }
        };
        let began = Instant::now();
        let first = client.send(&request)?;
        let mut passed = u64::from(first.status == 200);
        let most = if self.limit.is_some() { ENOUGH } else { PLENTY };
        let mut refused = None;
        while passed < most && refused.is_none() {
            anyhow::ensure!(!interrupt::came(), "interrupted");
            match client.send(&request)? {
                answer if answer.status == 200 => passed += 1,
                answer => refused = Some(answer),
            }
        }
        let wrong = self.wrong(&first, passed, refused.as_ref(), began.elapsed());
        let end = self.end(passed, refused.as_ref());
        Ok(Visit { who: self.who, target: self.target, first, end, wrong })
    }

    fn end(&self, passed: u64, refused: Option<&Response>) -> String {
        let Some(refused) = refused else { return format!("{passed} of {passed} passed{}", self.why) };
        let wait = refused.header("retry-after").unwrap_or("?");
        let cost = if self.cost == 1 { String::new() } else { format!(" at {} each", self.cost) };
        format!("{passed} passed{cost}, then {}, Retry-After: {wait}{}", refused.status, self.why)
    }

    /// Everything in which the gateway did not do what the policy says.
    fn wrong(
        &self,
        first: &Response,
        passed: u64,
        refused: Option<&Response>,
        took: Duration,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |what: &str, is: String, should: String| {
            if is != should {
                wrong.push(format!("{} {}: {what} is {is}, not {should}", self.who, self.target));
            }
        };
        let header = |name| format!("{:?}", first.header(name));
        let number = |value: Option<u64>| format!("{:?}", value.map(|value| value.to_string()));
        check("status", first.status.to_string(), "200".into());
        check("X-Quota-Tier", header("x-quota-tier"), format!("{:?}", self.tier));
        check("X-RateLimit-Limit", header("x-ratelimit-limit"), number(self.limit.map(|limit| limit.rate)));
        let shown = self.limit.map(|limit| limit.rate.min(limit.burst - self.cost));
        check("X-RateLimit-Remaining", header("x-ratelimit-remaining"), number(shown));
        let month_left = self.monthly.map(|units| units - self.cost);
        check("X-Quota-Monthly-Remaining", header("x-quota-monthly-remaining"), number(month_left));

        let status = refused.map_or(200, |refused| refused.status);
        check("the last status", status.to_string(), if self.limit.is_some() { "429" } else { "200" }.into());
        if let Some(limit) = self.limit {
            // What came back in the meantime passes as well.
            let back = took.as_secs_f64() * limit.rate as f64 / 60.0;
            let most = (limit.burst + back as u64) / self.cost;
            let least = limit.burst / self.cost;
            let passed = if (least..=most).contains(&passed) { "right".into() } else { passed.to_string() };
            check(&format!("the number that passed ({least} to {most})"), passed, "right".into());
            let wait = refused.and_then(|refused| refused.number("retry-after")).unwrap_or_default();
            let longest = (60 * self.cost).div_ceil(limit.rate);
            let wait = if (1..=longest).contains(&wait) { "right".into() } else { wait.to_string() };
            check(&format!("Retry-After (1 to {longest})"), wait, "right".into());
        }
        wrong
    }
}
