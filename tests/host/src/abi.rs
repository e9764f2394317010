//! The binary interface between module and host: statuses, memory, lists of pairs (Proxy-Wasm ABI 0.2.1).

use wasmtime::{Caller, Extern, Linker, Memory};

use crate::personality::Personality;
use crate::rules::{Rule, RuleBroken};
use crate::world::World;

/// The status that a host call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// It does not exist.
    NotFound = 1,
    /// An argument is invalid.
    BadArgument = 2,
    /// There is no value.
    Empty = 7,
    /// Another writer changed the entry in between.
    CasMismatch = 8,
    /// The host itself failed.
    InternalFailure = 10,
}

/// The result of a host call.
pub type Answer = Result<Status, RuleBroken>;

/// A header's name and value, as they came.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The module that is making a host call: its memory, and the world it sees.
pub struct Guest<'a> {
    caller: Caller<'a, World>,
    memory: Memory,
}

/// Runs one host call: counts it, and turns its answer into what the module or the test gets.
pub fn host_call(
    mut caller: Caller<'_, World>,
    name: &'static str,
    run: impl FnOnce(&mut Guest<'_>) -> Answer,
) -> wasmtime::Result<u32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(RuleBroken::new(Rule::MissingExport, "exports no memory").into());
    };
    if !caller.data().common.grants(name) {
        return Err(RuleBroken::new(Rule::NotGranted, format!("called {name}")).into());
    }
    *caller.data_mut().host_calls.entry(name).or_default() += 1;
    let mut guest = Guest { caller, memory };
    run(&mut guest).map(|status| status as u32).map_err(|broken| {
        let what = format!("{} (in {name}, step {:?})", broken.what, guest.world().active.step);
        RuleBroken { what, ..broken }.into()
    })
}

impl Guest<'_> {
    /// What the module sees of its node.
    pub fn world(&self) -> &World {
        self.caller.data()
    }

    /// The same, mutable.
    pub fn world_mut(&mut self) -> &mut World {
        self.caller.data_mut()
    }

    /// Which host this is.
    pub fn personality(&self) -> Personality {
        self.world().personality
    }

    /// Whether this is Kong.
    pub fn is_kong(&self) -> bool {
        self.personality().is_kong()
    }

    /// Reads `len` bytes at address `at`.
    pub fn bytes(&self, at: u32, len: u32) -> Result<Vec<u8>, RuleBroken> {
        let (start, end) = (at as usize, at as usize + len as usize);
        let bytes = self.memory.data(&self.caller).get(start..end);
        bytes.map(<[u8]>::to_vec).ok_or_else(|| bad_memory(at, len))
    }

    /// Reads them as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self, at: u32, len: u32) -> Result<String, RuleBroken> {
        Ok(String::from_utf8_lossy(&self.bytes(at, len)?).into_owned())
    }

    /// Like [`Self::bytes`], but `None` if address and length are 0.
    pub fn optional_bytes(&self, at: u32, len: u32) -> Result<Option<Vec<u8>>, RuleBroken> {
        if at == 0 && len == 0 { Ok(None) } else { self.bytes(at, len).map(Some) }
    }

    /// Writes `bytes` at address `at`.
    pub fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), RuleBroken> {
        let memory = self.memory;
        memory.write(&mut self.caller, at as usize, bytes).map_err(|_| bad_memory(at, bytes.len() as u32))
    }

    /// Writes a word at address `at`.
    pub fn write_u32(&mut self, at: u32, value: u32) -> Result<(), RuleBroken> {
        self.write(at, &value.to_le_bytes())
    }

    /// Copies `bytes` into memory that the module allocates; writes their address to `to`, their length to `len_to`.
    pub fn give(&mut self, bytes: &[u8], to: u32, len_to: u32) -> Result<(), RuleBroken> {
        let len = bytes.len() as u32;
        // For no bytes Envoy gives a null pointer, Kong an allocation of 0 bytes.
        let at = if bytes.is_empty() && !self.is_kong() { 0 } else { self.allocate(len)? };
        if len > 0 {
            self.write(at, bytes)?;
        }
        self.write_u32(to, at)?;
        self.write_u32(len_to, len)
    }

    fn allocate(&mut self, len: u32) -> Result<u32, RuleBroken> {
        let export = self.caller.get_export("proxy_on_memory_allocate");
        let function = export
            .and_then(Extern::into_func)
            .ok_or_else(|| RuleBroken::new(Rule::MissingExport, "exports no proxy_on_memory_allocate"))?;
        let typed = function
            .typed::<u32, u32>(&self.caller)
            .map_err(|error| RuleBroken::new(Rule::MissingExport, error.to_string()))?;
        match typed.call(&mut self.caller, len) {
            Ok(0) => Err(RuleBroken::new(Rule::BadMemory, format!("allocated nothing for {len} bytes"))),
            Ok(at) => Ok(at),
            Err(error) => Err(RuleBroken::new(Rule::Trap, format!("{error:?}"))),
        }
    }
}

