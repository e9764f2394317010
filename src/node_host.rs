//! What the [store client](tollgate_node::engine::store_client) needs of a gateway, by Proxy-Wasm calls.

use std::time::Duration;

use log::{error, warn};
use tollgate_core::client::Network;
use tollgate_core::policy::{Store, Token};
use tollgate_core::units::{Millis, UnixNanos};
use tollgate_core::wire::{self, Batch};
use tollgate_node::clock::NodeNanos;
use tollgate_node::engine::Ruling;
use tollgate_node::engine::borrowing::Question;
use tollgate_node::engine::store_client::{self, Caller, Event};
use tollgate_node::identity;

use super::abi::{self, Map};
use super::host::{HostGateway, HostKind};
use super::root::Ready;

/// The store's upstream and the gateway's authorization.
pub struct StoreRoute {
    upstream: String,
    authorization: Option<String>,
}

impl StoreRoute {
    /// The route to `store`, with its token read.
    pub fn to(store: &Store) -> Result<Self, Vec<String>> {
        let token = match &store.token {
            None => None,
            Some(Token::Literal(token)) => Some(token.clone()),
            Some(Token::Env(name)) => Some(from_environment(name)?),
        };
        let authorization = token.map(|token| format!("Bearer {token}"));
        Ok(Self { upstream: store.upstream.clone(), authorization })
    }
}

/// The token in the environment variable `name`. Secrets often end in a newline, which is not part of the token.
fn from_environment(name: &str) -> Result<String, Vec<String>> {
    let mut token = std::env::var(name).unwrap_or_default();
    token.truncate(token.trim_ascii_end().len());
    if Token::fits(&token) {
        return Ok(token);
    }
    Err(vec![format!(
        "store.token.env: the gateway's environment has no token in {name}; set it to 16 to 512 printable ASCII characters \
         without spaces, and let the gateway hand it on (Envoy: vm_config.environment_variables; Kong: env {name} in nginx)"
    )])
}

impl store_client::NodeHost for Ready {
    type Shared = HostKind;

    fn shared(&self) -> &HostKind {
        &self.host
    }

    fn monotonic(&self) -> NodeNanos {
        abi::monotonic()
    }

    fn wall(&self) -> UnixNanos {
        UnixNanos(abi::now())
    }

    fn node(&self) -> Vec<u8> {
        self.host.node()
    }

    fn peer(&self) -> Network {
        identity::peer(&HostGateway(self.host))
    }

    fn resumes_others(&self) -> bool {
        self.host == HostKind::Envoy
    }

    fn speak_for(&self, context: u32) {
        abi::speak_for(context);
    }

    fn dispatch(&self, caller: Caller, batch: &Batch, timeout: Millis) -> bool {
        let Some(route) = &self.route else { return false };
        let (header, body) = match caller {
            Caller::Request => ((wire::header::NAME, batch.to_header()), Vec::new()),
            Caller::Root => (("content-type", wire::CONTENT_TYPE.to_owned()), batch.to_bytes()),
        };
        let mut headers = vec![
            (":method", "POST"),
            (":path", "/v1/leases"),
            (":authority", route.upstream.as_str()),
            (header.0, header.1.as_str()),
        ];
        if let Some(authorization) = &route.authorization {
            headers.push(("authorization", authorization));
        }
        abi::call(&route.upstream, headers, &body, Duration::from_millis(timeout.0)).is_some()
    }

    fn reply(&self) -> Option<Vec<u8>> {
        let is_ok = abi::header(Map::CallResponse, b":status").is_some_and(|status| status == b"200");
        is_ok.then(|| abi::call_response_body(wire::MAX_REPLY))
    }

    fn may_call_again(&self) -> bool {
        // Kong's host lets a request's next call share buffers with a call that got no body: if the next one fails its
        // response is lost, and a long answer to it crashes the worker.
        self.host == HostKind::Envoy || !abi::call_response_body(1).is_empty()
    }

    fn conclude(&self, question: &Question, ruling: &Ruling) {
        // Kong resumes a request by itself when its last call has ended.
        let passes = super::http::conclude(self, Some(ruling), question.name.as_deref(), question.under());
        if passes && self.host == HostKind::Envoy {
            abi::resume();
        }
    }

    fn report(&self, event: Event) {
        let upstream = self.route.as_ref().map_or("", |route| &route.upstream);
        match event {
            Event::Hit => self.metrics.lease(true),
            Event::Miss => self.metrics.lease(false),
            Event::Called { has_worked, is_up } => self.metrics.store_call(has_worked, is_up),
            Event::Away => {
                warn!(
                    "tollgate: the store at {upstream} is away; requests are decided by on_failure until it is back"
                )
            }
            Event::Back => warn!("tollgate: the store at {upstream} is back"),
            Event::NoRoute => error!("tollgate: the gateway knows no route to the store at {upstream}"),
        }
    }
}
