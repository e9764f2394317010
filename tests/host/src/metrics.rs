//! Metrics, by both hosts' rules: one value per name for the whole node, ids per instance.

use std::collections::BTreeMap;

use wasmtime::{Caller, Linker};

use crate::abi::{Answer, Guest, Status, host_call};
use crate::rules::{Rule, RuleBroken};
use crate::world::{Step, World};

/// Kong's limit on a name, less its prefix `pw:FILTER:`.
const KONG_MAX_NAME: usize = 256 - "pw:tollgate:".len();

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// The value set last.
    Gauge,
    /// All values that were recorded.
    Histogram,
}

/// A node's metrics by name.
#[derive(Debug, Default)]
pub struct Metrics {
    all: BTreeMap<String, (Kind, Vec<u64>)>,
}

impl Metrics {
    /// The value of a counter or a gauge: 0 if nothing was counted, `None` if it is not defined.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        let (kind, values) = self.all.get(name)?;
        Some(match kind {
            Kind::Counter => values.iter().sum(),
            _ => values.last().copied().unwrap_or(0),
        })
    }

    /// A histogram's values.
    #[must_use]
    pub fn values(&self, name: &str) -> &[u64] {
        self.all.get(name).map_or(&[], |(_, values)| values)
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }
}

fn misused(what: impl Into<String>) -> RuleBroken {
    RuleBroken::new(Rule::MetricMisused, what)
}

fn define(guest: &mut Guest<'_>, kind: u32, name: (u32, u32), id_to: u32) -> Answer {
    let name = guest.text(name.0, name.1)?;
    let kind = match kind {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Histogram,
        other => return Err(misused(format!("defined a metric of type {other}"))),
    };
    if !matches!(guest.world().active.step, Step::VmStart | Step::Configure) {
        return Err(RuleBroken::new(Rule::MetricDefinedLate, format!("defined {name:?}")));
    }
    if name.len() > KONG_MAX_NAME && guest.is_kong() {
        return Err(misused(format!("defined a name of {} bytes", name.len())));
    }
    let (root, kong) = (guest.world().active.root, guest.is_kong());
    // In Kong a name has one id; in Envoy each definition has its own.
    let same = |(other, known): &(u32, String)| *known == name && (kong || *other == root);
    let known = guest.world().metric_ids.iter().position(same);
    if known.is_some() && !kong {
        return Err(RuleBroken::new(Rule::MetricDefinedTwice, format!("defined {name:?} twice")));
    }
    guest.world().common.metrics.borrow_mut().all.entry(name.clone()).or_insert((kind, Vec::new()));
    let ids = &mut guest.world_mut().metric_ids;
    let id = known.unwrap_or(ids.len());
    if id == ids.len() {
        ids.push((root, name));
    }
    guest.write_u32(id_to, id as u32 + 1)?;
    Ok(Status::Ok)
}

/// Runs `run` on the metric of `id`. If there is none, Kong traps.
fn with_metric<T>(
    guest: &Guest<'_>,
    id: u32,
    run: impl FnOnce(&mut (Kind, Vec<u64>)) -> T,
) -> Result<Option<T>, RuleBroken> {
    let name = guest.world().metric_ids.get((id as usize).wrapping_sub(1));
    let metrics = &mut guest.world().common.metrics.borrow_mut().all;
    match name.and_then(|(_, name)| metrics.get_mut(name)) {
        Some(metric) => Ok(Some(run(metric))),
        None if guest.is_kong() => Err(misused(format!("used the metric id {id}, which there is not"))),
        None => Ok(None),
    }
}

fn write(guest: &mut Guest<'_>, id: u32, value: i64, increment: bool) -> Answer {
    let kong = guest.is_kong();
    let written = with_metric(guest, id, |(kind, values)| {
        if kong && (*kind == Kind::Counter) != increment {
            return Err(misused(format!(
                "{} a {kind:?}",
                if increment { "incremented" } else { "recorded" }
            )));
        }
        // A counter's values are its increments; their sum is its value.
        let base = if *kind == Kind::Gauge && increment { values.last().copied().unwrap_or(0) } else { 0 };
        values.push(base.wrapping_add(value as u64));
        Ok(())
    })?;
    match written {
        Some(written) => written.map(|()| Status::Ok),
        None => Ok(Status::NotFound),
    }
}

fn read(guest: &mut Guest<'_>, id: u32, to: u32) -> Answer {
    let value = with_metric(guest, id, |(kind, values)| match kind {
        Kind::Counter => Some(values.iter().sum::<u64>()),
        Kind::Gauge => Some(values.last().copied().unwrap_or(0)),
        Kind::Histogram => None,
    })?;
    match value {
        Some(Some(value)) => {
            guest.write(to, &value.to_le_bytes())?;
            Ok(Status::Ok)
        }
        Some(None) if guest.is_kong() => Err(RuleBroken::new(Rule::HistogramRead, "read a histogram")),
        Some(None) => Ok(Status::BadArgument),
        None => Ok(Status::NotFound),
    }
}

/// Links the host calls.
pub fn link(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |caller: Caller<'_, World>, kind: u32, name: u32, name_len: u32, id_to: u32| {
            host_call(caller, "proxy_define_metric", |guest| define(guest, kind, (name, name_len), id_to))
        },
    )?;
    linker.func_wrap("env", "proxy_increment_metric", |caller: Caller<'_, World>, id: u32, by: i64| {
        host_call(caller, "proxy_increment_metric", |guest| write(guest, id, by, true))
    })?;
    linker.func_wrap("env", "proxy_record_metric", |caller: Caller<'_, World>, id: u32, value: i64| {
        host_call(caller, "proxy_record_metric", |guest| write(guest, id, value, false))
    })?;
    linker.func_wrap("env", "proxy_get_metric", |caller: Caller<'_, World>, id: u32, to: u32| {
        host_call(caller, "proxy_get_metric", |guest| read(guest, id, to))
    })?;
    Ok(())
}
