//! One request through a node: what a client sends, what its upstream sees, what comes back.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::headers::Headers;

/// What a client sends, and what its upstream will answer.
#[derive(Clone, Debug)]
pub struct Request {
    /// The worker that serves it.
    pub worker: usize,
    /// Its method.
    pub method: String,
    /// Path and query.
    pub path: Vec<u8>,
    /// Its headers, after the gateway's own plugins.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
    /// The client's address.
    pub peer: SocketAddr,
    /// Properties that extend or replace the host's own; segments are joined with dots.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// What answers it.
    pub upstream: Upstream,
}

/// What answers a request that gets through.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// The upstream sends this response.
    Answers(Response),
    /// No upstream answers: the gateway makes its own 502 (Kong) or 503 (Envoy).
    Dead,
}

/// An HTTP response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
}

/// A request as its upstream saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Method.
    pub method: Vec<u8>,
    /// Path and query.
    pub path: Vec<u8>,
    /// Headers without the pseudo headers.
    pub headers: Headers,
}

/// A request that is done, or that waits for a call.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What the upstream saw; `None` if the filter answered.
    pub upstream: Option<Seen>,
    /// What the client got; empty while paused.
    pub client: Response,
    /// Its number if it waits; [`Node::answer`](crate::Node::answer) lets it go on.
    pub paused: Option<u64>,
    /// Whether the filter ran at all: Kong serves a route without a filter whose configuration it refused.
    pub filtered: bool,
    /// The callbacks that ran for the request, in order.
    pub callbacks: Vec<&'static str>,
    /// Host calls made for the request, by name.
    pub host_calls: BTreeMap<&'static str, u32>,
    /// WebAssembly instructions run for the request: a measure of work that is the same on every machine.
    pub instructions: u64,
}

impl Request {
    /// A request with `method` for `path` from 203.0.113.7.
    #[must_use]
    pub fn new(method: &str, path: impl AsRef<[u8]>) -> Self {
        Self {
            worker: 0,
            method: method.to_owned(),
            path: path.as_ref().to_vec(),
            headers: Headers(vec![(b"Host".to_vec(), b"api.example".to_vec())]),
            body: Vec::new(),
            peer: SocketAddr::from(([203, 0, 113, 7], 41_180)),
            properties: BTreeMap::new(),
            upstream: Upstream::Answers(Response {
                status: 200,
                headers: Headers(vec![(b"Content-Type".to_vec(), b"text/plain".to_vec())]),
                body: b"hello".to_vec(),
            }),
        }
    }

    /// A GET request.
    #[must_use]
    pub fn get(path: impl AsRef<[u8]>) -> Self {
        Self::new("GET", path)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name.as_ref(), value.as_ref());
        self
    }

    /// Sets a property.
    #[must_use]
    pub fn property(mut self, path: &str, value: impl AsRef<[u8]>) -> Self {
        self.properties.insert(path.to_owned(), value.as_ref().to_vec());
        self
    }

    /// Sends it from this address.
    #[must_use]
    pub fn from_ip(mut self, ip: &str) -> Self {
        self.peer = SocketAddr::new(ip.parse::<IpAddr>().expect("an IP address"), 41_180);
        self
    }

    /// Lets this worker serve it.
    #[must_use]
    pub fn on_worker(mut self, worker: usize) -> Self {
        self.worker = worker;
        self
    }

    /// Adds this header to the upstream's response.
    #[must_use]
    pub fn upstream_header(mut self, name: &str, value: &str) -> Self {
        if let Upstream::Answers(response) = &mut self.upstream {
            response.headers.add(name.as_bytes(), value.as_bytes());
        }
        self
    }

    /// Lets the upstream answer with this status.
    #[must_use]
    pub const fn upstream_status(mut self, status: u16) -> Self {
        if let Upstream::Answers(response) = &mut self.upstream {
            response.status = status;
        }
        self
    }

    /// Removes the upstream.
    #[must_use]
    pub fn to_dead_upstream(mut self) -> Self {
        self.upstream = Upstream::Dead;
        self
    }
}

impl Response {
    /// The header's only value as text.
    ///
    /// # Panics
    /// If there are several: a filter must not write one header twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }
}

impl Seen {
    /// The header's only value as text.
    ///
    /// # Panics
    /// If there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name)
    }
}

impl Exchange {
    /// How often the filter made the host call `name` for this request.
    #[must_use]
    pub fn host_calls(&self, name: &str) -> u32 {
        self.host_calls.get(name).copied().unwrap_or(0)
    }

    /// Whether the upstream saw the request.
    #[must_use]
    pub fn reached_upstream(&self) -> bool {
        self.upstream.is_some()
    }
}

fn only<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let mut values = headers.all(name.as_bytes());
    let first = values.next();
    assert!(values.next().is_none(), "{name} comes more than once: {headers:?}");
    first.map(|value| std::str::from_utf8(value).expect("a text header"))
}
