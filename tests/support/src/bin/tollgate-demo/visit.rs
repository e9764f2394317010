//! A client's requests up to its limit: what the table shows of them, and whether it should.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tollgate_testkit::http::{Client, Request, Response};
use tollgate_testkit::store::Store;
use tollgate_testkit::{interrupt, sample, wait};

/// More than any bucket of the sample policy holds.
const ENOUGH: u64 = 2000;

/// This many requests show that nothing limits them.
const PLENTY: u64 = 300;

/// The longest that a gateway's report to the store may take: many times what it usually takes.
const REPORTED: Duration = Duration::from_secs(10);

/// What all clients visit.
pub struct Scene<'a> {
    /// A client of one gateway visits the first.
    pub gateways: [SocketAddr; 2],
    /// The store that they share.
    pub store: &'a Store,
    /// Their policy's namespace.
    pub namespace: &'a str,
}

/// A client, and what the policy says about it.
struct Plan {
    who: &'static str,
    credential: Credential,
    target: &'static str,
    cost: u64,
    tier: Option<&'static str>,
    limit: Option<Limit>,
    monthly: Option<u64>,
    /// Whether its requests go to both gateways in turn.
    at_both: bool,
    /// The explanation.
    why: &'static str,
}

enum Credential {
    Key,
    Token,
    None,
}

/// A rate per minute and the bucket's size.
#[derive(Clone, Copy)]
struct Limit {
    rate: u64,
    burst: u64,
}

const FREE: Limit = Limit { rate: 100, burst: 150 };
const PRO: Limit = Limit { rate: 1000, burst: 1500 };
const ANONYMOUS: Limit = Limit { rate: 30, burst: 30 };

/// What happened on a visit.
pub struct Visit {
    /// The consumer.
    pub who: &'static str,
    /// The request.
    pub target: &'static str,
    /// The first answer.
    pub first: Response,
    /// What the store says that it used this month, in cost units; `None` for anonymous clients.
    pub used: Option<f64>,
    /// What happened at the limit, in words.
    pub end: String,
    /// Everything that was not as the policy says.
    pub wrong: Vec<String>,
}

/// Runs every client's visit. None of these consumers is one of the examples to try, whose buckets must stay full, and the
/// anonymous client comes from another address than a user's own.
///
/// # Errors
/// When a gateway or the store does not answer.
pub fn all(scene: &Scene<'_>) -> anyhow::Result<Vec<Visit>> {
    let key = |who, target, cost, tier, limit, monthly| Plan {
        who,
        credential: Credential::Key,
        target,
        cost,
        tier: Some(tier),
        limit,
        monthly,
        at_both: false,
        why: "",
    };
    let plans = [
        key("free-01", "/identify", 1, "free", Some(FREE), Some(50_000)),
        key("free-02", "/compare", 2, "free", Some(FREE), Some(50_000)),
        Plan { at_both: true, ..key("free-03", "/identify", 1, "free", Some(FREE), Some(50_000)) },
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
    let visited: Vec<(Plan, Visit, u64)> = plans
        .into_iter()
        .map(|plan| plan.visit(scene).map(|(visit, spent)| (plan, visit, spent)))
        .collect::<anyhow::Result<_>>()?;
    visited.into_iter().map(|(plan, visit, spent)| plan.settled(visit, spent, scene)).collect()
}

/// The use of a consumer this month, as the store says.
fn used(scene: &Scene<'_>, consumer: &str) -> anyhow::Result<Option<f64>> {
    let path = format!("/v1/usage/{}/{consumer}", scene.namespace);
    let answer = scene.store.client().send(&Request::get(&path))?;
    Ok((answer.status == 200).then(|| answer.json()["used"].as_f64()).flatten())
}

impl Plan {
    /// Returns the visit, and the units that it spent.
    fn visit(&self, scene: &Scene<'_>) -> anyhow::Result<(Visit, u64)> {
        let mut request = Request::get(self.target);
        match self.credential {
            Credential::Key => request = request.of(self.who),
            Credential::Token => {
                let token = sample::token(self.who, sample::in_an_hour());
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            Credential::None => {}
        }
        let gateways = &scene.gateways[..if self.at_both { 2 } else { 1 }];
        let mut clients: Vec<Client> = gateways.iter().map(|gateway| self.client(*gateway)).collect();
        let most = if self.limit.is_some() { ENOUGH } else { PLENTY };
        let mut passed = vec![0; gateways.len()];
        // The last refusals of the gateways in turn, with no admitted request between them.
        let mut refusals: Vec<Response> = Vec::new();
        let began = Instant::now();
        let first = clients[0].send(&request)?;
        let (mut turn, mut answer) = (0, first.clone());
        loop {
            if answer.status == 200 {
                passed[turn] += 1;
                refusals.clear();
            } else {
                refusals.push(answer);
            }
            if passed.iter().sum::<u64>() >= most || refusals.len() == gateways.len() {
                break;
            }
            anyhow::ensure!(!interrupt::came(), "interrupted");
            turn = (turn + 1) % gateways.len();
            answer = clients[turn].send(&request)?;
        }
        let refused = refusals.first();
        let spent = passed.iter().sum::<u64>() * self.cost;
        let wrong = self.wrong(&first, passed.iter().sum(), refused, began.elapsed());
        let end = self.end(&passed, refused);
        Ok((Visit { who: self.who, target: self.target, first, used: None, end, wrong }, spent))
    }

    fn client(&self, gateway: SocketAddr) -> Client {
        let client = Client::to(gateway);
        match self.credential {
            Credential::None => client.from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))),
            Credential::Key | Credential::Token => client,
        }
    }

    /// Adds what the store says, once the gateways have reported all that was spent.
    fn settled(&self, mut visit: Visit, spent: u64, scene: &Scene<'_>) -> anyhow::Result<Visit> {
        if matches!(self.credential, Credential::None) {
            return Ok(visit);
        }
        let told = || used(scene, self.who).ok().flatten().filter(|used| *used == spent as f64);
        if wait::until("the store to be told", REPORTED, || told().map(drop)).is_err() {
            anyhow::ensure!(!interrupt::came(), "interrupted");
            visit.wrong.push(format!("{}: used is not {spent} in the store's words", self.who));
        }
        visit.used = used(scene, self.who)?;
        Ok(visit)
    }

    /// Says what happened, by how many passed at each gateway.
    fn end(&self, passed: &[u64], refused: Option<&Response>) -> String {
        let all: u64 = passed.iter().sum();
        let Some(refused) = refused else { return format!("{all} of {all} passed{}", self.why) };
        let wait = refused.header("retry-after").unwrap_or("?");
        let cost = if self.cost == 1 { String::new() } else { format!(" at {} each", self.cost) };
        let (passed, both) = match passed {
            [one, other] => (format!("{one} + {other}"), " at both gateways"),
            _ => (all.to_string(), ""),
        };
        format!("{passed} passed{cost}, then {}{both}, Retry-After: {wait}{}", refused.status, self.why)
    }

    /// Everything that the gateway did not do as the policy says.
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
            // Refilled units admit requests as well.
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
