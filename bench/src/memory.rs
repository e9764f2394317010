//! Envoy's memory under a flood of distinct clients: after as many as the policy has room for, and after a million.

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tollgate_testkit::envoy::Envoy;
use tollgate_testkit::http::Client;
use tollgate_testkit::workspace;

use crate::load::Load;
use crate::result::{self, Promise};
use crate::{process, variant};

/// The million may change it by this share.
const PROMISED: f64 = 0.05;

#[derive(Args)]
pub struct Settings {
    /// Clients that the policy has room for, which come first.
    #[arg(long, default_value_t = 65_536)]
    clients: u64,
    /// Distinct clients that have come at the end.
    #[arg(long, default_value_t = 1_000_000)]
    flood: u64,
    /// Connections that they share.
    #[arg(long, default_value_t = 30)]
    connections: usize,
}

/// The clients that come.
struct Population {
    name: &'static str,
    about: &'static str,
    promise: &'static str,
    /// One in this many is anonymous, with an address of its own.
    anonymous_in: Option<u64>,
}

const POPULATIONS: [Population; 2] = [
    Population {
        name: "consumers",
        about: "every client a consumer of its own",
        promise: "memory: resident after a million consumers, by that after 65,536",
        anonymous_in: None,
    },
    Population {
        name: "half anonymous",
        about: "every other client an address of its own",
        promise: "memory: the same, half of them anonymous",
        anonymous_in: Some(2),
    },
];

/// Envoy's memory at one moment, in bytes.
struct Memory {
    resident: u64,
    /// The bytes that Envoy's allocator has handed out.
    allocated: u64,
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    let tollgate = workspace::filter()?;
    let [filled, flooded] = [settings.clients, settings.flood].map(|clients| format!("after {clients}"));
    let mut rows =
        vec![["clients", "at start", &filled, &flooded, "ratio", "evicted", ""].map(str::to_owned).to_vec()];
    let (mut promises, mut runs) = (Vec::new(), Vec::new());
    for population in &POPULATIONS {
        eprintln!("memory: {} {}", settings.flood, population.name);
        let gateway = variant::start(Some(variant::tollgate(&tollgate, &policy(settings))))?;
        let mut load = Load::connect(gateway.address(), settings.connections)?;
        let start = memory(&gateway)?;
        population.send(&mut load, 0, settings.clients)?;
        let filled = memory(&gateway)?;
        population.send(&mut load, settings.clients, settings.flood)?;
        let flooded = memory(&gateway)?;
        let ratio = flooded.resident as f64 / filled.resident as f64;
        let evicted = counter(&gateway, "tollgate_table_evictions")?;
        let mebibytes = |memory: &Memory| format!("{:.1} MiB", memory.resident as f64 / 1_048_576.0);
        rows.push(vec![
            population.name.to_owned(),
            mebibytes(&start),
            mebibytes(&filled),
            mebibytes(&flooded),
            format!("{ratio:.3}"),
            evicted.to_string(),
            population.about.to_owned(),
        ]);
        runs.push(json!({
            "clients": population.name, "about": population.about, "ratio": ratio, "evicted": evicted,
            "start": start.to_json(), "filled": filled.to_json(), "flooded": flooded.to_json(),
        }));
        promises.push(Promise {
            what: population.promise,
            measured: ratio,
            at_least: 1.0 - PROMISED,
            at_most: 1.0 + PROMISED,
        });
    }
    result::print_table(&rows);
    result::save(
        "memory",
        json!({
            "envoy": result::envoy()?,
            "tollgate_wasm": result::module(&tollgate)?,
            "settings": { "clients": settings.clients, "flood": settings.flood, "workers": 1 },
            "runs": runs,
            "promises": promises.iter().map(Promise::to_json).collect::<Vec<_>>(),
        }),
    )?;
    Ok(promises)
}

/// Each client may come once a day: if all are let through, all are told apart.
fn policy(settings: &Settings) -> Value {
    let mut policy = variant::policy();
    policy["endpoints"] = json!([]);
    policy["tiers"]["trial"] = json!({ "rate": "1/day", "monthly": 50_000 });
    policy["anonymous"] = json!({ "rate": "1/day" });
    policy["memory"] = json!({ "clients": settings.clients });
    policy
}

impl Population {
    /// Clients number `from` up to `to` send one request each.
    fn send(&self, load: &mut Load, from: u64, to: u64) -> anyhow::Result<()> {
        let outcome = load.send(to - from, 200, |number, request| {
            let client = from + number;
            let is_anonymous = self.anonymous_in.is_some_and(|every| client.is_multiple_of(every));
            let known = (!is_anonymous).then_some((client, "trial"));
            // 10.0.0.0/8 has room for sixteen million.
            let address = 0x0A00_0000 | u32::try_from(client % (1 << 24)).unwrap_or(0);
            variant::write(request, "/identify", client, known, address);
        })?;
        ensure!(
            outcome.expected == outcome.answers,
            "{} of {} clients were refused, as if they had come before",
            outcome.answers - outcome.expected,
            outcome.answers
        );
        Ok(())
    }
}

impl Memory {
    fn to_json(&self) -> Value {
        json!({ "resident": self.resident, "allocated": self.allocated })
    }
}

fn memory(gateway: &Envoy) -> anyhow::Result<Memory> {
    let said = Client::to(gateway.admin()).get("/memory")?.json();
    let allocated = said["allocated"].as_str().context("/memory says nothing of allocated")?.parse()?;
    Ok(Memory { resident: process::resident(gateway.id())?, allocated })
}

/// A counter without labels.
fn counter(gateway: &Envoy, name: &str) -> anyhow::Result<u64> {
    let all = gateway.prometheus()?;
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("{} "));
    line.with_context(|| format!("no metric {name}"))?.parse().context(name.to_owned())
}
