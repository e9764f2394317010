//! Lua scripts. A server gets a script once: as a function if the user may load one, otherwise by EVAL, and from then
//! on by its digest.
//!
//! EVALSHA makes a script's own functions anew with every call, and a loaded function makes them once. For a large
//! script, that is half of what a call about one client costs Redis. The name of a function has the digest of its
//! source, so that stores of two versions use their own.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use redis::Cmd;

use super::fault::Fault;
use super::key;
use super::servers::{Command, Outcome, Servers};

/// After a server has refused functions, this many calls go by EVALSHA until one tries functions again. The user may
/// get the right later.
const REFUSED_FOR: u32 = 4_096;

/// A script.
#[derive(Debug)]
pub(super) struct Script {
    source: String,
    digest: String,
    function: Option<Function>,
}

/// A script as a function that servers keep.
#[derive(Debug)]
struct Function {
    name: String,
    library: String,
    /// How many more calls go without the function.
    refused: AtomicU32,
    was_told: AtomicBool,
}

/// One call of a script.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// All of them are in one slot if there is a cluster.
    pub keys: Vec<String>,
    pub arguments: Vec<Vec<u8>>,
}

impl Script {
    /// A small script, which is always called by its digest.
    pub fn new(source: impl Into<String>) -> Self {
        let source = source.into();
        let digest = redis::Script::new(&source).get_hash().to_owned();
        Self { source, digest, function: None }
    }

    /// A script that servers keep as a function. It defines a function of KEYS and ARGV with this name, and does nothing else.
    pub fn kept_alone(source: &str, name: &str) -> Self {
        Self::kept(("local function never() end", "never"), (source, name))
    }

    /// A script that servers keep as a function. `first` defines a function of KEYS and ARGV with the name
    /// `first_name`, and `rest` another one, which is called if the first returns nil. They do nothing else.
    pub fn kept((first, first_name): (&str, &str), (rest, rest_name): (&str, &str)) -> Self {
        let script = Self::new(format!(
            "{first}
             local answer = {first_name}(KEYS, ARGV)
             if answer then return answer end
             {rest}
             return {rest_name}(KEYS, ARGV)"
        ));
        let version: String = script.digest.chars().take(16).collect();
        let name = format!("tollgate_{version}");
        // A library sees nothing of Lua while it is loaded, so it makes what it needs in its first call.
        let library = format!(
            "#!lua name={name}
             local first, rest
             redis.register_function('{name}', function(keys, arguments)
               if not rest then
                 {first}
                 {rest}
                 first, rest = {first_name}, {rest_name}
               end
               return first(keys, arguments) or rest(keys, arguments)
             end)"
        );
        let function =
            Function { name, library, refused: AtomicU32::new(0), was_told: AtomicBool::new(false) };
        Self { function: Some(function), ..script }
    }

    /// The name of its function.
    #[cfg(test)]
    pub fn function_name(&self) -> Option<&str> {
        self.function.as_ref().map(|function| function.name.as_str())
    }

    /// The same script without a function.
    #[cfg(test)]
    pub fn evaluated(self) -> Self {
        Self { function: None, ..self }
    }

    /// Makes all `calls` at once, with one outcome each.
    pub async fn run(&self, servers: &Servers, calls: &[Call]) -> Vec<Outcome> {
        let calls: Vec<&Call> = calls.iter().collect();
        let Some(function) = self.function.as_ref().filter(|function| function.may_be_asked()) else {
            return self.evaluate(servers, &calls).await;
        };
        let mut outcomes =
            servers.write(calls.iter().map(|call| call.command("FCALL", &function.name)).collect()).await;
        let mut may_not = false;
        if let Some(unknown) = Void::of(&outcomes, &calls, |fault| matches!(fault, Fault::NoScript)) {
            let (loads, called) = function.load(servers, &unknown.calls).await;
            may_not = loads
                .iter()
                .any(|load| load.as_ref().is_err_and(|fault| !matches!(fault, Fault::LibraryExists)));
            unknown.become_of(&mut outcomes, called);
        }
        may_not |= outcomes.iter().any(|outcome| matches!(outcome, Err(Fault::Forbidden(_))));
        let is_refused = |fault: &Fault| matches!(fault, Fault::NoScript | Fault::Forbidden(_));
        if let Some(refused) = Void::of(&outcomes, &calls, is_refused) {
            let evaluated = self.evaluate(servers, &refused.calls).await;
            if may_not && evaluated.iter().any(Result::is_ok) {
                function.refuse();
            }
            refused.become_of(&mut outcomes, evaluated);
        }
        outcomes
    }

