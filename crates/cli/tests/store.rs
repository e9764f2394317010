//! Runs `tollgate store` as a command.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn store(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("store").args(flags).env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The exit code and the standard error of a store that must not start.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A store that always ends with the test.
struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Running {
    fn start(flags: &[&str]) -> Self {
        Self::start_as(store(&[]), flags)
    }

    fn start_as(mut command: Command, flags: &[&str]) -> Self {
        let common = ["--listen=127.0.0.1:0", "--backend=memory", "--log-format=json"];
        command.args(common).args(flags).env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        Self { child, log, address }
    }

    fn get(&self, path: &str, token: &str) -> String {
        self.ask(format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        ))
    }

    fn post(&self, path: &str, json: &str) -> String {
        let length = json.len();
        self.ask(format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{json}"
        ))
    }

    fn ask(&self, request: String) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        // A failing test must not hang.
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_does_not_listen_beyond_loopback_without_tokens() {
    let (code, text) = refused(&mut store(&["--listen=0.0.0.0:0", "--backend=memory"]));
    assert_eq!(code, Some(1));
    assert!(text.contains("0.0.0.0:0 is beyond loopback") && text.contains("--gateway-token-file"), "{text}");
    let (code, text) = refused(store(&["--backend=memory"]).env("TOLLGATE_LISTEN", "[::]:0"));
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn what_it_cannot_work_with_ends_it_with_what_to_write() {
    let (code, text) = refused(&mut store(&["--backend=mysql://u:secret@h"]));
    assert!(
        code == Some(1) && text.contains("write memory, redb:PATH") && !text.contains("secret"),
        "{text}"
    );
    let (code, text) = refused(&mut store(&["--backend=memory", "--log-level=loud=loud=loud"]));
    assert!(code == Some(1) && text.contains("--log-level"), "{text}");
    let (code, text) = refused(store(&["--backend=memory"]).env("TOLLGATE_ADMIN_TOKEN", "short"));
    assert!(code == Some(1) && text.contains("16 characters") && !text.contains("short"), "{text}");
}

#[test]
fn it_serves_with_tokens_and_ends_well_when_it_is_told_to() {
    let file = std::env::temp_dir().join(format!("tollgate-admin-token-{}", std::process::id()));
    std::fs::write(&file, "admin-token-000001\n").unwrap();
    let mut store = Running::start(&[
        "--gateway-token=gateway-token-0001",
        &format!("--admin-token-file={}", file.display()),
    ]);
    std::fs::remove_file(&file).unwrap();
    assert!(store.get("/healthz", "").starts_with("HTTP/1.1 200"));
    assert!(store.get("/v1/audit/n", "").starts_with("HTTP/1.1 401"));
    assert!(store.get("/v1/audit/n", "gateway-token-0001").starts_with("HTTP/1.1 403"));
    assert!(store.get("/v1/audit/n", "admin-token-000001").starts_with("HTTP/1.1 200"));

    let stopped = Command::new("kill").arg(store.child.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let mut log = String::new();
    store.log.read_to_string(&mut log).unwrap();
    assert_eq!(store.child.wait().unwrap().code(), Some(0), "{log}");
    assert!(log.contains("\"signal\":\"SIGTERM\"") && log.contains("\"message\":\"stopped\""), "{log}");
    assert!(!log.contains("token-0"), "a log holds no token: {log}");
}

/// Four thousand silent connections once kept everybody else out for as long as they were allowed to be idle.
#[test]
fn idle_connections_keep_no_gateway_out() {
    let store = Running::start(&[
        "--gateway-token=gateway-token-0001",
        "--admin-token=admin-token-000001",
        "--max-connections=32",
        "--header-timeout=600000",
    ]);
    let idle: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&store.address).unwrap()).collect();
    for _ in 0..20 {
        assert!(store.get("/v1/audit/n", "admin-token-000001").starts_with("HTTP/1.1 200"));
    }
    drop(idle);
}

/// A store that may open few files, by `limit` of the shell's `ulimit`, and a hundred silent connections to it.
fn with_few_descriptors(limit: &str) -> (Running, Vec<TcpStream>) {
    let mut command = Command::new("/bin/sh");
    let start = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    command.args(["-c", &start, env!("CARGO_BIN_EXE_tollgate"), "store"]);
    let store = Running::start_as(
        command,
        &[
            "--gateway-token=gateway-token-0001",
            "--admin-token=admin-token-000001",
            "--header-timeout=600000",
        ],
    );
    let idle = (0..100).map(|_| TcpStream::connect(&store.address).unwrap()).collect();
    for _ in 0..20 {
        assert!(store.get("/v1/audit/n", "admin-token-000001").starts_with("HTTP/1.1 200"));
    }
    (store, idle)
}

