//! The room that consumers take: bytes in Redis for each, and the store's resident memory.
//!
//! Each consumer asks once for a decision (`POST /v1/check`), so an account has one rate, one month, the newest day and no node,
//! which is the least. Then a node reports what each has used on every day of the month before. What nodes and months add follows
//! from the account's layout, `docs/redis-keys.md`.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use tollgate_core::client::{Client::Consumer, Namespace};
use tollgate_core::limit::{Day, Month};
use tollgate_core::terms::{Offer, Rate};
use tollgate_core::units::{Cost, UnixNanos};
use tollgate_core::wire::{Ask, Batch, CONTENT_TYPE, Entry, LeaseRequest};
use tollgate_testkit::http::{Client, Request};
use tollgate_testkit::redis::Server;
use tollgate_testkit::store::Store;

use crate::process;
use crate::result::{self, Promise};

/// The bytes of a consumer without rates, nodes, months and names, as `docs/capacity.md` says.
const BASE: u64 = 326;

/// The bytes that one rate and one month add, as `docs/capacity.md` says.
const RATE_AND_MONTH: u64 = 16 + 10;

/// The bytes of a node and of one more month, as `docs/capacity.md` says.
const NODE_AND_MONTH: u64 = 54 + 10;

/// The bytes of a month of days, without its days and the namespace's name, and of a day, as `docs/capacity.md` says.
const DAYS: (u64, u64) = (168, 8);

/// The consumers of one report.
const AT_ONCE: usize = 500;

const TIER: &str = "free";
const NAMESPACE: &str = "bench";

#[derive(Args)]
pub struct Settings {
    /// Distinct consumers.
    #[arg(long, default_value_t = 20_000)]
    consumers: u64,
}

pub fn run(settings: &Settings) -> anyhow::Result<Vec<Promise>> {
    let redis = Server::start_volatile()?;
    let store = Store::start(&redis.url())?;
    let id = store.id().context("the store has ended")?;
    let mut client = store.client();
    let mut name_bytes = 0;
    let mut ask = |name: String| -> anyhow::Result<()> {
        name_bytes += name.len() as u64;
        let answer = client.send(&Request::new("POST", "/v1/check").json(&json!({
            "namespace": NAMESPACE, "consumer": name, "tier": TIER, "cost": 1,
            "policy": { "tiers": { TIER: { "rate": "100/minute", "burst": 1.5, "monthly": 50_000 } } },
        })))?;
        ensure!(answer.status == 200, "the store says {}: {}", answer.status, answer.text());
        Ok(())
    };
    let started = process::resident(id)?;
    // Connections, scripts and other fixed parts are not the consumers'.
    ask("nobody".into())?;
    let empty = used_memory(&redis)?;
    for number in 0..settings.consumers {
        ask(format!("consumer-{number:06}"))?;
    }
    let (resident, full) = (process::resident(id)?, used_memory(&redis)?);

    let bytes = full.saturating_sub(empty) as f64 / settings.consumers as f64;
    let name = name_bytes as f64 / (settings.consumers + 1) as f64;
    let formula = (BASE + RATE_AND_MONTH + TIER.len() as u64) as f64 + name;
    let (days, with_days) = (report_days(&mut client, settings.consumers)?, used_memory(&redis)?);
    let of_days = with_days.saturating_sub(full) as f64 / settings.consumers as f64 - NODE_AND_MONTH as f64;
    let of_days_by_formula = (DAYS.0 + DAYS.1 * days + NAMESPACE.len() as u64) as f64;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    result::print_table(&[
        ["", "measured"].map(str::to_owned).to_vec(),
        vec!["bytes of a consumer in Redis".into(), format!("{bytes:.0}")],
        vec!["… by the formula of docs/capacity.md".into(), format!("{formula:.0}")],
        vec![format!("bytes of {days} days"), format!("{of_days:.0}")],
        vec!["… by the formula".into(), format!("{of_days_by_formula:.0}")],
        vec!["MiB of a store that has started".into(), format!("{:.1}", mebibytes(started))],
        vec![format!("MiB after {} consumers", settings.consumers), format!("{:.1}", mebibytes(resident))],
    ]);
    let promises = vec![
        Promise {
            what: "room: bytes of a consumer in Redis, by the formula of docs/capacity.md",
            measured: bytes / formula,
            at_least: 0.9,
            at_most: 1.1,
        },
        Promise {
            what: "room: bytes of a consumer's month of days in Redis, by the formula",
            measured: of_days / of_days_by_formula,
            at_least: 0.9,
            at_most: 1.1,
        },
        Promise::at_most("room: MiB of the store, of those that k8s/ asks for", 64.0, mebibytes(resident)),
    ];
    let version = redis.ask(&["INFO", "server"])?;
    let version = version.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let promised: Vec<_> = promises.iter().map(Promise::to_json).collect();
    result::save(
        "room",
        json!({
            "settings": { "consumers": settings.consumers },
            "redis": version.unwrap_or_default().trim(),
            "redis_bytes_a_consumer": bytes,
            "by_formula": formula,
            "days": { "days": days, "redis_bytes": of_days, "by_formula": of_days_by_formula },
            "store_resident": { "started": started, "asked": resident },
            "promises": promised,
        }),
    )?;
    Ok(promises)
}

/// Has a node report what each consumer used on every day of the month before; returns how many days that has.
#[allow(clippy::disallowed_methods, reason = "the store goes by the machine's clock")]
fn report_days(client: &mut Client, consumers: u64) -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let last = Day::of(Day::of(UnixNanos::from_seconds(now)).month().start());
    let first = Day::of(Month(last.month().0.saturating_sub(1)).start());
    let namespace = Namespace::new(NAMESPACE);
    let names: Vec<Vec<u8>> =
        (0..consumers).map(|number| format!("consumer-{number:06}").into_bytes()).collect();
    for (seq, day) in (first.0..last.0).enumerate() {
        for names in names.chunks(AT_ONCE) {
            let entry = |name: &Vec<u8>| {
                let lease = LeaseRequest {
                    epoch: 1,
                    seq: seq as u32 + 1,
                    spent: Cost::from_units(seq as u64 + 1),
                    day,
                    ..LeaseRequest::default()
                };
                let id = namespace.id(&Consumer(name));
                Entry { client: id, name: Some(name.clone()), ask: Ask::Lease(lease), ..Entry::default() }
            };
            let offer = Offer {
                tier: TIER.into(),
                rates: vec![Rate { units: 100, seconds: 60, burst: 150 }],
                monthly: Some(50_000),
            };
            let batch = Batch {
                namespace: NAMESPACE.into(),
                node: 1,
                offers: vec![offer],
                entries: names.iter().map(entry).collect(),
                ..Batch::default()
            };
            let request = Request::new("POST", "/v1/leases").body(CONTENT_TYPE, batch.to_bytes());
            let answer = client.send(&request)?;
            ensure!(answer.status == 200, "the store says {}: {}", answer.status, answer.text());
        }
    }
    Ok(u64::from(last.0.saturating_sub(first.0)))
}

fn used_memory(server: &Server) -> anyhow::Result<u64> {
    let info = server.ask(&["INFO", "memory"])?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok());
    used.with_context(|| format!("INFO memory says: {info}"))
}
