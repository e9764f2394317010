use std::fs;
use std::path::PathBuf;

use tollgate_testkit::redis::Server;
use tollgate_testkit::redis::cluster::Cluster;
use tollgate_testkit::redis::watched::Watched as Sentinels;

use super::Watched;

fn send(server: &Server, commands: &[&[&str]]) {
    for command in commands {
        server.ask(command).unwrap();
    }
}

/// Runs an outage between two lists of commands.
fn refused_by(hint: &str, begin: &[&[&str]], end: &[&[&str]]) {
    let server = Server::start().unwrap();
    let mut store = Watched::start(&server.url());
    store.lives_through(hint, |_| send(&server, begin), |_| send(&server, end), hint);
    assert_eq!(store.used(), store.charged, "{hint}");
}

#[test]
fn a_full_redis_is_away_until_it_has_room() {
    refused_by("OOM", &[&["CONFIG", "SET", "maxmemory", "1"]], &[&["CONFIG", "SET", "maxmemory", "0"]]);
}

#[test]
fn a_replica_is_away_until_it_is_a_master() {
    refused_by("read only replica", &[&["REPLICAOF", "127.0.0.1", "1"]], &[&["REPLICAOF", "NO", "ONE"]]);
}

#[test]
fn a_redis_without_the_replicas_that_it_wants_is_away() {
    refused_by(
        "NOREPLICAS",
        &[&["CONFIG", "SET", "min-replicas-to-write", "1"]],
        &[&["CONFIG", "SET", "min-replicas-to-write", "0"]],
    );
}

#[test]
fn a_redis_that_lets_writes_wait_is_away() {
    refused_by("no ", &[&["CLIENT", "PAUSE", "600000", "WRITE"]], &[&["CLIENT", "UNPAUSE"]]);
}

#[test]
fn a_user_who_may_not_write_any_more_is_away() {
    refused_by(
        // Redis says: can't run this command. Valkey says: no permissions to run the 'set' command.
        "run th",
        &[&["ACL", "SETUSER", "default", "-set"]],
        &[&["ACL", "SETUSER", "default", "+@all"]],
    );
}

#[test]
fn a_user_who_may_not_run_scripts_any_more_is_away() {
    refused_by(
        "permissions",
        &[&["ACL", "SETUSER", "default", "-evalsha", "-eval", "-fcall"]],
        &[&["ACL", "SETUSER", "default", "+@all"]],
    );
}

#[test]
fn another_password_is_away_until_it_is_the_old_one_again() {
    refused_by(
        "",
        &[&["CONFIG", "SET", "requirepass", "new"], &["-a", "new", "CLIENT", "KILL", "TYPE", "normal"]],
        &[&["-a", "new", "CONFIG", "SET", "requirepass", ""]],
    );
}

#[test]
fn a_redis_that_cannot_save_is_away() {
    let server = Server::start().unwrap();
    let mut store = Watched::start(&server.url());
    let folder = server.ask(&["CONFIG", "GET", "dir"]).unwrap();
    // With a folder in the place of the snapshot, not even root can replace it.
    let place = PathBuf::from(folder.lines().nth(1).unwrap()).join("dump.rdb");
    let begin = |_: &_| {
        fs::create_dir(&place).unwrap();
        fs::write(place.join("x"), "x").unwrap();
        send(&server, &[&["CONFIG", "SET", "save", "3600 1"], &["BGSAVE"]]);
    };
    let end = |_: &_| {
        fs::remove_dir_all(&place).unwrap();
        send(&server, &[&["BGSAVE"]]);
    };
    store.lives_through("MISCONF", begin, end, "MISCONF");
}

#[test]
fn a_master_that_sentinels_name_and_that_is_full_is_away() {
    let mut sentinels = Sentinels::start().unwrap();
    let mut store = Watched::start(&sentinels.url());
    let master = sentinels.master().unwrap();
    let limit = |bytes: &str| send(master, &[&["CONFIG", "SET", "maxmemory", bytes]]);
    store.lives_through("a full master", |_| limit("1"), |_| limit("0"), "OOM");
}

#[test]
fn scripts_that_redis_has_forgotten_are_no_outage() {
    let server = Server::start().unwrap();
    let mut store = Watched::start(&server.url());
    let before = store.store.log().len();
    for _ in 0..20 {
        send(&server, &[&["SCRIPT", "FLUSH"], &["FUNCTION", "FLUSH"]]);
        assert!(store.is_up());
        assert_eq!(store.charge("acme"), 200);
    }
    assert_eq!(store.said(before), [""; 0]);
}

#[test]
fn what_settles_accounts_is_a_function_that_redis_keeps() {
    let server = Server::start().unwrap();
    let mut store = Watched::start(&server.url());
    send(&server, &[&["CONFIG", "RESETSTAT"]]);
    for _ in 0..5 {
        assert_eq!(store.charge("acme"), 200);
    }
    assert!(server.ask(&["FUNCTION", "LIST"]).unwrap().contains("tollgate_"));
    let calls = |command: &str| {
        let stats = server.ask(&["INFO", "commandstats"]).unwrap();
        stats.lines().any(|line| line.starts_with(&format!("cmdstat_{command}:")))
    };
    assert!(calls("fcall") && !calls("eval"));
}

/// An older list of rights lacks functions. Here they are revoked and granted while the store runs.
#[test]
fn a_user_who_may_use_no_functions_is_served_by_scripts() {
    let server = Server::start().unwrap();
    for rights in ["-function|load", "-fcall"] {
        send(&server, &[&["ACL", "SETUSER", "default", "+@all"], &["ACL", "SETUSER", "default", rights]]);
        send(&server, &[&["FUNCTION", "FLUSH"], &["SCRIPT", "FLUSH"]]);
        let mut store = Watched::start(&server.url());
        for _ in 0..3 {
            assert_eq!(store.charge("acme"), 200, "{rights}");
            send(&server, &[&["SCRIPT", "FLUSH"]]);
        }
        let said = store.said(0);
        assert_eq!(said.iter().filter(|line| line.contains("+fcall")).count(), 1, "{rights}: {said:#?}");
    }
    send(&server, &[&["ACL", "SETUSER", "default", "+@all"]]);
    let mut store = Watched::start(&server.url());
    assert_eq!(store.charge("acme"), 200);
    send(&server, &[&["ACL", "SETUSER", "default", "-fcall"]]);
    assert_eq!(store.charge("acme"), 200);
    assert!(store.is_up());
}

/// A third of the clients cannot be charged, so an operator has to look; the other clients are served.
#[test]
fn a_cluster_with_one_full_node_is_away_and_serves_the_clients_of_the_others() {
    let cluster = Cluster::start().unwrap();
    let mut store = Watched::start(&cluster.url());
    let before = store.store.log().len();
    let full = cluster.masters().next().unwrap();
    send(full, &[&["CONFIG", "SET", "maxmemory", "1"]]);
    store.is(false);
    let statuses: Vec<u16> = (0..90).map(|number| store.charge(&format!("consumer {number}"))).collect();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!((10..60).contains(&refused), "a third of 90, but {refused}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(!store.is_up());
    send(full, &[&["CONFIG", "SET", "maxmemory", "0"]]);
    store.comes_back("a full node");
    let said = store.said(before);
    assert_eq!(said.len(), 2, "{said:#?}");
    let node = format!("127.0.0.1:{}", full.port());
    assert!(said[0].contains(&node) && said[0].contains("OOM"), "which node it is: {said:#?}");
}
