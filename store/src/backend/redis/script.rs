//! Lua scripts: sent by their digest, and whole to a server that does not know them yet.

use redis::Cmd;

use super::fleet::{Fault, Fleet, Order, Outcome};
use super::key;

/// A script.
#[derive(Debug)]
pub(super) struct Script {
    source: &'static str,
    digest: String,
}

/// One call of a script.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// All in one slot where there is a cluster.
    pub keys: Vec<String>,
    pub arguments: Vec<Vec<u8>>,
}

impl Script {
    pub fn new(source: &'static str) -> Self {
        Self { source, digest: redis::Script::new(source).get_hash().to_owned() }
    }

    /// Makes all `calls` at once; one outcome each.
    pub async fn run(&self, fleet: &Fleet, calls: &[Call]) -> Vec<Outcome> {
        let orders = calls.iter().map(|call| call.order("EVALSHA", &self.digest)).collect();
        let mut outcomes = fleet.write(orders).await;
        let unknown: Vec<usize> = outcomes
            .iter()
            .enumerate()
            .filter(|(_, outcome)| matches!(outcome, Err(Fault::NoScript)))
            .map(|(index, _)| index)
            .collect();
        if !unknown.is_empty() {
            // Nothing of these has happened.
            let again = unknown.iter().filter_map(|index| calls.get(*index));
            let again = fleet.write(again.map(|call| call.order("EVAL", self.source)).collect()).await;
            for (index, outcome) in unknown.into_iter().zip(again) {
                if let Some(place) = outcomes.get_mut(index) {
                    *place = outcome;
                }
            }
        }
        outcomes
    }

    /// Makes one call.
    pub async fn call(&self, fleet: &Fleet, call: Call) -> Outcome {
        let unanswered = || Err(Fault::Away("a script was not answered".into()));
        self.run(fleet, &[call]).await.pop().unwrap_or_else(unanswered)
    }
}

impl Call {
    fn order(&self, how: &str, script: &str) -> Order {
        let mut command = Cmd::new();
        command.arg(how).arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        let slot = self.keys.first().map_or(0, |key| key::slot_of(key));
        Order { slot, command }
    }
}
