//! Why a connection or a command has failed. A server's errors are parsed here, and only here.

use std::time::Duration;

use redis::{RedisError, ServerError, ServerErrorKind, Value};

use super::target::Address;
use crate::backend::BackendError;

/// Why there is no connection, or no answer on it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The first attempt to connect is still under way.
    #[error("not connected yet")]
    NotYet,
    /// The server took too long to answer.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The server took too long to connect.
    #[error("{0}: no connection within {1:?}")]
    NoConnection(Address, Duration),
    /// The server cannot be connected to.
    #[error("{0}: {1}")]
    Unreachable(Address, RedisError),
    /// The connection broke, or what came on it cannot be read.
    #[error("{0}")]
    Broken(RedisError),
    /// The server answered with an error.
    #[error("{0}")]
    Refused(ServerError),
    /// The Sentinel does not know the service.
    #[error("it knows no such service")]
    UnknownService,
    /// The server was demoted, and its Sentinel does not know that yet.
    #[error("{0} is not a master")]
    NotMaster(Address),
    /// No Sentinel led to a master.
    #[error("no Sentinel leads to a master of {service} ({})", listed(sentinels))]
    NoMaster {
        /// The service that the URL names.
        service: String,
        /// Each Sentinel, and why it did not help.
        sentinels: Vec<(Address, ConnectionError)>,
    },
}

fn listed(sentinels: &[(Address, ConnectionError)]) -> String {
    let lines: Vec<String> = sentinels.iter().map(|(sentinel, why)| format!("{sentinel}: {why}")).collect();
    lines.join("; ")
}

/// Why a command failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    /// There is no connection to the server, or no answer on it.
    #[error("{0}")]
    Away(#[from] ConnectionError),
    /// The server cannot serve now. Time will help, or the operator has to change something.
    #[error("{0}")]
    Unavailable(String),
    /// Too few replicas confirmed a write.
    #[error(
        "{confirmed} of {wanted} replicas confirm the write; see to them, or ask for fewer with ?replicas="
    )]
    Unconfirmed {
        /// How many replicas confirmed it.
        confirmed: i64,
        /// How many have to.
        wanted: u32,
    },
    /// Another node of the cluster has the slot. The command was not carried out.
    #[error("{0}")]
    Redirected(Redirection),
    /// No known node of the cluster has the slot.
    #[error("no node has its slot")]
    NoNode,
    /// The cluster has no nodes.
    #[error("the cluster has no nodes")]
    NoNodes,
    /// The server does not know the script of this EVALSHA, or the function of this FCALL. The command was not carried
    /// out.
    #[error("it does not keep scripts")]
    NoScript,
    /// The server has the library of functions already. The command was not carried out.
    #[error("it has the library already")]
    LibraryExists,
    /// The user may not send this command, or the server does not know it. The command was not carried out.
    #[error("{0}")]
    Forbidden(String),
    /// The command makes no sense with what the server holds, or its answer cannot be read.
    #[error("{0}")]
    Refused(String),
    /// The server sent fewer answers than it got commands.
    #[error("a command was not answered")]
    Unanswered,
}

/// Where a node of a cluster sends a command: `MOVED 3999 host:port` or `ASK 3999 host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {slot} {name}:{port}", if *is_asking { "ASK" } else { "MOVED" })]
pub(super) struct Redirection {
    slot: String,
    /// Empty if it is the node that was asked, which does not know its own name.
    name: String,
    port: u16,
    /// Whether only this command goes there, after ASKING, because the slot is moving.
    pub is_asking: bool,
}

impl Redirection {
    /// Parses the text after MOVED or ASK.
    pub fn parse(is_asking: bool, details: &str) -> Option<Self> {
        let mut words = details.split_ascii_whitespace();
        let slot = words.next()?.to_owned();
        let (name, port) = words.next()?.rsplit_once(':')?;
        let name = name.trim_matches(['[', ']']).to_owned();
        Some(Self { slot, name, port: port.parse().ok()?, is_asking })
    }

    /// The node that the redirection leads to, if `asked` has sent it.
    pub fn to(&self, asked: &Address) -> Address {
        let name = if self.name.is_empty() { &asked.name } else { &self.name };
        Address { name: name.clone(), port: self.port }
    }
}

impl From<Fault> for BackendError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(why) => Self::Corrupt(why),
            fault => Self::Away(fault.to_string()),
        }
    }
}

