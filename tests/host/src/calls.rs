//! HTTP calls that a filter makes: recorded, checked by both hosts' rules, and answered when a test says so.

use std::rc::Rc;

use wasmtime::{Caller, Linker};

use crate::abi::{Answer, Guest, Pair, Status, host_call, pairs_from_bytes};
use crate::headers::Headers;
use crate::rules::{Rule, RuleBroken};
use crate::world::{Active, Step, World};

/// A call that waits for its reply.
#[derive(Clone, Debug)]
pub struct Call {
    /// The id that the filter got for it, unique in its node.
    pub id: u32,
    /// The thread that made it.
    pub thread: String,
    /// `host:port` in Kong, a cluster's name in Envoy.
    pub upstream: String,
    /// Headers, with the pseudo headers.
    pub headers: Headers,
    /// Body.
    pub body: Vec<u8>,
    /// Its timeout in milliseconds.
    pub timeout_ms: u32,
    /// The context that waits for it.
    pub context: u32,
    /// That context's root.
    pub root: u32,
}

/// What a call ends with.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer.
    Answer(crate::exchange::Response),
    /// There is no answer: `timeout`, `broken connection`, …
    Failure(&'static str),
}

/// The reason why a call fails if nobody listens.
pub const REFUSED: &str = "connection refused";

/// A node's calls.
#[derive(Debug, Default)]
pub struct Calls {
    /// Waiting calls, oldest first.
    pub pending: Vec<Call>,
    /// The clusters that the node has (Envoy).
    pub clusters: Vec<String>,
    last_id: u32,
}

impl Calls {
    /// Starts without calls, at a node with these clusters (Envoy).
    #[must_use]
    pub fn with_clusters(clusters: Vec<String>) -> Self {
        Self { clusters, ..Self::default() }
    }
}

impl Reply {
    /// The headers that the filter sees. Kong hands over its `:dispatch_status` without counting it.
    #[must_use]
    pub fn headers(&self) -> Vec<Pair> {
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        match self {
            Self::Answer(response) => {
                let mut pairs = vec![pair(":status", &response.status.to_string())];
                pairs.extend(response.headers.0.iter().cloned());
                pairs
            }
            Self::Failure(why) => vec![pair(":dispatch_status", why)],
        }
    }

    /// The number of headers that the host reports: nginx does not count the one that it adds itself.
    #[must_use]
    pub fn count(&self, kong: bool) -> u32 {
        match self {
            Self::Answer(response) => response.headers.0.len() as u32 + u32::from(!kong),
            Self::Failure(_) => 0,
        }
    }

    /// Whether the call was sent and got no body in answer. A refused connection sends nothing.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.body().is_empty() && !matches!(self, Self::Failure(REFUSED))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match self {
            Self::Answer(response) => &response.body,
            Self::Failure(_) => &[],
        }
    }

    /// The reply as this host shows it: Envoy turns a failed call into a 503 with a text.
    #[must_use]
    pub fn as_seen_by(self, kong: bool) -> Rc<Self> {
        let Self::Failure(why) = self else { return Rc::new(self) };
        if kong {
            return Rc::new(Self::Failure(why));
        }
        let body = format!("upstream connect error or disconnect/reset before headers: {why}").into_bytes();
        Rc::new(Self::Answer(crate::exchange::Response { status: 503, headers: Headers::default(), body }))
    }
}

/// Checks `call` by Kong's rules.
fn check_in_kong(active: &Active, calls: &Calls, call: &Call) -> Result<(), RuleBroken> {
    let allowed = [Step::RequestHeaders, Step::RequestBody, Step::Tick, Step::CallResponse];
    if !allowed.contains(&active.step) {
        return Err(RuleBroken::new(Rule::CallOutOfPlace, "dispatched a call"));
    }
    if active.step == Step::CallResponse && active.is_root() {
        return Err(RuleBroken::new(Rule::CallFromRootReply, "dispatched a call from a root's reply"));
    }
    let same_root = |other: &Call| other.thread == call.thread && other.context == active.context;
    if active.is_root() && calls.pending.iter().any(same_root) {
        return Err(RuleBroken::new(Rule::SecondCallInFlight, "dispatched a call while one was in flight"));
    }
    if active.is_early_tick {
        return Err(RuleBroken::new(Rule::CallInOldRootsTick, "dispatched a call before its first own tick"));
    }
    if active.stream.as_ref().is_some_and(|stream| stream.borrow().has_lost_call) {
        return Err(RuleBroken::new(Rule::CallAfterLostCall, "dispatched another call"));
    }
    for name in [":method", ":path"] {
        if call.headers.get(name.as_bytes()).is_none_or(<[u8]>::is_empty) {
            return Err(RuleBroken::new(
                Rule::CallWithoutTarget,
                format!("dispatched a call without {name}"),
            ));
        }
    }
    Ok(())
}

fn dispatch(guest: &mut Guest<'_>, call: Call, id_to: u32) -> Answer {
    let calls = Rc::clone(&guest.world().common.calls);
    if guest.is_kong() {
        check_in_kong(&guest.world().active, &calls.borrow(), &call)?;
    } else {
        let known = calls.borrow().clusters.contains(&call.upstream);
        if !known
            || [":method", ":path", ":authority"]
                .iter()
                .any(|name| call.headers.get(name.as_bytes()).is_none())
        {
            return Ok(Status::BadArgument);
        }
    }
    let mut calls = calls.borrow_mut();
    calls.last_id += 1;
    let id = calls.last_id;
    calls.pending.push(Call { id, ..call });
    guest.write_u32(id_to, id)?;
    Ok(Status::Ok)
}

/// Links the host call.
pub fn link(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_http_call",
        |caller: Caller<'_, World>,
         upstream: u32,
         upstream_len: u32,
         headers: u32,
         headers_len: u32,
         body: u32,
         body_len: u32,
         _trailers: u32,
         _trailers_len: u32,
         timeout_ms: u32,
         id_to: u32| {
            host_call(caller, "proxy_http_call", |guest| {
                let call = Call {
                    id: 0,
                    thread: guest.world().thread.clone(),
                    upstream: guest.text(upstream, upstream_len)?,
                    headers: Headers(pairs_from_bytes(&guest.bytes(headers, headers_len)?)?),
                    body: guest.bytes(body, body_len)?,
                    timeout_ms,
                    context: guest.world().active.context,
                    root: guest.world().active.root,
                };
                dispatch(guest, call, id_to)
            })
        },
    )?;
    Ok(())
}
