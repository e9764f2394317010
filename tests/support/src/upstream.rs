//! The sample upstream, which answers every request with what it received, so that a test sees what reached it.
//!
//! ```json
//! {"method": "GET", "path": "/identify?a=b", "headers": {"x-quota-tier": ["free"]}}
//! ```
//! The path is the request line's, byte for byte, even where a server would cut it. A request's own `x-sample-response-header:
//! Name: value` (several are allowed) makes it send that header, to play an upstream with limits of its own. A request's
//! `x-sample-redirect: http://host/path` redirects it there, unless it asks for that path, and its `x-sample-status: 503` is the
//! response's status. `kong/upstream.py` does the same where Kong runs in containers; a test holds the two to one behavior.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The request header by which a client chooses response headers.
const RESPONSE_HEADER: &str = "x-sample-response-header";

/// The request header by which a client chooses where it is redirected.
const REDIRECT: &str = "x-sample-redirect";

/// The request header by which a client chooses the response's status.
const STATUS: &str = "x-sample-status";

/// The most headers that a request may have: tests send absurd numbers of them.
const MAX_HEADERS: usize = 2048;

/// A running upstream, stopped when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    // Dropping it drops all tasks of the server.
    _runtime: tokio::runtime::Runtime,
}

impl Upstream {
    /// Listens on an address (port 0 is any free one) and serves in a thread of its own.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn start(address: SocketAddr) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sample-upstream")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicU64::new(0));
        runtime.spawn(serve(listener, Arc::clone(&requests)));
        Ok(Self { address, requests, _runtime: runtime })
    }

    /// Starts on any free port of 127.0.0.1.
    ///
    /// # Errors
    /// If there is none.
    pub fn on_loopback() -> std::io::Result<Self> {
        Self::start(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests received so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, requests: Arc<AtomicU64>) {
    loop {
        // The process may be out of file descriptors; the next connection may work.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let requests = Arc::clone(&requests);
        let stream = Tapped { stream, received: Arc::default() };
        let received = Arc::clone(&stream.received);
        let answer = service_fn(move |request: Request<Incoming>| {
            requests.fetch_add(1, Ordering::Relaxed);
            let received = std::mem::take(&mut *received.lock().unwrap_or_else(PoisonError::into_inner));
            let target = target(&received, request.method().as_str());
            std::future::ready(Ok::<_, Infallible>(echo(&request, &target)))
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), answer);
        // It is normal that a client goes away.
        tokio::spawn(async { drop(connection.await) });
    }
}

/// The target in the last request line with `method` of what was received. The server's library gives it only without its
/// fragment.
fn target(received: &[u8], method: &str) -> String {
    let of_line = |line: &str| {
        Some(line.strip_suffix(" HTTP/1.1")?.strip_prefix(method)?.strip_prefix(' ')?.to_owned())
    };
    latin_1(received).rsplit("\r\n").find_map(of_line).unwrap_or_default()
}

/// A connection, and the bytes received over it since its last request.
struct Tapped {
    stream: TcpStream,
    received: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, into);
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.extend_from_slice(into.filled().get(before..).unwrap_or_default());
        drop(received);
        result
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn echo(request: &Request<Incoming>, target: &str) -> Response<Full<Bytes>> {
    let mut headers = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in request.headers() {
        headers.entry(name.as_str()).or_default().push(latin_1(value.as_bytes()));
    }
    let body = serde_json::json!({
        "method": request.method().as_str(),
        "path": target,
        "headers": headers,
    });
    let mut response = Response::new(Full::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(to) = request.headers().get(REDIRECT).filter(|to| !to.as_bytes().ends_with(target.as_bytes()))
    {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(LOCATION, to.clone());
    }
    let status =
        request.headers().get(STATUS).and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    for wanted in request.headers().get_all(RESPONSE_HEADER) {
        let _ = chosen(wanted).map(|(name, value)| response.headers_mut().append(name, value));
    }
    response
}

/// A header's value is bytes; in JSON, each stands as the character with its number.
fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn chosen(wanted: &HeaderValue) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = wanted.to_str().ok()?.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Client, Request};

    #[test]
    fn it_answers_with_what_it_received() {
        let upstream = Upstream::on_loopback().unwrap();
        let request = Request::get("/a//b?c=d").header("X-Odd", b"\xff").header("x-odd", "2");
        let response = Client::to(upstream.address()).send(&request).unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.json()["path"], "/a//b?c=d");
        assert_eq!(response.json()["headers"]["x-odd"], serde_json::json!(["\u{ff}", "2"]));
        assert_eq!(upstream.requests(), 1);
    }

    #[test]
    fn it_tells_the_target_as_it_came_over_one_connection() {
        let upstream = Upstream::on_loopback().unwrap();
        let mut client = Client::to(upstream.address());
        for target in ["/a#/../b", "/a;b/..;/c?d#e", "/plain"] {
            let request = Request::get(target).json(&serde_json::json!({ "a": "GET /x HTTP/1.1" }));
            assert_eq!(client.send(&request).unwrap().json()["path"], target);
        }
    }

    #[test]
    fn it_sends_the_headers_that_a_request_asks_for() {
        let upstream = Upstream::on_loopback().unwrap();
        let request = Request::get("/")
            .header(RESPONSE_HEADER, "X-RateLimit-Limit: 7")
            .header(RESPONSE_HEADER, "Cache-Control: public, max-age=60");
        let response = Client::to(upstream.address()).send(&request).unwrap();
        assert_eq!(response.header("x-ratelimit-limit"), Some("7"));
        assert_eq!(response.header("cache-control"), Some("public, max-age=60"));
        let refused = Request::get("/").header(STATUS, "503");
        assert_eq!(Client::to(upstream.address()).send(&refused).unwrap().status, 503);
    }
}