/// What an answer means.
pub(super) fn outcome(value: Value) -> Result<Value, Fault> {
    match value {
        Value::ServerError(error) => Err(fault(&error)),
        value => Ok(value),
    }
}

fn fault(error: &ServerError) -> Fault {
    let details = error.details().unwrap_or_default();
    let redirection = |is_asking| Redirection::parse(is_asking, details).map(Fault::Redirected);
    let unavailable = || Fault::Unavailable(error.to_string());
    match error.kind() {
        Some(ServerErrorKind::NoScript) => Fault::NoScript,
        Some(ServerErrorKind::NoPerm) => Fault::Forbidden(error.to_string()),
        Some(ServerErrorKind::Moved) => redirection(false).unwrap_or_else(unavailable),
        Some(ServerErrorKind::Ask) => redirection(true).unwrap_or_else(unavailable),
        Some(ServerErrorKind::ResponseError) => general(error, details),
        None if error.code() == "WRONGTYPE" => general(error, details),
        Some(_) | None => unavailable(),
    }
}

/// What Redis and Valkey say of a command in a script that the user may not run. These errors have no code of their
/// own.
const MAY_NOT: [&str; 2] = ["executing the script can't run this command", "ACL failure in script"];

/// What an error without a code of its own means. Only its text tells.
fn general(error: &ServerError, details: &str) -> Fault {
    if details == "Function not found" {
        Fault::NoScript
    } else if details.starts_with("Library '") && details.ends_with("already exists") {
        Fault::LibraryExists
    } else if details.starts_with("unknown command") {
        Fault::Forbidden(error.to_string())
    } else if MAY_NOT.iter().any(|words| details.contains(words)) {
        Fault::Unavailable(error.to_string())
    } else {
        Fault::Refused(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str, port: u16) -> Address {
        Address { name: name.into(), port }
    }

    #[test]
    fn a_redirection_leads_to_the_node_that_it_names() {
        let asked = address("asked", 1);
        for (details, to) in [
            ("3999 127.0.0.1:6381", address("127.0.0.1", 6_381)),
            ("3999 [::1]:6381", address("::1", 6_381)),
            ("3999 ::1:6381", address("::1", 6_381)),
            ("3999 node-1.example:7000", address("node-1.example", 7_000)),
            ("3999 :6381", address("asked", 6_381)),
        ] {
            let redirection = Redirection::parse(false, details).unwrap();
            assert_eq!(redirection.to(&asked), to, "{details}");
        }
    }

    /// What a server's error line means.
    fn fault_of(line: &str) -> Fault {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        outcome(value).unwrap_err()
    }

    #[test]
    fn an_error_of_a_server_is_told_by_its_code() {
        assert!(matches!(fault_of("MOVED 3999 a:1"), Fault::Redirected(to) if !to.is_asking));
        assert!(matches!(fault_of("ASK 3999 a:1"), Fault::Redirected(to) if to.is_asking));
        assert!(matches!(fault_of("MOVED nowhere"), Fault::Unavailable(_)));
        assert!(matches!(fault_of("NOSCRIPT No matching script."), Fault::NoScript));
        assert!(matches!(fault_of("NOPERM this user has no permissions"), Fault::Forbidden(_)));
        assert!(matches!(
            fault_of("READONLY You can't write against a read only replica."),
            Fault::Unavailable(_)
        ));
        assert!(matches!(fault_of("OOM command not allowed"), Fault::Unavailable(_)));
        assert!(matches!(fault_of("WRONGTYPE Operation against a key"), Fault::Refused(_)));
    }

    #[test]
    fn an_error_without_a_code_of_its_own_is_told_by_its_text() {
        assert!(matches!(fault_of("ERR Function not found"), Fault::NoScript));
        assert!(matches!(fault_of("ERR Library 'tollgate_1' already exists"), Fault::LibraryExists));
        assert!(matches!(fault_of("ERR unknown command 'FCALL'"), Fault::Forbidden(_)));
        assert!(matches!(fault_of("ERR ACL failure in script: GET"), Fault::Unavailable(_)));
        assert!(matches!(fault_of("ERR value is not an integer"), Fault::Refused(_)));
    }

    #[test]
    fn a_redirection_that_cannot_be_read_is_none() {
        for details in ["", "3999", "3999 host", "3999 host:port", "3999 host:99999"] {
            assert_eq!(Redirection::parse(true, details), None, "{details}");
        }
    }
}
