//! One instance of the module, and how its callbacks are called.

use std::collections::BTreeMap;

use wasmtime::{Instance, Store, Val};

use crate::module::{Module, engine};
use crate::rules::{Rule, RuleBroken};
use crate::world::{Active, CALLBACK_FUEL, Step, World};

/// An instance of the module.
pub struct Vm {
    store: Store<World>,
    instance: Instance,
    fuel_used: u64,
}

impl Vm {
    /// Creates an instance of `module` that sees `world`, and initializes it.
    ///
    /// # Errors
    /// [`Rule::ForeignImport`], [`Rule::MissingExport`], and any rule that `_initialize` breaks.
    pub fn new(module: &Module, world: World) -> Result<Self, RuleBroken> {
        module.check_exports()?;
        let linker = crate::linker::linker(engine(), world.personality).expect("the host links");
        let mut store = Store::new(engine(), world);
        store.set_fuel(CALLBACK_FUEL).expect("fuel is on");
        let foreign = |(from, name): &&(String, String)| linker.get(&mut store, from, name).is_err();
        if let Some((from, name)) = module.imports().iter().find(foreign) {
            return Err(RuleBroken::new(Rule::ForeignImport, format!("imports {name} from {from}")));
        }
        let instance = linker.instantiate(&mut store, &module.compiled).map_err(broken_by)?;
        let mut vm = Self { store, instance, fuel_used: 0 };
        vm.call(Active::default(), "_initialize", &[])?;
        Ok(vm)
    }

    /// Calls an export if the module has it, and returns its result if it has one.
    ///
    /// # Errors
    /// The rule that the module broke.
    pub fn call(
        &mut self,
        active: Active,
        export: &str,
        arguments: &[u32],
    ) -> Result<Option<u32>, RuleBroken> {
        let is_granted = !export.starts_with("proxy_") || self.store.data().common.grants(export);
        let function = self.instance.get_func(&mut self.store, export);
        let Some(function) = function.filter(|_| is_granted) else { return Ok(None) };
        let words: Vec<Val> = arguments.iter().map(|word| Val::I32(*word as i32)).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        self.store.set_fuel(CALLBACK_FUEL).expect("fuel is on");
        self.store.data_mut().active = active;
        let called = function.call(&mut self.store, &words, &mut results);
        self.fuel_used += CALLBACK_FUEL - self.store.get_fuel().expect("fuel is on");
        self.store.data_mut().active = Active::default();
        called.map_err(|error| {
            let broken = broken_by(error);
            RuleBroken { what: format!("{} ({export})", broken.what), ..broken }
        })?;
        Ok(results.first().map(|result| result.unwrap_i32() as u32))
    }

    /// Whether the module exports a function of this name.
    pub fn has(&mut self, export: &str) -> bool {
        self.instance.get_func(&mut self.store, export).is_some()
    }

    /// Host calls by name, and instructions, since the last call of this function.
    pub fn take_counts(&mut self) -> (BTreeMap<&'static str, u32>, u64) {
        (std::mem::take(&mut self.store.data_mut().host_calls), std::mem::take(&mut self.fuel_used))
    }

    /// Bytes of the module's memory.
    pub fn memory_bytes(&mut self) -> usize {
        self.instance.get_memory(&mut self.store, "memory").map_or(0, |memory| memory.data_size(&self.store))
    }
}

/// The rule behind a call that failed: the one that the host named, else that a filter never traps.
fn broken_by(error: wasmtime::Error) -> RuleBroken {
    if let Some(broken) = error.downcast_ref::<RuleBroken>() {
        return broken.clone();
    }
    if error.downcast_ref::<wasmtime::Trap>() == Some(&wasmtime::Trap::OutOfFuel) {
        return RuleBroken::new(
            Rule::NeverReturns,
            format!("ran {CALLBACK_FUEL} instructions in one callback"),
        );
    }
    RuleBroken::new(Rule::Trap, format!("{error:#}"))
}

/// The callback of a step, as the ABI calls it.
#[must_use]
pub fn export_of(step: Step) -> &'static str {
    match step {
        Step::Idle => "_initialize",
        Step::Create => "proxy_on_context_create",
        Step::VmStart => "proxy_on_vm_start",
        Step::Configure => "proxy_on_configure",
        Step::Tick => "proxy_on_tick",
        Step::RequestHeaders => "proxy_on_request_headers",
        Step::RequestBody => "proxy_on_request_body",
        Step::ResponseHeaders => "proxy_on_response_headers",
        Step::ResponseBody => "proxy_on_response_body",
        Step::CallResponse => "proxy_on_http_call_response",
        Step::Log => "proxy_on_log",
    }
}
