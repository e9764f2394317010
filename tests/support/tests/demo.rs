//! `make run` as a user runs it: on a Redis of its own, and ended by Ctrl-C.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it fails")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tollgate_testkit::redis::Server;
use tollgate_testkit::wait;

/// Both gateways have to compile the filter and start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two that start at the same moment would look for the same free ports.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A loopback port that is free, as far as one can tell before it is used.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn demo(port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-demo"));
    command.args(["--port", &port.to_string()]).env_remove("REDIS").env_remove("PORT");
    command
}

#[test]
fn on_a_redis_of_ones_own_it_does_what_its_policy_says_and_keeps_its_accounts_there() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start().unwrap();
    let output = demo(port()).args(["--check", "--redis", &server.url()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("on the backend that you named"), "{said}");
    let keys = server.ask(&["DBSIZE"]).unwrap();
    assert!(keys.chars().any(|digit| ('1'..='9').contains(&digit)), "{keys}");
}

/// All descendants of the process `id`.
fn descendants(id: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            all.insert(child);
            all.append(&mut descendants(child));
        }
    }
    all
}

#[test]
fn ctrl_c_leaves_no_process_and_no_port_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let port = port();
    let mut running = demo(port).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(running.stdout.take().unwrap()).lines();
    // The demo says what to try once everything runs.
    assert!(said.any(|line| line.unwrap().contains("curl -i")), "it ended too early");
    let left = descendants(running.id());
    assert!(left.len() >= 3, "two gateways and a store: {left:?}");
    let id = Pid::from_child(&running);
    kill_process(id, Signal::INT).unwrap();
    let status = wait::until("the demo to end", PATIENCE, || running.try_wait().unwrap()).unwrap();
    assert!(matches!(status.code(), Some(0 | 130)), "{status}");
    let still: Vec<&u32> = left.iter().filter(|id| fs::exists(format!("/proc/{id}")).unwrap()).collect();
    assert!(still.is_empty(), "{still:?} still run");
    assert!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err());
}
