//! What slow, broken and hostile clients see, over real connections.

use super::*;
use crate::app::access::Tokens;
use crate::app::state::Bounds;
use crate::backend::clock;
use crate::backend::memory::Memory;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Keeps a failing test from hanging.
const LONG: Duration = Duration::from_secs(20);

const BOUNDS: Connections =
    Connections { most: 64, header_time: Duration::from_secs(5), drain_time: Duration::from_secs(10) };

struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn served(app: Router, bounds: Connections) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
        "test"
    };
    Served { address, stop, ended: tokio::spawn(serve(listener, None, app, bounds, stopped)) }
}

async fn ask(address: SocketAddr, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    socket
}

/// All that comes until the other end closes, and whether it closed properly.
async fn rest(socket: &mut TcpStream) -> (String, bool) {
    let mut bytes = Vec::new();
    let ended = timeout(LONG, socket.read_to_end(&mut bytes)).await.expect("the connection stays open");
    (String::from_utf8_lossy(&bytes).into_owned(), ended.is_ok())
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_request_that_runs_is_answered_before_the_store_stops_and_no_other_is_taken() {
    let (started, mut has_started) = mpsc::channel(1);
    let (go_on, gone_on) = oneshot::channel::<()>();
    let gone_on = Arc::new(tokio::sync::Mutex::new(Some(gone_on)));
    let app = Router::new().route(
        "/",
        get(move || async move {
            started.send(()).await.unwrap();
            let gone_on = gone_on.lock().await.take().unwrap();
            gone_on.await.unwrap();
            "done"
        }),
    );
    let served = served(app, BOUNDS).await;
    let mut running = ask(served.address, GET).await;
    let mut idle = ask(served.address, "").await;
    has_started.recv().await.unwrap();
    served.stop.send(()).unwrap();
    assert_eq!(rest(&mut idle).await.0, "", "a connection without a request is closed at once");
    let refused = async {
        while TcpStream::connect(served.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, refused).await.expect("connections are still taken");
    assert!(!served.ended.is_finished());
    go_on.send(()).unwrap();
    let (answer, _) = rest(&mut running).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    timeout(LONG, served.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_holds_nobody_up_for_longer_than_the_drain() {
    let (started, mut has_started) = mpsc::channel(1);
    let app = Router::new().route(
        "/",
        get(move || async move {
            started.send(()).await.unwrap();
            pending::<&str>().await
        }),
    );
    let served = served(app, Connections { drain_time: Duration::from_millis(20), ..BOUNDS }).await;
    let _running = ask(served.address, GET).await;
    has_started.recv().await.unwrap();
    served.stop.send(()).unwrap();
    timeout(LONG, served.ended).await.expect("the drain has no end").unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_end_its_head_is_hung_up_on() {
    let app = Router::new().route("/", get(|| async { "ok" }));
    let served = served(app, Connections { header_time: Duration::from_millis(20), ..BOUNDS }).await;
    let mut slow = ask(served.address, "GET / HTTP/1.1\r\nhost:").await;
    rest(&mut slow).await;
}

/// A silent connection holds one of few places.
#[tokio::test]
async fn a_client_that_says_nothing_or_not_enough_makes_room_for_the_next() {
    for said in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let app = Router::new().route("/", get(|| async { "ok" }));
        let bounds = Connections { most: 1, header_time: Duration::from_millis(200), ..BOUNDS };
        let served = served(app, bounds).await;
        let mut silent = ask(served.address, said).await;
        let mut next = ask(served.address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(rest(&mut next).await.0.starts_with("HTTP/1.1 200"), "after {said:?}");
        rest(&mut silent).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_hung_up_on() {
    let (ended, mut has_ended) = mpsc::channel::<()>(1);
    let body = move || {
        let ended = ended.clone();
        async move {
            // `ended` is dropped when the response is not read any more.
            let endless = stream::repeat_with(move || {
                let _held = &ended;
                Ok::<_, io::Error>("x".repeat(65_536))
            });
            axum::body::Body::from_stream(endless)
        }
    };
    let bounds = Connections { most: 1, header_time: Duration::from_millis(200), ..BOUNDS };
    let served = served(Router::new().route("/", get(body)), bounds).await;
    let _deaf = ask(served.address, GET).await;
    let mut next = ask(served.address, "GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(rest(&mut next).await.0.starts_with("HTTP/1.1 404"), "the deaf one has the only place");
    served.stop.send(()).unwrap();
    timeout(LONG, served.ended).await.unwrap().unwrap();
    assert!(timeout(LONG, has_ended.recv()).await.unwrap().is_none(), "its answer is still made");
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_looks_whole() {
    let (fail, failed) = oneshot::channel::<()>();
    let failed = Arc::new(tokio::sync::Mutex::new(Some(failed)));
    let body = move || async move {
        let failed = failed.lock().await.take().unwrap();
        let broken = stream::once(async {
            failed.await.unwrap();
            Err(io::Error::other("gone"))
        });
        axum::body::Body::from_stream(stream::iter([Ok("[1")]).chain(broken))
    };
    let served = served(Router::new().route("/", get(body)), BOUNDS).await;
    let mut socket = ask(served.address, GET).await;
    let mut begun = Vec::new();
    while !begun.ends_with(b"[1\r\n") {
        assert!(timeout(LONG, socket.read_buf(&mut begun)).await.unwrap().unwrap() > 0);
    }
    fail.send(()).unwrap();
    let (answer, _) = rest(&mut socket).await;
    assert!(String::from_utf8_lossy(&begun).contains("transfer-encoding: chunked"));
    assert!(!answer.contains("0\r\n"), "the last chunk would make it whole: {answer:?}");
}

/// The store's own app, with tokens.
fn api() -> Router {
    let token = |text: &str| Some(text.to_owned());
    let tokens = Tokens { gateway: token("gateway-token-0001"), admin: token("admin-token-000001") };
    let backend = Arc::new(Memory::new(clock::system()));
    app::app(Store::new(backend, tokens, Bounds::default()).unwrap())
}

fn get_of(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n")
}

async fn status(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let head = async {
        // The whole of a small response, so that no rest of it is taken for the next one.
        while !bytes.windows(4).any(|four| four == b"\r\n\r\n") || !bytes.ends_with(b"}") {
            assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "the connection was closed");
        }
    };
    timeout(LONG, head).await.expect("no answer comes");
    String::from_utf8_lossy(&bytes).split(' ').nth(1).unwrap().to_owned()
}

/// The idle connections' timeout is too long to wait for.
const PATIENT: Connections =
    Connections { most: 8, header_time: Duration::from_secs(3_600), drain_time: Duration::from_millis(10) };

#[tokio::test]
async fn connections_without_a_token_make_room_for_the_next_at_once() {
    let served = served(api(), PATIENT).await;
    // Some send nothing, some half a request, some a wrong token, and some call what needs none.
    let wrong = get_of("/v1/overrides/n", "wrong");
    let begun = [
        "",
        "GET /v1",
        &wrong,
        "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /v1/check HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
    ];
    let mut idle = Vec::new();
    for round in 0..40 {
        idle.push(ask(served.address, begun[round % begun.len()]).await);
    }
    let mut gateways = Vec::new();
    for _ in 0..PATIENT.most {
        let mut gateway = ask(served.address, &get_of("/v1/overrides/n", "gateway-token-0001")).await;
        assert_eq!(status(&mut gateway).await, "200");
        gateways.push(gateway);
    }
    // A connection that has shown a token keeps its place, however many come.
    for text in begun {
        idle.push(ask(served.address, text).await);
    }
    for gateway in &mut gateways {
        gateway.write_all(get_of("/v1/overrides/n", "gateway-token-0001").as_bytes()).await.unwrap();
        assert_eq!(status(gateway).await, "200");
    }
}

#[tokio::test]
async fn more_connections_with_a_token_than_there_is_room_for_wait_their_turn() {
    let served = served(api(), Connections { most: 1, ..PATIENT }).await;
    let mut first = ask(served.address, &get_of("/v1/overrides/n", "gateway-token-0001")).await;
    assert_eq!(status(&mut first).await, "200");
    let mut second = ask(served.address, &get_of("/v1/overrides/n", "admin-token-000001")).await;
    let mut byte = [0; 1];
    let waits = timeout(Duration::from_millis(50), second.peek(&mut byte)).await;
    assert!(waits.is_err(), "it is answered while the first is open");
    drop(first);
    assert_eq!(status(&mut second).await, "200");
}

/// Envoy keeps connections, and Kong opens one per call.
#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let app = Router::new().route("/", get(|| async { "ok" }));
    let served = served(app, BOUNDS).await;
    let mut socket = ask(served.address, GET).await;
    let mut bytes = [0; 64];
    assert!(timeout(LONG, socket.read(&mut bytes)).await.unwrap().unwrap() > 0);
    socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut socket).await.0.contains("HTTP/1.1 200 OK"));
}
