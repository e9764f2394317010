//! Writes `docs/figures/peers.json`, and draws `docs/pictures/admitted-over-allowed.svg` of it and of
//! `docs/figures/tollgate.json`, if that is there.

use std::error::Error;
use std::fs;
use std::path::Path;

use tollgate_peers::{draw, row};

fn main() -> Result<(), Box<dyn Error>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let peers = row::peers();
    let tollgate = match fs::read(docs.join("figures/tollgate.json")) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => Vec::new(),
    };
    fs::create_dir_all(docs.join("figures"))?;
    fs::write(docs.join("figures/peers.json"), row::to_json(&peers)?)?;
    fs::write(docs.join("pictures/admitted-over-allowed.svg"), draw::figure(&peers, &tollgate)?)?;
    Ok(())
}
