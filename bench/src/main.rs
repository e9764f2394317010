//! What Tollgate costs, measured beside the same gateway without it.
//!
//! | module | what it measures |
//! | --- | --- |
//! | [`gateway`] | Envoy's CPU per request, requests per second, latency: bare, no-op filter, native filter, Tollgate |
//! | [`instructions`] | the instructions that Envoy executes per request, which no other load on the machine changes |
//! | [`kong`] | CPU per request of an installed Kong's worker: no plugin, no-op filter, Kong's own limiter, Tollgate |
//! | [`peers`] | CPU of gateway, service and Redis: Tollgate, and a rate limit service that runs here |
//! | [`memory`] | Envoy's memory after 65,536 distinct clients, and after a million |
//! | [`decision`] | one decision, in this process, with 4 endpoint rules and with 1,000 |
//! | [`lease`] | requests per second with leases and without, and a consumer's first request |
//! | [`sparse`] | clients that come now and then: CPU of gateways, store and Redis |
//! | [`store`] | accounts per second of the store's backends, beside the bare Redis |
//! | [`python`] | CPU per request of a FastAPI application: bare, with Tollgate, with other limiters; its event loop while the store hangs |
//! | [`room`] | the bytes that consumers take in Redis and in the store |
//!
//! [`turn`] is one measurement of a gateway; [`load`] has the clients; [`process`] reads what they cost the gateway;
//! [`variant`] is what the gateway is configured to run; [`result`] shows and saves the numbers.

mod decision;
mod gateway;
mod instructions;
mod kong;
mod lease;
mod load;
mod memory;
mod noop;
mod peers;
mod process;
mod python;
mod result;
mod room;
mod sparse;
mod store;
mod turn;
mod variant;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use result::Promise;

#[derive(Parser)]
#[command(about = "What Tollgate costs. Without a command: every benchmark.")]
struct Arguments {
    #[command(subcommand)]
    which: Option<Which>,
    /// Exit with 1 if a promise is not met.
    #[arg(long, global = true)]
    check: bool,
}

#[derive(Subcommand)]
enum Which {
    /// Envoy's CPU time per request, with and without Tollgate.
    Gateway(gateway::Settings),
    /// The instructions that Envoy executes per request, with and without Tollgate; needs valgrind.
    Instructions(instructions::Settings),
    /// CPU time per request of an installed Kong's worker; runs only by its name.
    Kong(kong::Settings),
    /// CPU time per request beside a rate limit service that runs here; runs only by its name.
    Peers(peers::Settings),
    /// Envoy's memory under a flood of distinct clients.
    Memory(memory::Settings),
    /// One decision, with few and with many endpoint rules.
    Decision(decision::Settings),
    /// Requests per second with leases and without; a consumer's first request.
    Lease(lease::Settings),
    /// What clients that come now and then cost two gateways, a store and Redis.
    Sparse(sparse::Settings),
    /// Accounts per second on redb and on Redis.
    Store(store::Settings),
    /// CPU time per request of a FastAPI application, and its event loop while the store hangs.
    Python(python::Settings),
    /// Bytes that consumers take in Redis, and the store's memory.
    Room(room::Settings),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let promises = match arguments.which {
        Some(Which::Gateway(settings)) => gateway::run(&settings),
        Some(Which::Instructions(settings)) => instructions::run(&settings),
        Some(Which::Kong(settings)) => kong::run(&settings),
        Some(Which::Peers(settings)) => peers::run(&settings),
        Some(Which::Memory(settings)) => memory::run(&settings),
        Some(Which::Decision(settings)) => decision::run(&settings),
        Some(Which::Lease(settings)) => lease::run(&settings),
        Some(Which::Sparse(settings)) => sparse::run(&settings),
        Some(Which::Store(settings)) => store::run(&settings),
        Some(Which::Python(settings)) => python::run(&settings),
        Some(Which::Room(settings)) => room::run(&settings),
        None => all(),
    };
    let promises = match promises {
        Ok(promises) => promises,
        Err(error) => {
            eprintln!("bench: {error:#}");
            return ExitCode::from(2);
        }
    };
    result::print_promises(&promises);
    if arguments.check && !promises.iter().all(Promise::is_met) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn all() -> anyhow::Result<Vec<Promise>> {
    let mut promises = decision::run(&usual())?;
    promises.extend(gateway::run(&usual())?);
    promises.extend(instructions::run(&usual())?);
    promises.extend(memory::run(&usual())?);
    promises.extend(lease::run(&usual())?);
    promises.extend(sparse::run(&usual())?);
    promises.extend(store::run(&usual())?);
    promises.extend(python::run(&usual())?);
    promises.extend(room::run(&usual())?);
    Ok(promises)
}

/// A benchmark's default settings.
fn usual<T: clap::Args>() -> T {
    let command = T::augment_args(clap::Command::new("usual"));
    T::from_arg_matches(&command.get_matches_from(["usual"])).expect("every setting has a default")
}
