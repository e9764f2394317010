//! The sample upstream as a program: `tollgate-upstream [ADDRESS]`.

use std::net::SocketAddr;

use clap::Parser;
use tollgate_testkit::{interrupt, upstream::Upstream, wait};

/// Answers every request with what it received, as JSON.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; envoy/envoy.yaml sends its requests to the default.
    #[arg(default_value = "127.0.0.1:8081", env = "TOLLGATE_UPSTREAM_LISTEN")]
    address: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    let asked = Arguments::parse().address;
    interrupt::expect()?;
    let upstream =
        Upstream::start(asked).map_err(|error| anyhow::anyhow!("cannot listen on {asked}: {error}"))?;
    println!("the sample upstream listens on http://{}", upstream.address());
    wait::until_interrupted(|| None::<()>);
    Ok(())
}
