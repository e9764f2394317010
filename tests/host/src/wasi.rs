//! The WASI calls that Kong's build links. They show no files and no sockets.

use wasmtime::{Caller, Linker};

use crate::abi::Guest;
use crate::rules::{Rule, RuleBroken};
use crate::world::World;

/// WASI preview 1 calls that Kong 3.9 has.
pub const IN_KONG: &[&str] = &[
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_prestat_get",
    "fd_prestat_dir_name",
    "fd_read",
    "fd_seek",
    "fd_write",
    "path_open",
    "proc_exit",
    "random_get",
];

const MODULE: &str = "wasi_snapshot_preview1";
const SUCCESS: u32 = 0;
const BAD_FILE: u32 = 8;
const INVALID: u32 = 28;
const NOT_SUPPORTED: u32 = 58;

/// Runs a WASI call with the module's memory.
fn wasi_call(
    caller: Caller<'_, World>,
    name: &'static str,
    run: impl FnOnce(&mut Guest<'_>) -> Result<u32, RuleBroken>,
) -> wasmtime::Result<u32> {
    let mut errno = SUCCESS;
    let status = crate::abi::host_call(caller, name, |guest| {
        errno = run(guest)?;
        Ok(crate::abi::Status::Ok)
    })?;
    debug_assert_eq!(status, 0);
    Ok(errno)
}

/// Writes strings as C has them: pointers at `pointers`, bytes from `bytes` on.
fn write_strings(
    guest: &mut Guest<'_>,
    strings: &[String],
    pointers: u32,
    bytes: u32,
) -> Result<u32, RuleBroken> {
    let mut at = bytes;
    for (place, string) in strings.iter().enumerate() {
        guest.write_u32(pointers + 4 * place as u32, at)?;
        guest.write(at, string.as_bytes())?;
        guest.write(at + string.len() as u32, &[0])?;
        at += string.len() as u32 + 1;
    }
    Ok(SUCCESS)
}

fn write_out(
    guest: &mut Guest<'_>,
    file: u32,
    parts: u32,
    count: u32,
    written_to: u32,
) -> Result<u32, RuleBroken> {
    if !matches!(file, 1 | 2) {
        return Ok(BAD_FILE);
    }
    let word = |guest: &Guest<'_>, at| {
        Ok::<_, RuleBroken>(u32::from_le_bytes(guest.bytes(at, 4)?.try_into().expect("four bytes")))
    };
    let mut text = Vec::new();
    for part in 0..count {
        let (at, len) = (word(guest, parts + 8 * part)?, word(guest, parts + 8 * part + 4)?);
        text.extend(guest.bytes(at, len)?);
    }
    guest.world().log("stderr", String::from_utf8_lossy(&text).trim_end());
    guest.write_u32(written_to, text.len() as u32)?;
    Ok(SUCCESS)
}

/// Not cryptographic, as in Kong, and the same in every run (splitmix64).
fn random(guest: &mut Guest<'_>, at: u32, len: u32) -> Result<u32, RuleBroken> {
    for place in 0..len {
        let state = &mut guest.world_mut().random;
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        guest.write(at + place, &[(mixed >> 32) as u8])?;
    }
    Ok(SUCCESS)
}

fn clock(guest: &mut Guest<'_>, id: u32, to: u32) -> Result<u32, RuleBroken> {
    let clock = &guest.world().common.clock;
    let nanos = match id {
        0 => clock.nanos(),
        // Kong's monotonic clock has steps of a millisecond (seen in its source).
        1 if guest.is_kong() => clock.monotonic_nanos() / 1_000_000 * 1_000_000,
        1 => clock.monotonic_nanos(),
        _ => return Ok(INVALID),
    };
    guest.write(to, &nanos.to_le_bytes())?;
    Ok(SUCCESS)
}

/// Links the list above.
pub fn link(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    linker.func_wrap(
        MODULE,
        "clock_time_get",
        |caller: Caller<'_, World>, id: u32, _precision: u64, to: u32| {
            wasi_call(caller, "clock_time_get", |guest| clock(guest, id, to))
        },
    )?;
    linker.func_wrap(MODULE, "random_get", |caller: Caller<'_, World>, at: u32, len: u32| {
        wasi_call(caller, "random_get", |guest| random(guest, at, len))
    })?;
    linker.func_wrap(
        MODULE,
        "fd_write",
        |caller: Caller<'_, World>, file: u32, parts: u32, count: u32, to: u32| {
            wasi_call(caller, "fd_write", |guest| write_out(guest, file, parts, count, to))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "environ_sizes_get",
        |caller: Caller<'_, World>, count_to: u32, bytes_to: u32| {
            wasi_call(caller, "environ_sizes_get", |guest| {
                let variables = guest.world().common.environment.clone();
                guest.write_u32(count_to, variables.len() as u32)?;
                guest
                    .write_u32(bytes_to, variables.iter().map(|variable| variable.len() as u32 + 1).sum())?;
                Ok(SUCCESS)
            })
        },
    )?;
    linker.func_wrap(MODULE, "environ_get", |caller: Caller<'_, World>, pointers: u32, bytes: u32| {
        wasi_call(caller, "environ_get", |guest| {
            let variables = guest.world().common.environment.clone();
            write_strings(guest, &variables, pointers, bytes)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "args_sizes_get",
        |caller: Caller<'_, World>, count_to: u32, bytes_to: u32| {
            wasi_call(caller, "args_sizes_get", |guest| {
                guest.write_u32(count_to, 0)?;
                guest.write_u32(bytes_to, 0)?;
                Ok(SUCCESS)
            })
        },
    )?;
    linker.func_wrap(MODULE, "args_get", |_: Caller<'_, World>, _: u32, _: u32| SUCCESS)?;
    linker.func_wrap(MODULE, "proc_exit", |_: Caller<'_, World>, code: u32| -> wasmtime::Result<()> {
        Err(RuleBroken::new(Rule::Trap, format!("exited with {code}")).into())
    })?;
    // A filter has no files.
    linker.func_wrap(MODULE, "fd_close", |_: Caller<'_, World>, _: u32| BAD_FILE)?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |_: Caller<'_, World>, _: u32, _: u32| BAD_FILE)?;
    linker.func_wrap(MODULE, "fd_prestat_get", |_: Caller<'_, World>, _: u32, _: u32| BAD_FILE)?;
    linker
        .func_wrap(MODULE, "fd_prestat_dir_name", |_: Caller<'_, World>, _: u32, _: u32, _: u32| BAD_FILE)?;
    linker.func_wrap(MODULE, "fd_read", |_: Caller<'_, World>, _: u32, _: u32, _: u32, _: u32| BAD_FILE)?;
    linker.func_wrap(MODULE, "fd_seek", |_: Caller<'_, World>, _: u32, _: u64, _: u32, _: u32| BAD_FILE)?;
    linker.func_wrap(
        MODULE,
        "path_open",
        |_: Caller<'_, World>, _: u32, _: u32, _: u32, _: u32, _: u32, _: u64, _: u64, _: u32, _: u32| {
            NOT_SUPPORTED
        },
    )?;
    Ok(())
}
