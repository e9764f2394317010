//! The room that consumers take: bytes in Redis for each, and the store's resident memory.
//!
//! Each consumer asks once for a decision (`POST /v1/check`), so an account has one rate, one month and no node, which is the
//! least. What nodes and months add follows from the account's layout, `docs/redis-keys.md`.

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use tollgate_testkit::http::Request;
use tollgate_testkit::redis::Server;
use tollgate_testkit::store::Store;

use crate::process;
use crate::result::{self, Promise};

/// The bytes of a consumer without rates, nodes, months and names, as `docs/capacity.md` says.
const BASE: u64 = 326;

/// The bytes that one rate and one month add, as `docs/capacity.md` says.
const RATE_AND_MONTH: u64 = 16 + 10;

const TIER: &str = "free";

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
            "namespace": "bench", "consumer": name, "tier": TIER, "cost": 1,
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
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    result::print_table(&[
        ["", "measured"].map(str::to_owned).to_vec(),
        vec!["bytes of a consumer in Redis".into(), format!("{bytes:.0}")],
        vec!["… by the formula of docs/capacity.md".into(), format!("{formula:.0}")],
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
            "store_resident": { "started": started, "asked": resident },
            "promises": promised,
        }),
    )?;
    Ok(promises)
}

fn used_memory(server: &Server) -> anyhow::Result<u64> {
    let info = server.ask(&["INFO", "memory"])?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok());
    used.with_context(|| format!("INFO memory says: {info}"))
}
