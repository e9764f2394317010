//! What a store costs requests: a gateway with leases beside the same gateway without, and a consumer's first request.
//!
//! They take turns, so that the machine's other load meets both. Every turn has a new gateway: two that do the same can differ
//! by up to a tenth for as long as they run, which would decide a ratio near one.

use anyhow::ensure;
use clap::Args;
use serde_json::json;
use tollgate_testkit::envoy::Envoy;
use tollgate_testkit::store::Store;
use tollgate_testkit::workspace;

use crate::load::Load;
use crate::result::{self, Promise, median};
use crate::{process, variant};

#[derive(Args)]
pub struct Settings {
    /// Turns of each gateway.
    #[arg(long, default_value_t = 15)]
    rounds: u64,
    /// Requests of one turn.
    #[arg(long, default_value_t = 20_000)]
    requests: u64,
    /// Simultaneous clients, each with one request under way.
    #[arg(long, default_value_t = 30)]
    connections: usize,
    /// Distinct consumers.
    #[arg(long, default_value_t = 200)]
    consumers: u64,
    /// Consumers per turn that come for the first time, one after the other.
    #[arg(long, default_value_t = 300)]
    newcomers: u64,
}

/// A tier whose limit matters: each consumer asks for about twice as much.
const PRESSED: &str = "pressed";

/// One kind of gateway, and the results of its turns.
#[derive(Default)]
struct Side {
    per_second: Vec<f64>,
    cpu_us: Vec<f64>,
    first_us: Vec<f64>,
    pressed_cpu_us: Vec<f64>,
    pressed_p99_us: Vec<f64>,
    /// The share of the requests that was let through.
    pressed_passed: Vec<f64>,
}

impl Side {
    /// Measures known consumers, then newcomers, then consumers at their limit.
    fn take_turn(&mut self, gateway: &Envoy, round: u64, settings: &Settings) -> anyhow::Result<()> {
        let write = |number: u64, consumer: u64, request: &mut Vec<u8>| {
            variant::write(request, "/identify", number, Some((consumer, "pro")), 0x0A00_0001);
        };
        let mut load = Load::connect(gateway.address(), settings.connections)?;
        let known = |number: u64| number.wrapping_mul(7_919) % settings.consumers;
        load.send(settings.requests / 4, 200, |number, request| write(number, known(number), request))?;
        let before = process::cpu_time(gateway.id())?;
        let outcome =
            load.send(settings.requests, 200, |number, request| write(number, known(number), request))?;
        let cpu = process::cpu_time(gateway.id())?.saturating_sub(before);
        ensure!(outcome.answers == outcome.expected, "a request was refused");
        self.per_second.push(outcome.answers as f64 / outcome.elapsed.as_secs_f64());
        self.cpu_us.push(cpu.as_secs_f64() * 1e6 / outcome.answers as f64);

        let mut one = Load::connect(gateway.address(), 1)?;
        let first = |number: u64| 1_000_000 + round * settings.newcomers + number;
        let outcome =
            one.send(settings.newcomers, 200, |number, request| write(number, first(number), request))?;
        ensure!(outcome.answers == outcome.expected, "a newcomer was refused");
        self.first_us.push(outcome.latency.value_at_quantile(0.5) as f64 / 1_000.0);

        let write = |number: u64, request: &mut Vec<u8>| {
            let consumer = 2_000_000 + known(number);
            variant::write(request, "/identify", number, Some((consumer, PRESSED)), 0x0A00_0001);
        };
        load.send(settings.requests / 4, 200, write)?;
        let before = process::cpu_time(gateway.id())?;
        let outcome = load.send(settings.requests, 200, write)?;
        let cpu = process::cpu_time(gateway.id())?.saturating_sub(before);
        self.pressed_cpu_us.push(cpu.as_secs_f64() * 1e6 / outcome.answers as f64);
        self.pressed_p99_us.push(outcome.latency.value_at_quantile(0.99) as f64 / 1_000.0);
        self.pressed_passed.push(outcome.expected as f64 / outcome.answers as f64);
        Ok(())
    }
}