    /// Makes one call.
    pub async fn call(&self, servers: &Servers, call: Call) -> Outcome {
        self.run(servers, &[call]).await.pop().unwrap_or(Err(Fault::Unanswered))
    }

    /// Makes all `calls` without a function.
    async fn evaluate(&self, servers: &Servers, calls: &[&Call]) -> Vec<Outcome> {
        let mut outcomes =
            servers.write(calls.iter().map(|call| call.command("EVALSHA", &self.digest)).collect()).await;
        if let Some(unknown) = Void::of(&outcomes, calls, |fault| matches!(fault, Fault::NoScript)) {
            let whole = unknown.calls.iter().map(|call| call.command("EVAL", &self.source)).collect();
            let evaluated = servers.write(whole).await;
            unknown.become_of(&mut outcomes, evaluated);
        }
        outcomes
    }
}

impl Function {
    /// Whether the servers are believed to let the user load and call the function.
    fn may_be_asked(&self) -> bool {
        self.refused.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
    }

    fn refuse(&self) {
        if self.refused.swap(REFUSED_FOR, Relaxed) == 0 && !self.was_told.swap(true, Relaxed) {
            tracing::warn!(
                "this Redis user may not load or call functions, so each call costs Redis more; \
                 grant +function|load +fcall"
            );
        }
    }

    /// Loads the function on the servers of `calls`, and makes the calls. Returns the outcomes of both. Another store may
    /// have loaded it meanwhile; the calls then succeed all the same.
    async fn load(&self, servers: &Servers, calls: &[&Call]) -> (Vec<Outcome>, Vec<Outcome>) {
        let commands = calls.iter().flat_map(|call| {
            let mut load = redis::cmd("FUNCTION");
            load.arg("LOAD").arg(&self.library);
            [Command { slot: call.slot(), command: load }, call.command("FCALL", &self.name)]
        });
        let outcomes = servers.write(commands.collect()).await.into_iter().enumerate();
        let (loads, called): (Vec<_>, Vec<_>) = outcomes.partition(|(place, _)| place.is_multiple_of(2));
        let without_places =
            |outcomes: Vec<(usize, Outcome)>| outcomes.into_iter().map(|(_, outcome)| outcome).collect();
        (without_places(loads), without_places(called))
    }
}

/// Calls that were not carried out, and their places among all calls.
struct Void<'a> {
    places: Vec<usize>,
    calls: Vec<&'a Call>,
}

impl<'a> Void<'a> {
    /// The calls whose faults are such that nothing was carried out, if there are any.
    fn of(outcomes: &[Outcome], calls: &[&'a Call], is_void: impl Fn(&Fault) -> bool) -> Option<Self> {
        let all = outcomes.iter().zip(calls).enumerate();
        let void = all.filter(|(_, (outcome, _))| outcome.as_ref().is_err_and(&is_void));
        let (places, calls): (Vec<_>, Vec<_>) = void.map(|(place, (_, call))| (place, *call)).unzip();
        (!places.is_empty()).then_some(Self { places, calls })
    }

    /// Puts the outcomes of the second attempt in their places.
    fn become_of(self, outcomes: &mut [Outcome], again: Vec<Outcome>) {
        for (place, outcome) in self.places.into_iter().zip(again) {
            if let Some(old) = outcomes.get_mut(place) {
                *old = outcome;
            }
        }
    }
}

impl Call {
    fn slot(&self) -> u16 {
        self.keys.first().map_or(0, |key| key::slot_of(key))
    }

    fn command(&self, how: &str, script: &str) -> Command {
        let mut command = Cmd::new();
        command.arg(how).arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        Command { slot: self.slot(), command }
    }
}