/// The same if file descriptors run out: there are fewer of them than places.
#[test]
fn idle_connections_keep_no_gateway_out_where_descriptors_are_few() {
    let (mut store, _idle) = with_few_descriptors("-n 64");
    store.child.kill().unwrap();
    let mut log = String::new();
    store.log.read_to_string(&mut log).unwrap();
    assert!(log.contains("\"connections\":32") && log.contains("ulimit -n"), "{log}");
    assert!(!log.contains("cannot be accepted"), "they make room before it comes to that: {log}");
}

#[test]
fn a_soft_limit_of_descriptors_is_raised() {
    let (_store, idle) = with_few_descriptors("-Sn 64");
    for mut connection in &idle {
        connection.set_nonblocking(true).unwrap();
        let ended = connection.read(&mut [0]);
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "none had to make room");
    }
}

const POLICY: &str = "namespace: shop\ntiers:\n  free: { rate: 100/minute, monthly: 10 }\ndefault_tier: free\nanonymous: { rate: 1/minute }\n";

/// Repeats `answer` until `is_so` accepts what it returns.
fn until(mut answer: impl FnMut() -> String, is_so: impl Fn(&str) -> bool) {
    let began = std::time::Instant::now();
    loop {
        let text = answer();
        if is_so(&text) {
            return;
        }
        assert!(began.elapsed().as_secs() < 20, "{text}");
        std::thread::yield_now();
    }
}

#[test]
fn its_policies_are_known_before_any_gateway_speaks_and_read_again_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("policy.yml");
    let kong = folder.path().join("kong.yml");
    std::fs::write(&bare, POLICY).unwrap();
    let filter = "_format_version: \"3.0\"\nfilter_chains:\n- filters:\n  - name: tollgate\n    config:\n";
    let nested = POLICY.replace("shop", "api").replace('\n', "\n      ");
    std::fs::write(&kong, format!("{filter}      {nested}")).unwrap();
    let [bare_flag, kong_flag] = [&bare, &kong].map(|file| format!("--policy={}", file.display()));
    let mut store = Running::start(&[&bare_flag, &kong_flag]);
    let left = |store: &Running, namespace: &str| {
        store.post("/v1/check", &format!(r#"{{"namespace":"{namespace}","consumer":"acme","cost":1}}"#))
    };
    for namespace in ["shop", "api"] {
        assert!(left(&store, namespace).contains(r#""monthly_remaining":9"#), "{namespace}");
    }
    assert!(left(&store, "other").starts_with("HTTP/1.1 422"));

    let hang_up = |store: &Running| {
        let pid = store.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    std::fs::write(&bare, POLICY.replace("monthly: 10", "monthly: 1000000")).unwrap();
    hang_up(&store);
    until(|| left(&store, "shop"), |answer| answer.contains(r#""monthly_remaining":999"#));
    // A wrong file changes nothing, and is reported.
    std::fs::write(&bare, POLICY.replace("100/minute", "100/minut")).unwrap();
    hang_up(&store);
    let mut line = String::new();
    while !line.contains("100/minut") {
        line.clear();
        assert_ne!(store.log.read_line(&mut line).unwrap(), 0);
    }
    assert!(line.contains(":3: tiers.free.rate: "), "{line}");
    assert!(left(&store, "shop").contains(r#""monthly_remaining":99"#));
}

#[test]
fn a_policy_that_cannot_work_keeps_it_from_starting_with_the_words_of_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yml");
    std::fs::write(&file, POLICY.replace("100/minute", "100/minut")).unwrap();
    let (code, text) = refused(store(&["--backend=memory"]).env("TOLLGATE_POLICY", &file));
    assert_eq!(code, Some(1), "{text}");
    let said = format!("{}:3: tiers.free.rate: \"100/minut\" is not a rate; write N/second", file.display());
    assert!(text.contains(&said), "{text}");
    let (code, text) = refused(&mut store(&["--backend=memory", "--policy=/nowhere/at/all"]));
    assert!(code == Some(1) && text.contains("/nowhere/at/all: cannot be read"), "{text}");
}
