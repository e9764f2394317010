//! A compiled filter, and the real one.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context as _;
use wasmtime::{Config, Engine, ExternType, OptLevel};

use crate::rules::{Rule, RuleBroken};

/// What a module must export, or else neither host takes it.
pub const EXPORTS: &[&str] = &[
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
];

/// A compiled module; cheap to clone.
#[derive(Clone)]
pub struct Module {
    pub(crate) compiled: wasmtime::Module,
}

impl Module {
    /// Compiles WebAssembly: bytes, or a test's own text.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn new(wasm: &[u8]) -> anyhow::Result<Self> {
        Ok(Self { compiled: wasmtime::Module::new(engine(), wasm)? })
    }

    /// The built filter: `$TOLLGATE_WASM`, or `dist/tollgate.wasm`.
    ///
    /// # Errors
    /// When it is not there, or is not WebAssembly.
    pub fn tollgate() -> anyhow::Result<Self> {
        static TOLLGATE: OnceLock<Result<Module, String>> = OnceLock::new();
        let load = || Self::new(&tollgate_bytes()?);
        TOLLGATE
            .get_or_init(|| load().map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(anyhow::Error::msg)
    }

    /// Imports as `(module, name)`.
    #[must_use]
    pub fn imports(&self) -> Vec<(String, String)> {
        self.compiled.imports().map(|import| (import.module().to_owned(), import.name().to_owned())).collect()
    }

    /// Names of exported functions.
    #[must_use]
    pub fn functions(&self) -> Vec<String> {
        let functions = self.compiled.exports().filter(|export| matches!(export.ty(), ExternType::Func(_)));
        functions.map(|export| export.name().to_owned()).collect()
    }

    /// Whether all of [`EXPORTS`] are there.
    pub(crate) fn check_exports(&self) -> Result<(), RuleBroken> {
        match EXPORTS.iter().find(|name| self.compiled.get_export(name).is_none()) {
            Some(name) => Err(RuleBroken::new(Rule::MissingExport, format!("exports no {name}"))),
            None => Ok(()),
        }
    }
}

/// The built filter's bytes.
///
/// # Errors
/// When it is not built.
pub fn tollgate_bytes() -> anyhow::Result<Vec<u8>> {
    let built = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/tollgate.wasm"));
    let path = std::env::var_os("TOLLGATE_WASM").map_or(built, PathBuf::from);
    std::fs::read(&path).with_context(|| {
        format!("no filter at {}: run `make build-wasm`, or set TOLLGATE_WASM", path.display())
    })
}

/// The one engine of all nodes. It compiles fast, and counts instructions to find what never returns without a clock.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::None).consume_fuel(true);
        Engine::new(&config).expect("this machine can run WebAssembly")
    })
}
