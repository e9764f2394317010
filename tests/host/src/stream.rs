//! A request inside the host, as all filters of its chain see it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tollgate_spellings::gateways;

use crate::abi::{Pair, Status};
use crate::exchange::{Request, Response, Seen, Upstream};
use crate::headers::Headers;
use crate::personality::Personality;

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Which host this is.
    pub personality: Personality,
    /// Method.
    pub method: Vec<u8>,
    /// The pseudo-header `:path`. On Kong it is nginx's decoded path, up to a `#`, and the query.
    pub path: Vec<u8>,
    /// The request target as it was sent, by which Kong routes.
    pub target: Vec<u8>,
    /// The `host:port` that the host shows.
    pub authority: Vec<u8>,
    /// Headers without the pseudo headers.
    pub request: Headers,
    /// Removed request headers, which the upstream gets all the same (Kong).
    pub removed: Headers,
    /// Response headers set before there was a response (Kong).
    pub early: Headers,
    /// The response, once there is one.
    pub response: Option<Response>,
    /// The response that a filter made.
    pub local: Option<Response>,
    /// The client's address.
    pub peer: SocketAddr,
    /// The request's body.
    pub body: Vec<u8>,
    /// Given with the request or set by filters; segments are joined with dots.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// What answers it.
    pub upstream: Upstream,
    /// Whether a call was sent for it and got no body in answer (Kong).
    pub has_lost_call: bool,
    /// Whether such a call had a body (Kong).
    pub has_spent_buffer: bool,
    /// Whether a filter resumed it.
    pub resumed: bool,
}

impl Stream {
    /// The stream of `request` at a gateway of this kind.
    #[must_use]
    pub fn new(request: &Request, personality: Personality) -> Self {
        let mut headers = request.headers.clone();
        let host = headers.get(b"host").unwrap_or_default().to_vec();
        if !personality.is_kong() {
            headers.remove(b"host");
            headers.0.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        }
        Self {
            personality,
            method: request.method.clone().into_bytes(),
            path: if personality.is_kong() { path_in_kong(&request.path) } else { request.path.clone() },
            target: request.path.clone(),
            // On Kong it is nginx's server name and port; the client's host is in the header `host`.
            authority: if personality.is_kong() { b"kong:8000".to_vec() } else { host },
            request: headers,
            removed: Headers::default(),
            early: Headers::default(),
            response: None,
            local: None,
            peer: request.peer,
            body: request.body.clone(),
            properties: request.properties.clone(),
            upstream: request.upstream.clone(),
            has_lost_call: false,
            has_spent_buffer: false,
            resumed: false,
        }
    }

    /// The pseudo headers of the request or the response, in the host's order.
    #[must_use]
    pub fn pseudo(&self, of_response: bool) -> Vec<Pair> {
        if of_response {
            let status = self.response.as_ref().map(|response| response.status.to_string().into_bytes());
            return status.into_iter().map(|status| (b":status".to_vec(), status)).collect();
        }
        let path = (b":path".to_vec(), self.path.clone());
        let method = (b":method".to_vec(), self.method.clone());
        let scheme = (b":scheme".to_vec(), b"http".to_vec());
        let authority = (b":authority".to_vec(), self.authority.clone());
        match self.personality {
            Personality::Kong => vec![path, method, scheme, authority],
            Personality::Envoy => vec![authority, path, method, scheme],
        }
    }

    /// Sets a pseudo header.
    pub fn set_pseudo(&mut self, of_response: bool, name: &[u8], value: &[u8]) -> Status {
        match (of_response, name) {
            (false, b":path") => self.path = value.to_vec(),
            (false, b":method") => self.method = value.to_vec(),
            (false, b":authority") if !self.personality.is_kong() => self.authority = value.to_vec(),
            (true, b":status") => {
                let status = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                if let (Some(status), Some(response)) = (status, &mut self.response) {
                    response.status = status;
                }
            }
            // Kong logs that the header is read-only, and returns Ok.
            _ => {}
        }
        Status::Ok
    }

    /// The request as its upstream sees it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let headers = Headers([self.removed.0.clone(), self.request.0.clone()].concat());
        let path =
            if self.personality.is_kong() { upstream_path_of_kong(&self.target) } else { self.path.clone() };
        Seen { method: self.method.clone(), path, headers }
    }

    /// Takes a response, from the upstream or from a filter.
    pub fn take_response(&mut self, mut response: Response) {
        if self.personality.is_kong() {
            let mut headers = std::mem::take(&mut self.early);
            headers.0.append(&mut response.headers.0);
            response.headers = headers;
        } else {
            response.headers.0.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        }
        self.response = Some(response);
    }
}

/// The path of a request target, and its query with the question mark.
fn parts(target: &[u8]) -> (&[u8], &[u8]) {
    target.split_at(target.iter().position(|byte| *byte == b'?').unwrap_or(target.len()))
}

/// `:path` in Kong's host, seen on Kong 3.9.1: `r->uri` and the arguments. A target that nginx would refuse stays as it is.
fn path_in_kong(target: &[u8]) -> Vec<u8> {
    let (path, query) = parts(target);
    let path = gateways::nginx(path).unwrap_or_else(|| path.to_vec());
    [path.as_slice(), if query.len() > 1 { query } else { b"" }].concat()
}

/// The path that Kong sends to an upstream, seen on Kong 3.9.1.
fn upstream_path_of_kong(target: &[u8]) -> Vec<u8> {
    let (path, query) = parts(target);
    let path = gateways::kong(path).unwrap_or_else(|| path.to_vec());
    [&path, query].concat()
}