fn bad_memory(at: u32, len: u32) -> RuleBroken {
    RuleBroken::new(Rule::BadMemory, format!("{len} bytes at {at} are not in the module's memory"))
}

/// Encodes a list of pairs as the ABI does: their count, all lengths, then names and values, each followed by a NUL.
#[must_use]
pub fn pairs_to_bytes(pairs: &[Pair]) -> Vec<u8> {
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}

/// Decodes the list that a module gave. No bytes are an empty list.
pub fn pairs_from_bytes(bytes: &[u8]) -> Result<Vec<Pair>, RuleBroken> {
    fn word(bytes: &[u8], at: usize) -> Option<usize> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
    }
    fn take(bytes: &[u8], at: &mut usize, len: usize) -> Option<Vec<u8>> {
        let taken = bytes.get(*at..*at + len)?.to_vec();
        *at += len + 1;
        Some(taken)
    }
    fn parse(bytes: &[u8]) -> Option<Vec<Pair>> {
        let count = word(bytes, 0)?;
        let mut at = 4 + count.checked_mul(8)?;
        let mut pairs = Vec::new();
        for i in 0..count {
            let (name, value) = (word(bytes, 4 + i * 8)?, word(bytes, 8 + i * 8)?);
            pairs.push((take(bytes, &mut at, name)?, take(bytes, &mut at, value)?));
        }
        Some(pairs)
    }
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    parse(bytes).ok_or_else(|| RuleBroken::new(Rule::BadMemory, "gave a list of pairs that is none"))
}

/// Host calls that Kong only has the name of, with their number of arguments.
pub const NOT_IN_KONG: &[(&str, usize)] = &[
    ("proxy_get_log_level", 1),
    ("proxy_get_status", 3),
    ("proxy_done", 0),
    ("proxy_close_stream", 1),
    ("proxy_grpc_call", 12),
    ("proxy_grpc_stream", 9),
    ("proxy_grpc_send", 4),
    ("proxy_grpc_cancel", 1),
    ("proxy_grpc_close", 1),
    ("proxy_resolve_shared_queue", 5),
    ("proxy_call_foreign_function", 6),
];

/// Host calls that both hosts have and this one does not model (queues, and changing a body): using one fails the test, but
/// breaks no rule.
pub const NOT_MODELLED: &[(&str, usize)] = &[
    ("proxy_set_buffer_bytes", 5),
    ("proxy_register_shared_queue", 3),
    ("proxy_dequeue_shared_queue", 3),
    ("proxy_enqueue_shared_queue", 3),
];

/// Links the calls that are not modelled, so that a module that only imports them loads.
pub fn link_unmodelled(linker: &mut Linker<World>, personality: Personality) -> wasmtime::Result<()> {
    let of_envoy = |name: &str| !personality.is_kong() && name == "proxy_call_foreign_function";
    for &(name, arity) in NOT_IN_KONG.iter().chain(NOT_MODELLED).filter(|(name, _)| !of_envoy(name)) {
        let engine = linker.engine().clone();
        let words = vec![wasmtime::ValType::I32; arity];
        let shape = wasmtime::FuncType::new(&engine, words, [wasmtime::ValType::I32]);
        linker.func_new("env", name, shape, move |_, _, _| {
            Err(if personality.is_kong() && NOT_IN_KONG.iter().any(|(other, _)| *other == name) {
                RuleBroken::new(Rule::NotInKong, format!("called {name}")).into()
            } else {
                wasmtime::Error::msg(format!("{name} is not modelled by this host: add it to tests/host"))
            })
        })?;
    }
    Ok(())
}
