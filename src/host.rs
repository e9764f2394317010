//! Every difference between the hosts.
//!
//! The filter recognizes a host by what it does, not by its name: whether a write without a version replaces a value. So a
//! host of a third name with one of the two behaviors works.

use tollgate_core::headers::Document;
use tollgate_node::request::Gateway;
use tollgate_node::table::{Expected, Read, SharedData, SlotKey, Write};

use super::abi::{self, Kind, Map, Status};

/// The two families of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// Kong's `ngx_wasm_module`: a write with version 0 creates a value, and fails if there is one.
    Kong,
    /// Envoy and Istio: a write with version 0 replaces a value; one with a wrong version only creates.
    Envoy,
}

/// The key at which [`HostKind::find`] tests what a write does. No slot's name has a tilde.
const PROBE: SlotKey = SlotKey::named(*b"~~~~");

/// A version that no value has: Envoy counts up from 1, for all keys together.
const NO_VERSION: u32 = u32::MAX;

impl HostKind {
    /// Whether this may be Kong, found without touching its memory: Kong's monotonic clock has steps of a millisecond, and
    /// Envoy's of a nanosecond.
    pub fn may_be_kong() -> bool {
        const STEP: u64 = 1_000_000;
        abi::monotonic().0.is_multiple_of(STEP)
    }

    /// Finds out by writing to shared data twice. If Kong has no zone for it this traps, and the routes are served without
    /// the filter; so the reason has to be in the log before.
    pub fn find() -> Self {
        for _ in 0..2 {
            if abi::set_shared_data(PROBE.as_bytes(), b"tollgate", 0) == Status::CAS_MISMATCH {
                return Self::Kong;
            }
        }
        Self::Envoy
    }

    /// The name of a metric. Kong puts `pw_tollgate_` in front, Envoy nothing.
    pub fn metric_name(self, name: &str) -> String {
        match self {
            Self::Kong => name.to_owned(),
            Self::Envoy => format!("tollgate_{name}"),
        }
    }

    /// Defines a metric under this host's name for it.
    pub fn define_metric(self, kind: Kind, name: &str) -> Option<u32> {
        abi::define_metric(kind, &self.metric_name(name))
    }

    /// The headers of the current response, of which the host counts `count`; `None` if it is better not to read them.
    ///
    /// In Kong, reading them once saves a call for each header that is set, see [`HostKind::set_response_header`]. Its host
    /// writes up to 100 pairs, up to seven of its own first, but counts its own last when it sizes the memory: with more
    /// pairs it writes past the end.
    pub fn response_headers(self, count: usize) -> Option<Vec<u8>> {
        const MOST_IN_KONG: usize = 93;
        let is_looked_at = self == Self::Kong && count <= MOST_IN_KONG;
        // There is always a status, so an empty list is a failure.
        is_looked_at.then(|| abi::headers(Map::Response)).filter(|bytes| !bytes.is_empty())
    }

    /// Sets or removes a response header. If it `may_be_there`, the upstream may have sent it.
    pub fn set_response_header(self, name: &str, value: Option<&[u8]>, may_be_there: bool) {
        let name = name.as_bytes();
        // Kong's host replaces one copy; if the upstream has sent two, it removes both and the new value.
        if may_be_there && (self == Self::Kong || value.is_none()) {
            abi::remove_header(Map::Response, name);
        }
        match value {
            Some(value) if self == Self::Kong => abi::add_header(Map::Response, name, value),
            Some(value) => abi::set_header(Map::Response, name, value),
            None => {}
        }
    }

    /// The headers of the current request, of which the host counts `count`, and whether these are all.
    pub fn request_headers(self, count: usize) -> (Vec<u8>, bool) {
        // Kong's host writes up to 100 pairs, its own four first, but counts its own last when it sizes the memory: with
        // more pairs it writes past the end.
        const MOST_IN_KONG: usize = 96;
        if self == Self::Envoy || count <= MOST_IN_KONG {
            return (abi::headers(Map::Request), true);
        }
        let pseudo =
            |name: &'static str| (name, abi::header(Map::Request, name.as_bytes()).unwrap_or_default());
        (abi::pairs(&[pseudo(":method"), pseudo(":path")]), false)
    }

