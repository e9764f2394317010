//! What a filter must never do, host by host: the place for a newly learned rule.
//!
//! Every rule was learned on a real gateway or from its source. A filter that breaks one fails its test with the rule's text.
//! `tests/rules` breaks each rule once, so that no rule can be without effect.

use std::fmt;

/// Writes the table below as an enum with its texts.
macro_rules! rules {
    ($($(#[doc = $learnt:literal])* $name:ident on $on:ident: $says:literal;)+) => {
        /// A rule of the hosts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[doc = $learnt])* $name,)+ }

        impl Rule {
            /// Every rule, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Whose rule it is: `Kong`, `Envoy` or `Both`.
            #[must_use]
            pub const fn on(self) -> &'static str {
                match self { $(Self::$name => stringify!($on),)+ }
            }

            /// The rule itself.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $(Self::$name => $says,)+ }
            }
        }
    };
}

rules! {
    // Loading.
    /// Kong 3.9.1 links only these; Envoy has more.
    ForeignImport on Kong: "a module may import only the WASI calls that Kong's build has, and proxy calls of ABI \
        0.2.1: with any other import it does not load";
    /// Both hosts look for these names.
    MissingExport on Both: "a module must export proxy_abi_version_0_2_1, proxy_on_memory_allocate, \
        proxy_on_context_create, proxy_on_vm_start, proxy_on_configure and a memory";
    // Everywhere.
    /// Kong: 500 in request headers; it fails open later. Every ticking root of the worker gets one more tick timer.
    /// Envoy: 503, and its failure policy removes the filter.
    Trap on Both: "a filter never traps and never panics";
    /// A worker is one thread: a callback that never returns stops every client.
    NeverReturns on Both: "a callback comes to an end, whatever the shared data does";
    /// Kong answers InvalidMemoryAccess; the SDK panics on it.
    BadMemory on Both: "pointers given to the host lie in the module's memory";
    /// Seen in the source: the call returns InternalFailure.
    NotGranted on Envoy: "a capability that the configuration does not grant is not there: a call fails, a callback is \
        not made";
    /// Kong has only the names of these host calls.
    NotInKong on Kong: "this host call is not implemented in Kong and traps";
    // Requests.
    /// Nobody resumes the request: its client waits until it gives up.
    PausedForNothing on Both: "pause only with a call under way or a local response made";
    /// Seen in the source: `local response already stashed`.
    SecondLocalResponse on Kong: "a request gets one local response: the second traps";
    /// Seen in the source: only its body and its status are used.
    LateLocalResponse on Kong: "make a local response before the response's headers: later its headers are lost";
    /// Verified on Kong 3.9.1: from 97 request headers on, 362 traps and 6 dead workers in 1,000 requests. Its newest commit is
    /// the same.
    HeaderMapOverflow on Kong: "the host asks for memory for a map of 100 own headers and what is left of its four pseudo \
        headers, and writes all four: it may write past it. Take the map of a request that has up to 96 headers alone; of a \
        response, before which it writes up to seven, one that has up to 93";
    /// Seen in the source.
    RequestHeadersTooLate on Kong: "request headers can be set until the response begins: later it traps";
    /// Seen on ngx_wasm_module d834bb04 in nginx 1.26.3.
    RequestHeaderRemoved on Kong: "a request header that is removed still goes to the upstream, and is no longer there to \
        be replaced: replace it";
    /// Seen in the source.
    ResponseHeadersTooLate on Kong: "response headers can be set until the response's body: later it traps";
    /// Seen in the source.
    BodyOutOfPlace on Kong: "a body can be read in the callback that announces it alone: elsewhere it traps";
    /// Envoy writes the value as it is; Kong escapes it.
    BrokenHeader on Envoy: "a header's value holds no CR, LF or NUL: Envoy writes it as it is, and it splits the \
        response";
    // Shared data.
    /// Verified: harmless in `on_configure`, where Kong serves the routes without the filter; a 500 in a request.
    NoZone on Kong: "shared data needs a zone of the key's prefix or the zone *: without it every access traps";
    /// Verified.
    FullZone on Kong: "a zone with eviction=none that is full traps on the next new key";
    /// Kong crashes while it holds the zone's lock.
    ValueGrows on Kong: "a shared-data value never grows: with the zone full the host crashes. Values of a fixed \
        size only";
    /// In Envoy, no cas and 0 both write unconditionally; Kong takes them for `create`.
    Overwrite on Envoy: "writing with cas 0 overwrites what other threads have just written: create what will change \
        with a cas that no entry has, and update it with the entry's";
    // Roots and ticks.
    /// Verified.
    SecondTickPeriod on Kong: "a second non-zero tick period traps";
    /// Verified.
    TickPeriodOutsideRoot on Kong: "the tick period is set in a root context alone: elsewhere it traps";
    // Properties.
    /// Verified: signal 11.
    PluginNameInRoot on Kong: "get_property(\"plugin_name\") outside a request crashes the worker";
    /// Verified.
    ForeignProperty on Kong: "set_property traps on names that are not Kong's own";
    // Metrics.
    /// Verified: the host keeps both ids.
    MetricDefinedTwice on Envoy: "define a metric once per root context: twice gives two ids";
    /// Each takes 500 ns and more, and a lock.
    MetricDefinedLate on Both: "define metrics in on_vm_start or on_configure alone";
    /// Verified.
    HistogramRead on Kong: "get_metric on a histogram traps";
    /// Seen in the source.
    MetricMisused on Kong: "increment counters, record gauges and histograms, use ids that exist, names up to 256 \
        bytes with pw:FILTER: in front: anything else traps";
    // Calls.
    /// 3 crashes in 3 requests.
    CallAndContinue on Kong: "never dispatch a call from a request and return Continue: the worker crashes as soon \
        as the upstream answers first";
    /// 60 calls per second used up 1,500 connections in 24 s.
    SecondCallInFlight on Kong: "one call in flight per root context: overlapping calls leak connections for good";
    /// Verified: signal 11.
    CallFromRootReply on Kong: "never dispatch from a root's on_http_call_response: the worker crashes; send the \
        next call on the next tick";
    /// Verified.
    CallOutOfPlace on Kong: "dispatch only from request headers or body, a call's response, or a tick: elsewhere \
        it traps";
    /// Verified on Kong 3.9.1: the client's connection is closed without a byte.
    BodyAfterLostCall on Kong: "a call with a body that was sent and not answered leaves its spent buffer to what its \
        request sends next: a local response with a body is lost. Calls from requests have no body";
    /// Verified on Kong 3.9.1: if the calls have bodies, a worker logs "send() returned zero" forever; else the client's
    /// connection is closed without a byte. Seen in the source: a crash if the next answer comes in pieces.
    CallAfterLostCall on Kong: "a call that was sent and got no body in answer leaves a buffer to its request's next \
        call, which the host then uses twice: endless loops, lost local responses, crashes. Such a request makes no \
        other call";
    /// Verified on Kong 3.9.1, under load: 6 traps in 14 reloads. An old root's timer calls the new root's `on_tick`, while the
    /// step that allows a call is set on the old root.
    CallInOldRootsTick on Kong: "after a reload an old root's timer may tick a new root, where a call traps: call from a \
        tick only after the root's own timer has ticked";
    /// Seen in the source: `no :method`, `no :path`.
    CallWithoutTarget on Kong: "a call needs :method and :path: without them it traps";
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self:?} ({}): {}", self.on(), self.says())
    }
}

/// A filter broke a rule.
#[derive(Clone, Debug)]
pub struct RuleBroken {
    /// The rule.
    pub rule: Rule,
    /// What the filter did.
    pub what: String,
    /// The status that a client got, if a request was under way.
    pub client: Option<u16>,
}

impl RuleBroken {
    /// `rule` was broken by `what`.
    pub fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into(), client: None }
    }
}

impl fmt::Display for RuleBroken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the filter broke a rule of its host\n  rule: {}\n  it did: {}", self.rule, self.what)?;
        if let Some(status) = self.client {
            write!(out, "\n  the client got: {status}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RuleBroken {}
