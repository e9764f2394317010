//! What every gateway with the sample policy must show a client.
//!
//! Without `GATEWAY_URL`, this tests Envoys of the suite's own: alone, with 1 and with 4 worker threads; with a store; and with
//! a store that does not run, where `on_failure: local` decides by the same numbers. With it, this tests only that gateway and
//! starts nothing; `GATEWAY_KIND` is `kong` or `envoy` if its answers do not tell.

mod anonymous;
mod browsers;
mod consumers;
mod limits;
mod paths;
mod trust;

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use tollgate_e2e::gateway::Gateway;

/// A behavior, named by a sentence.
type Behaviour = (&'static str, fn(&Gateway));

/// Functions with their names.
macro_rules! behaviours {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name)),*] };
}
use behaviours;

const BEHAVIOURS: [&[Behaviour]; 6] = [
    consumers::BEHAVIOURS,
    limits::BEHAVIOURS,
    anonymous::BEHAVIOURS,
    trust::BEHAVIOURS,
    paths::BEHAVIOURS,
    browsers::BEHAVIOURS,
];

/// There are many, as a test mostly waits for a bucket to fill.
const THREADS: usize = 8;

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let gateways = gateways(arguments.list)?;
    let trials = gateways.iter().flat_map(|(name, gateway)| trials(name, gateway.clone())).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if gateways.iter().flat_map(|(_, gateway)| gateway).any(|gateway| !gateway.is_own()) {
        println!("not applicable to an external gateway: tests/own_gateway, which needs policies of its own");
    }
    // `conclusion.exit()` would leave the gateways running.
    Ok(conclusion.exit_code())
}

/// The gateways by name. If they are only listed, none is started.
fn gateways(only_list: bool) -> anyhow::Result<Vec<(String, Option<Arc<Gateway>>)>> {
    let gateways = match env::var("GATEWAY_URL").ok().filter(|url| !url.is_empty()) {
        Some(_) if only_list => return Ok(vec![("external".into(), None)]),
        Some(url) => {
            let gateway = Gateway::external(&url, env::var("GATEWAY_KIND").ok().as_deref())?;
            eprintln!(
                "testing {:?} at {url}; this waits until its sample consumers' buckets are full",
                gateway.kind
            );
            vec![gateway]
        }
        None if only_list => return Ok(vec![("own".into(), None)]),
        None => vec![
            Gateway::envoy(1)?,
            Gateway::envoy(4)?,
            Gateway::envoy_with_store(2)?,
            Gateway::envoy_without_its_store(2)?,
        ],
    };
    Ok(gateways.into_iter().map(|gateway| (gateway.name.clone(), Some(Arc::new(gateway)))).collect())
}

fn trials(name: &str, gateway: Option<Arc<Gateway>>) -> Vec<Trial> {
    let behaviours = BEHAVIOURS.into_iter().flatten();
    behaviours
        .map(|&(behaviour, check)| {
            let gateway = gateway.clone();
            Trial::test(format!("{name}::{behaviour}"), move || {
                if let Some(gateway) = gateway {
                    check(&gateway);
                }
                Ok(())
            })
        })
        .collect()
}