    /// Answers a gRPC request in place of the upstream. A response without a message carries its trailers as headers.
    pub fn respond_to_grpc(self, document: &Document, mut headers: Vec<(&str, Vec<u8>)>) {
        let code = document.grpc_status();
        headers.push(("Content-Type", b"application/grpc".to_vec()));
        headers.push(("grpc-status", code.to_string().into_bytes()));
        headers.push(("grpc-message", document.detail.clone().into_bytes()));
        // Envoy replaces this status by its own unless it is passed here; Kong's host must not get one.
        abi::respond(200, &headers, b"", (self == Self::Envoy).then_some(code));
    }

    /// Keeps a header that the client has sent from the upstream; false if that is not possible.
    pub fn remove_request_header(self, name: &[u8]) -> bool {
        match self {
            Self::Envoy => {
                abi::remove_header(Map::Request, name);
                true
            }
            // Kong's host only marks a header as removed, and nginx sends it to the upstream all the same; a header that it
            // replaces is gone. But of several copies it replaces the first and marks them all, and the next write adds
            // another behind them.
            Self::Kong => {
                abi::set_header(Map::Request, name, b"-");
                abi::set_header(Map::Request, name, b" ");
                abi::header(Map::Request, name).is_some_and(|first| first == b" ")
            }
        }
    }

    /// Sets a header for the upstream, after the client's was taken away; in Kong that left a blank value.
    pub fn tell_upstream(self, name: &str, value: &[u8]) {
        match self {
            Self::Envoy => abi::add_header(Map::Request, name.as_bytes(), value),
            Self::Kong => abi::set_header(Map::Request, name.as_bytes(), value),
        }
    }

    /// The gateway's name for this node, if it has one; it is read from the current request.
    pub fn node(self) -> Vec<u8> {
        match self {
            Self::Kong => abi::property(b"kong\0node\0id").unwrap_or_default(),
            // Envoy's random numbers are cryptographic, so the table's key is unique without it.
            Self::Envoy => Vec::new(),
        }
    }

    /// The property that says that a filter with this name has seen the request. Kong lets a filter set only Kong's own
    /// properties, and Envoy only others than its own.
    const fn mark(self) -> &'static [u8] {
        match self {
            Self::Kong => b"kong\0ctx\0shared\0tollgate_seen",
            Self::Envoy => b"tollgate_seen",
        }
    }

    /// Marks the request as seen; returns whether it was marked already.
    pub fn was_seen_before(self) -> bool {
        if abi::property(self.mark()).is_some_and(|value| !value.is_empty()) {
            return true;
        }
        abi::set_property(self.mark(), b"1");
        false
    }
}

impl SharedData for HostKind {
    fn get(&self, key: &SlotKey) -> Read {
        match abi::shared_data(key.as_bytes()) {
            Ok((value, version)) => Read::Value(value, version),
            Err(Status::NOT_FOUND) => Read::Missing,
            Err(_) => Read::Failed,
        }
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        let version = match (self, expected) {
            (_, Expected::Version(version)) => version,
            (Self::Kong, Expected::Missing) => 0,
            (Self::Envoy, Expected::Missing) => NO_VERSION,
        };
        match abi::set_shared_data(key.as_bytes(), value, version) {
            Status::OK => Write::Done,
            Status::CAS_MISMATCH => Write::Lost,
            _ => Write::Failed,
        }
    }

    fn keeps_all(&self) -> bool {
        *self == Self::Envoy
    }
}

/// The current request, as the host knows it.
pub struct HostGateway(pub HostKind);

impl Gateway for HostGateway {
    fn target(&self) -> Option<Vec<u8>> {
        match self.0 {
            // Kong's host has nginx's decoded path in `:path`, without what follows a `#`; Kong itself routes by this
            // property.
            HostKind::Kong => abi::property(b"request\0path"),
            // Envoy's `:path` is what it routes by.
            HostKind::Envoy => None,
        }
    }

    fn property(&self, path: &str) -> Option<Vec<u8>> {
        // One policy serves both hosts, and a call that finds nothing costs as much as any.
        let is_kongs = path.starts_with("kong\0");
        if is_kongs && self.0 == HostKind::Envoy { None } else { abi::property(path.as_bytes()) }
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        abi::header(Map::Request, name.as_bytes())
    }
}
