//! Everything that a module may import, by host; and the small host calls: log, time, ticks, configuration.

use wasmtime::{Caller, Engine, Linker};

use crate::abi::{Answer, Guest, Status, host_call};
use crate::personality::Personality;
use crate::rules::{Rule, RuleBroken};
use crate::world::{Step, World};
use crate::{abi, calls, headers, local_response, metrics, properties, shared_data, wasi};

const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;
const CALL_RESPONSE_BODY: u32 = 4;
const VM_CONFIGURATION: u32 = 6;
const PLUGIN_CONFIGURATION: u32 = 7;

/// Links all host calls of a host.
pub fn linker(engine: &Engine, personality: Personality) -> wasmtime::Result<Linker<World>> {
    let mut linker = Linker::new(engine);
    link_small(&mut linker)?;
    shared_data::link(&mut linker)?;
    headers::link(&mut linker)?;
    properties::link(&mut linker)?;
    metrics::link(&mut linker)?;
    calls::link(&mut linker)?;
    local_response::link(&mut linker)?;
    abi::link_unmodelled(&mut linker, personality)?;
    wasi::link(&mut linker)?;
    if !personality.is_kong() {
        properties::link_foreign(&mut linker)?;
        // Only Envoy links these. A module that needs them loads there and shows its fault on Kong.
        linker.func_wrap("wasi_snapshot_preview1", "sched_yield", || 0_u32)?;
        linker.func_wrap("wasi_snapshot_preview1", "fd_fdstat_set_flags", |_: u32, _: u32| 58_u32)?;
        linker.func_wrap("wasi_snapshot_preview1", "poll_oneoff", |_: u32, _: u32, _: u32, _: u32| 58_u32)?;
    }
    Ok(linker)
}

fn log(guest: &mut Guest<'_>, level: u32, at: u32, len: u32) -> Answer {
    const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];
    let line = guest.text(at, len)?;
    let Some(level) = LEVELS.get(level as usize) else { return Ok(Status::BadArgument) };
    guest.world().log(level, &line);
    Ok(Status::Ok)
}

fn set_tick_period(guest: &mut Guest<'_>, period_ms: u32) -> Answer {
    let (active, now) = (&guest.world().active, guest.world().common.clock.monotonic_nanos());
    let mut roots = guest.world().roots.borrow_mut();
    let Some(root) = roots.get_mut(active.root) else { return Ok(Status::BadArgument) };
    if guest.is_kong() && !active.is_root() {
        return Err(RuleBroken::new(Rule::TickPeriodOutsideRoot, "set the tick period in a request"));
    }
    if guest.is_kong() && period_ms > 0 && root.period_ms > 0 {
        let what = format!("set a tick period of {period_ms} ms after one of {} ms", root.period_ms);
        return Err(RuleBroken::new(Rule::SecondTickPeriod, what));
    }
    root.set_period(period_ms, now, guest.is_kong());
    Ok(Status::Ok)
}

fn get_buffer(guest: &mut Guest<'_>, kind: u32, start: u32, max: u32, to: (u32, u32)) -> Answer {
    let active = guest.world().active.clone();
    let body = |wanted: Step| -> Result<(), RuleBroken> {
        if guest.is_kong() && active.step != wanted {
            return Err(RuleBroken::new(Rule::BodyOutOfPlace, format!("read a body of {wanted:?}")));
        }
        Ok(())
    };
    let bytes = match (kind, &active.stream) {
        (VM_CONFIGURATION, _) => Some(Vec::new()),
        (PLUGIN_CONFIGURATION, _) => Some(active.configuration.as_bytes().to_vec()),
        (REQUEST_BODY, Some(stream)) => {
            body(Step::RequestBody)?;
            Some(stream.borrow().body.clone())
        }
        (RESPONSE_BODY, Some(stream)) => {
            body(Step::ResponseBody)?;
            stream.borrow().response.as_ref().map(|response| response.body.clone())
        }
        (CALL_RESPONSE_BODY, _) => {
            body(Step::CallResponse)?;
            active.reply.as_ref().map(|reply| reply.body().to_vec())
        }
        _ => None,
    };
    let Some(bytes) = bytes else { return Ok(Status::NotFound) };
    let start = (start as usize).min(bytes.len());
    let end = start.saturating_add(max as usize).min(bytes.len());
    if start == end {
        return Ok(Status::Ok);
    }
    guest.give(&bytes[start..end], to.0, to.1)?;
    Ok(Status::Ok)
}

fn link_small(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "proxy_log", |caller: Caller<'_, World>, level: u32, at: u32, len: u32| {
        host_call(caller, "proxy_log", |guest| log(guest, level, at, len))
    })?;
    linker.func_wrap("env", "proxy_get_current_time_nanoseconds", |caller: Caller<'_, World>, to: u32| {
        host_call(caller, "proxy_get_current_time_nanoseconds", |guest| {
            let now = guest.world().common.clock.nanos();
            guest.write(to, &now.to_le_bytes())?;
            Ok(Status::Ok)
        })
    })?;
    linker.func_wrap("env", "proxy_set_effective_context", |caller: Caller<'_, World>, _context: u32| {
        // The host has set the context before its callback; Kong does nothing here either.
        host_call(caller, "proxy_set_effective_context", |_| Ok(Status::Ok))
    })?;
    linker.func_wrap(
        "env",
        "proxy_set_tick_period_milliseconds",
        |caller: Caller<'_, World>, period: u32| {
            host_call(caller, "proxy_set_tick_period_milliseconds", |guest| set_tick_period(guest, period))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |caller: Caller<'_, World>, kind: u32, start: u32, max: u32, to: u32, len_to: u32| {
            host_call(caller, "proxy_get_buffer_bytes", |guest| {
                get_buffer(guest, kind, start, max, (to, len_to))
            })
        },
    )?;
    Ok(())
}