fn policy() -> serde_json::Value {
    let mut policy = variant::policy();
    policy["tiers"][PRESSED] = json!({ "rate": "20/second" });
    policy
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    let store = Store::start("memory")?;
    let filter = workspace::filter()?;
    let mut leased_policy = policy();
    leased_policy["store"] = json!({ "upstream": "tollgate_store", "timeout": "50ms" });
    let start = |policy: &serde_json::Value| {
        variant::start_with_store(Some(variant::tollgate(&filter, policy)), store.address())
    };
    let (mut alone, mut leased) = (Side::default(), Side::default());
    for round in 0..settings.rounds {
        eprintln!("lease: round {} of {}", round + 1, settings.rounds);
        alone.take_turn(&start(&policy())?, round, settings)?;
        leased.take_turn(&start(&leased_policy)?, round, settings)?;
    }
    let calls = store.metric("tollgate_store_requests_total{call=\"leases\"")?;
    let ratio = |of: fn(&Side) -> &Vec<f64>| median(of(&leased).clone()) / median(of(&alone).clone());
    let first_ms = (median(leased.first_us.clone()) - median(alone.first_us.clone())) / 1_000.0;
    let requests = settings.rounds * (settings.requests + settings.requests / 4);
    result::print_table(&[
        ["", "requests/s", "CPU µs", "first request p50 µs", "pressed: CPU µs", "p99 µs", "let through"]
            .map(str::to_owned)
            .to_vec(),
        row("alone", &alone),
        row("leased", &leased),
    ]);
    println!(
        "{calls} store calls for {requests} requests and {} newcomers",
        settings.rounds * settings.newcomers
    );
    let promises = vec![
        Promise {
            what: "lease: requests a second with leases by the same alone",
            measured: ratio(|side| &side.per_second),
            at_least: 0.95,
            at_most: f64::INFINITY,
        },
        Promise {
            what: "lease: milliseconds that a consumer's first request takes longer, p50",
            measured: first_ms,
            at_least: f64::NEG_INFINITY,
            at_most: 2.0,
        },
        Promise::at_most(
            "lease: the gateway's CPU a request, leased by alone",
            1.05,
            ratio(|side| &side.cpu_us),
        ),
        Promise::at_most("lease: the same where limits press", 1.10, ratio(|side| &side.pressed_cpu_us)),
        Promise::at_most(
            "lease: p99 where limits press, leased by alone",
            1.2,
            ratio(|side| &side.pressed_p99_us),
        ),
    ];
    let side = |side: &Side| {
        json!({ "requests_per_second": side.per_second, "cpu_us": side.cpu_us, "first_request_p50_us": side.first_us,
        "pressed_cpu_us": side.pressed_cpu_us, "pressed_p99_us": side.pressed_p99_us, "pressed_let_through": side.pressed_passed })
    };
    result::save(
        "lease",
        json!({
            "envoy": result::envoy()?,
            "tollgate_wasm": result::module(&filter)?,
            "settings": {
                "rounds": settings.rounds, "requests": settings.requests, "connections": settings.connections,
                "consumers": settings.consumers, "newcomers": settings.newcomers, "backend": "memory",
            },
            "alone": side(&alone),
            "leased": side(&leased),
            "cpu_leased_by_alone": ratio(|side| &side.cpu_us),
            "cpu_leased_by_alone_pressed": ratio(|side| &side.pressed_cpu_us),
            "store_calls": calls,
            "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
        }),
    )?;
    Ok(promises)
}

fn row(name: &str, side: &Side) -> Vec<String> {
    vec![
        name.to_owned(),
        format!("{:.0}", median(side.per_second.clone())),
        format!("{:.2}", median(side.cpu_us.clone())),
        format!("{:.0}", median(side.first_us.clone())),
        format!("{:.2}", median(side.pressed_cpu_us.clone())),
        format!("{:.0}", median(side.pressed_p99_us.clone())),
        format!("{:.2}", median(side.pressed_passed.clone())),
    ]
}
