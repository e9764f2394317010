//! `tollgate store` with a certificate; the client is curl, which has its own TLS.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where it fails"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use tollgate_testkit::redis::certificate::Certificates;

/// A timeout, so that a failing test does not hang.
const LONG: Duration = Duration::from_secs(20);

struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    port: String,
}

impl Running {
    fn start(files: &Path) -> Self {
        let mut command = store(files);
        command.arg("--header-timeout=1000");
        Self::start_as(command)
    }

    fn start_as(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let line = line_with(&mut log, "listening");
        assert_eq!(line["tls"], true);
        let port = line["address"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        Self { child, log, port }
    }

    /// The status and curl's exit code for /healthz, if curl trusts the authority in `files`.
    fn ask(&self, files: &Path, flags: &[&str]) -> (String, Option<i32>) {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--max-time",
                "10",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code} %{http_version}",
            ])
            .arg("--cacert")
            .arg(files.join("ca.pem"))
            .args(flags)
            .arg(format!("https://localhost:{}/healthz", self.port))
            .output()
            .unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn store(files: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command
        .args(["store", "--listen=127.0.0.1:0", "--backend=memory", "--log-format=json"])
        .arg("--tls-cert")
        .arg(files.join("server.pem"))
        .arg("--tls-key")
        .arg(files.join("server.key"))
        .env_clear()
        .stdin(Stdio::null());
    command
}

/// Whether curl failed by a handshake or by a certificate that no trusted authority has signed.
fn refuses((_, code): &(String, Option<i32>)) -> bool {
    matches!(code, Some(35 | 60))
}

fn line_with(log: &mut impl BufRead, text: &str) -> serde_json::Value {
    loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it said: {text}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["message"].as_str().is_some_and(|message| message.contains(text)) {
            return line;
        }
    }
}

#[test]
fn who_believes_the_authority_is_answered_by_http_1_1_and_others_go() {
    let (ours, others) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let store = Running::start(ours.directory());
    for flags in [&[][..], &["--http2"], &["--tlsv1.3"], &["--tls-max", "1.2"]] {
        assert_eq!(store.ask(ours.directory(), flags), ("200 1.1".to_owned(), Some(0)), "{flags:?}");
    }
    assert!(refuses(&store.ask(others.directory(), &[])));
    assert!(refuses(&store.ask(ours.directory(), &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"])));
}

#[test]
fn who_does_not_begin_with_tls_holds_nobody_up_and_is_sent_away() {
    let ours = Certificates::new().unwrap();
    let store = Running::start(ours.directory());
    let address = format!("127.0.0.1:{}", store.port);
    let mut silent = TcpStream::connect(&address).unwrap();
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert_eq!(store.ask(ours.directory(), &[]).1, Some(0));
    for socket in [&mut plain, &mut silent] {
        socket.set_read_timeout(Some(LONG)).unwrap();
        let mut said = Vec::new();
        // There may be a TLS alert or nothing, and then the connection ends, in whichever way.
        let _ = socket.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP"), "{said:?}");
        assert!(said.len() < 16, "{said:?}");
    }
}

#[test]
fn who_is_at_its_greeting_does_not_hold_up_a_store_that_is_to_stop() {
    let ours = Certificates::new().unwrap();
    let mut command = store(ours.directory());
    command.arg("--header-timeout=60000").arg("--drain-timeout=60000");
    let mut store = Running::start_as(command);
    let mut silent = TcpStream::connect(format!("127.0.0.1:{}", store.port)).unwrap();
    assert_eq!(store.ask(ours.directory(), &[]).1, Some(0));
    let began = Instant::now();
    Command::new("kill").arg(store.child.id().to_string()).status().unwrap();
    line_with(&mut store.log, "stopped");
    assert!(began.elapsed() < LONG, "it waited for who had asked for nothing");
    silent.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(silent.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_one_that_cannot_be_read_is_not() {
    let (first, second) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let files = tempfile::tempdir().unwrap();
    let copy = |from: &Path, names: &[&str]| {
        for name in names {
            // The new file replaces the old one, as Kubernetes and certbot do it.
            fs::copy(from.join(name), files.path().join("new")).unwrap();
            fs::rename(files.path().join("new"), files.path().join(name)).unwrap();
        }
    };
    copy(first.directory(), &["server.pem", "server.key"]);
    let mut store = Running::start(files.path());
    assert_eq!(store.ask(first.directory(), &[]).1, Some(0));

    // A certificate without its key leaves the old one in use.
    copy(second.directory(), &["server.pem"]);
    let line = line_with(&mut store.log, "the old certificate stays");
    assert!(line["message"].as_str().unwrap().contains("do not belong together"), "{line}");
    assert_eq!(store.ask(first.directory(), &[]).1, Some(0));

    copy(second.directory(), &["server.key"]);
    line_with(&mut store.log, "the certificate was reread");
    assert_eq!(store.ask(second.directory(), &[]).1, Some(0));
    assert!(refuses(&store.ask(first.directory(), &[])));

    fs::write(files.path().join("server.pem"), "nothing of the kind").unwrap();
    line_with(&mut store.log, "it contains none; it takes a certificate in PEM");
    assert_eq!(store.ask(second.directory(), &[]).1, Some(0));
}

#[test]
fn what_cannot_be_shown_is_refused_before_anything_is_opened() {
    let (ours, others) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let files = tempfile::tempdir().unwrap();
    let refused = |certificate: &[u8], key: &[u8]| {
        fs::write(files.path().join("server.pem"), certificate).unwrap();
        fs::write(files.path().join("server.key"), key).unwrap();
        let began = Instant::now();
        let output = store(files.path()).output().unwrap();
        assert!(began.elapsed() < LONG && !output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let read = |from: &Certificates, name: &str| fs::read(from.directory().join(name)).unwrap();
    let (certificate, key) = (read(&ours, "server.pem"), read(&ours, "server.key"));
    assert!(refused(b"", &key).contains("it contains none"));
    assert!(refused(&certificate, b"").contains("it takes an unencrypted private key in PEM"));
    assert!(refused(&certificate, &read(&others, "server.key")).contains("do not belong together"));
    assert!(
        refused(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key)
            .contains("server.pem")
    );

    let mut half = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let half = half.args(["store", "--tls-cert", "a.pem"]).env_clear().output().unwrap();
    assert!(String::from_utf8(half.stderr).unwrap().contains("--tls-key"));
}
