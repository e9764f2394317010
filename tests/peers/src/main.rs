//! Writes `docs/figures/peers.json` and `docs/figures/tollgate.json`, and draws `docs/pictures/admitted-over-allowed.svg` from
//! both.

use std::error::Error;
use std::fs;
use std::path::Path;

use tollgate_peers::{draw, ours, row};

fn main() -> Result<(), Box<dyn Error>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let peers = row::peers();
    let tollgate = ours::rows()?;
    fs::create_dir_all(docs.join("figures"))?;
    fs::write(docs.join("figures/peers.json"), row::to_json(&peers)?)?;
    fs::write(docs.join("figures/tollgate.json"), row::to_json(&tollgate)?)?;
    fs::write(docs.join("pictures/admitted-over-allowed.svg"), draw::figure(&peers, &tollgate)?)?;
    Ok(())
}
