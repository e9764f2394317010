//! The filter that does nothing, built from `bench/noop`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use tollgate_testkit::workspace;

const TARGET: &str = "wasm32-wasip1";

/// Builds it beside everything else that is built, and returns its path.
pub fn build() -> anyhow::Result<PathBuf> {
    let root = workspace::root();
    let target = root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())).join("noop");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--locked", "--target", TARGET, "--manifest-path"])
        .arg(root.join("bench/noop/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&root)
        .status()
        .context("cannot start cargo")?;
    ensure!(
        status.success(),
        "bench/noop does not build ({status}); is the target there? `rustup target add {TARGET}`"
    );
    Ok(target.join(TARGET).join("release/tollgate_noop.wasm"))
}
