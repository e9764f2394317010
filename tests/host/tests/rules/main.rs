//! Breaks every rule of the hosts once: a check that cannot fail checks nothing.

mod behaviour;
mod calls;
mod small_module;

use std::collections::BTreeSet;
use std::time::Duration;

use small_module::{CALL, NOTHING, SmallModule};
use tollgate_host::{
    Eviction, Node, Personality, Reply, Request, Response, Rule, RuleBroken, Setup, StartError, Zone,
};

/// When a broken rule shows itself.
enum During {
    /// Starting the node.
    Start,
    /// One request.
    Request,
    /// One request with 200 headers.
    LongRequest,
    /// One request, whose first call is not answered.
    LostCall,
    /// One second of time.
    Tick,
    /// One second of time after a reload.
    Reload,
    /// The reply to the first call, which a tick made.
    RootReply,
}

use During::{RootReply, Start, Tick};

/// A module that breaks a rule, and the host on which it breaks it.
struct Breaking(Rule, Personality, During, SmallModule);

const KONG: Personality = Personality::Kong;
const ENVOY: Personality = Personality::Envoy;

/// One module per rule.
fn breaking() -> Vec<Breaking> {
    let request = |request| SmallModule { request, ..NOTHING };
    let configure = |configure| SmallModule { configure, ..NOTHING };
    let ticking = |tick| SmallModule { configure: TICKING, tick, ..NOTHING };
    vec![
        Breaking(
            Rule::ForeignImport,
            KONG,
            Start,
            SmallModule {
                imports: r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#,
                ..NOTHING
            },
        ),
        Breaking(Rule::MissingExport, KONG, Start, SmallModule { exports: "", ..NOTHING }),
        Breaking(Rule::Trap, KONG, During::Request, request("unreachable")),
        Breaking(
            Rule::NeverReturns,
            ENVOY,
            During::Request,
            request("(loop $forever br $forever) unreachable"),
        ),
        Breaking(
            Rule::BadMemory,
            ENVOY,
            During::Request,
            request("(call $log (i32.const 2) (i32.const 0x7fffffff) (i32.const 9))"),
        ),
        Breaking(
            Rule::NotGranted,
            ENVOY,
            During::Request,
            request("(call $metric (i32.const 1) (i32.const 0))"),
        ),
        Breaking(Rule::NotInKong, KONG, During::Request, request("(call $log_level (i32.const 0))")),
        Breaking(Rule::PausedForNothing, ENVOY, During::Request, request("(i32.const 1)")),
        Breaking(
            Rule::SecondLocalResponse,
            KONG,
            During::Request,
            request(
                r#"(call $ok (call $respond (i32.const 429) @"" @"no" @"" (i32.const -1)))
                   (call $respond (i32.const 429) @"" @"no" @"" (i32.const -1))"#,
            ),
        ),
        Breaking(
            Rule::LateLocalResponse,
            KONG,
            During::Request,
            SmallModule {
                response: r#"(call $respond (i32.const 429) @"" @"no" @"" (i32.const -1))"#,
                ..NOTHING
            },
        ),
        Breaking(
            Rule::RequestHeadersTooLate,
            KONG,
            During::Request,
            SmallModule { response: r#"(call $add (i32.const 0) @"x-a" @"1")"#, ..NOTHING },
        ),
        Breaking(
            Rule::HeaderMapOverflow,
            KONG,
            During::LongRequest,
            request("(call $headers (i32.const 0) (i32.const 0) (i32.const 4))"),
        ),
        Breaking(
            Rule::RequestHeaderRemoved,
            KONG,
            During::Request,
            request(
                r#"(call $ok (call $add (i32.const 0) @"x-a" @"1"))
                   (call $remove (i32.const 0) @"x-a")"#,
            ),
        ),
        Breaking(
            Rule::ResponseHeadersTooLate,
            KONG,
            During::Request,
            SmallModule { response_body: r#"(call $add (i32.const 2) @"x-a" @"1")"#, ..NOTHING },
        ),
        Breaking(
            Rule::BodyOutOfPlace,
            KONG,
            During::Request,
            SmallModule {
                response: "(call $buffer (i32.const 1) (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 4))",
                ..NOTHING
            },
        ),
        Breaking(
            Rule::BrokenHeader,
            ENVOY,
            During::Request,
            request(r#"(call $add (i32.const 0) @"x-a" @"1\0d\0ax-b: 2")"#),
        ),
        Breaking(
            Rule::NoZone,
            KONG,
            During::Request,
            request(r#"(call $get @"elsewhere/a" (i32.const 0) (i32.const 4) (i32.const 8))"#),
        ),
        Breaking(
            Rule::FullZone,
            KONG,
            During::Request,
            request(
                r#"(call $set @"full/a" (i32.const 1024) (i32.const 8000) (i32.const 0)) drop
                   (call $set @"full/b" (i32.const 1024) (i32.const 8000) (i32.const 0))"#,
            ),
        ),
        Breaking(
            Rule::ValueGrows,
            KONG,
            During::Request,
            request(
                r#"(call $ok (call $set @"tollgate/a" @"x" (i32.const 0)))
                   (call $set @"tollgate/a" @"xy" (i32.const 1))"#,
            ),
        ),
        Breaking(
            Rule::Overwrite,
            ENVOY,
            During::Request,
            request(
                r#"(call $ok (call $set @"tollgate/a" @"x" (i32.const 0)))
                   (call $set @"tollgate/a" @"y" (i32.const 0))"#,
            ),
        ),
        Breaking(
            Rule::SecondTickPeriod,
            KONG,
            Start,
            configure("(call $ok (call $tick (i32.const 100))) (call $tick (i32.const 200))"),
        ),
        Breaking(Rule::TickPeriodOutsideRoot, KONG, During::Request, request("(call $tick (i32.const 100))")),
        Breaking(
            Rule::PluginNameInRoot,
            KONG,
            Tick,
            ticking(r#"(call $ok (call $property @"plugin_name" (i32.const 0) (i32.const 4)))"#),
        ),
        Breaking(
            Rule::ForeignProperty,
            KONG,
            During::Request,
            request(r#"(call $set_property @"kong\00tier" @"pro")"#),
        ),
        Breaking(
            Rule::MetricDefinedTwice,
            ENVOY,
            Start,
            configure(
                r#"(call $ok (call $define (i32.const 0) @"requests" (i32.const 0)))
                   (call $define (i32.const 0) @"requests" (i32.const 0))"#,
            ),
        ),
        Breaking(
            Rule::MetricDefinedLate,
            ENVOY,
            During::Request,
            request(r#"(call $define (i32.const 0) @"requests" (i32.const 0))"#),
        ),
        Breaking(
            Rule::HistogramRead,
            KONG,
            Start,
            configure(
                r#"(call $ok (call $define (i32.const 2) @"seconds" (i32.const 0)))
                   (call $metric (i32.load (i32.const 0)) (i32.const 8))"#,
            ),
        ),
        Breaking(
            Rule::MetricMisused,
            KONG,
            Start,
            configure(
                r#"(call $ok (call $define (i32.const 0) @"requests" (i32.const 0)))
                   (call $record (i32.load (i32.const 0)) (i64.const 1))"#,
            ),
        ),
        Breaking(Rule::CallAndContinue, KONG, During::Request, request(CALL)),
        Breaking(
            Rule::SecondCallInFlight,
            KONG,
            Tick,
            SmallModule { configure: TICKING, tick: CALL_OK, ..NOTHING },
        ),
        Breaking(
            Rule::CallFromRootReply,
            KONG,
            RootReply,
            SmallModule { configure: TICKING, tick: CALL_OK, reply: CALL_OK, ..NOTHING },
        ),
        Breaking(Rule::CallOutOfPlace, KONG, Start, configure(CALL)),
        Breaking(
            Rule::BodyAfterLostCall,
            KONG,
            During::LostCall,
            SmallModule {
                request: CALL_WITH_BODY,
                reply: r#"(call $ok (call $respond (i32.const 429) @"" @"no" @"" (i32.const -1)))"#,
                ..NOTHING
            },
        ),
        Breaking(
            Rule::CallAfterLostCall,
            KONG,
            During::LostCall,
            SmallModule { request: CALL_AND_PAUSE, reply: CALL_OK, ..NOTHING },
        ),
        Breaking(Rule::CallInOldRootsTick, KONG, During::Reload, ticking(CALL_OK)),
        Breaking(
            Rule::CallWithoutTarget,
            KONG,
            During::Request,
            request(r#"(call $call @"store" @"\00\00\00\00" @"" @"" (i32.const 50) (i32.const 0))"#),
        ),
    ]
}

/// Ticks every 400 ms, which is twice in the second that a test lets pass.
const TICKING: &str = "(call $ok (call $tick (i32.const 400))) (i32.const 1)";

/// [`CALL`], whose status must be 0.
const CALL_OK: &str = r#"(call $ok (call $call @"store" @"\03\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\05\00\00\00:method\00POST\00:path\00/\00:authority\00store\00" @"" @"" (i32.const 50) (i32.const 0)))"#;

/// [`CALL_OK`], and then a pause.
const CALL_AND_PAUSE: &str = r#"(call $ok (call $call @"store" @"\02\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\01\00\00\00:method\00POST\00:path\00/\00" @"" @"" (i32.const 50) (i32.const 0))) (i32.const 1)"#;

/// [`CALL_AND_PAUSE`], with a body.
const CALL_WITH_BODY: &str = r#"(call $ok (call $call @"store" @"\02\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\01\00\00\00:method\00POST\00:path\00/\00" @"body" @"" (i32.const 50) (i32.const 0))) (i32.const 1)"#;

/// A node for these tests: a zone `tollgate`, and one of a page that evicts nothing.
fn setup(personality: Personality) -> Setup {
    let zones =
        vec![Zone::new("tollgate", 1 << 20, Eviction::Slru), Zone::new("full", 12 << 10, Eviction::None)];
    let granted = small_module::capabilities().filter(|name| *name != "proxy_get_metric");
    Setup::new(personality).zones(zones).cluster("store").filter("{}").granting(granted)
}

fn start(personality: Personality, module: &SmallModule) -> Node {
    setup(personality).start(&module.build()).unwrap()
}

/// A request with `count` short headers.
fn with_headers(count: usize) -> Request {
    (1..count).fold(Request::get("/"), |request, number| request.header(format!("a{number}"), "1"))
}

fn break_it(Breaking(_, personality, during, module): &Breaking) -> RuleBroken {
    let started = setup(*personality).start(&module.build());
    if let During::Start = during {
        return match started {
            Err(StartError::Broken(broken)) => broken,
            Err(other) => panic!("refused instead: {other}"),
            Ok(_) => panic!("started"),
        };
    }
    let mut node = started.unwrap();
    let broken = match during {
        During::Request => node.request(Request::get("/")).map(|_| ()),
        During::LongRequest => node.request(with_headers(200)).map(|_| ()),
        During::LostCall => {
            node.request(Request::get("/")).unwrap();
            let call = node.calls()[0].id;
            node.answer(call, Reply::Failure("timeout")).map(|_| ())
        }
        Tick => node.advance(Duration::from_secs(1)),
        During::Reload => {
            node.reload(&["{}"]).unwrap();
            node.advance(Duration::from_secs(1))
        }
        _ => {
            node.advance(Duration::from_millis(500)).unwrap();
            let call = node.calls()[0].id;
            node.answer(call, Reply::Answer(Response { status: 200, ..Response::default() })).map(|_| ())
        }
    };
    broken.expect_err("the rule is broken and nobody says so")
}

#[test]
fn a_filter_that_breaks_a_rule_fails_with_the_rules_text() {
    for case in breaking() {
        let broken = break_it(&case);
        assert_eq!(broken.rule, case.0, "{broken}");
        assert!(broken.to_string().contains(case.0.says()), "{broken}");
        assert!(
            case.0.on() == "Both" || case.0.on() == case.1.to_string(),
            "{} is tried on {}",
            case.0,
            case.1
        );
    }
}

#[test]
fn every_rule_is_broken_once() {
    let broken: BTreeSet<Rule> = breaking().iter().map(|case| case.0).collect();
    assert_eq!(broken, Rule::ALL.iter().copied().collect());
}

#[test]
fn what_keeps_every_rule_breaks_none() {
    for personality in Personality::ALL {
        let mut node = start(personality, &NOTHING);
        node.request(Request::get("/").upstream_header("x-a", "1")).unwrap();
        node.advance(Duration::from_secs(10)).unwrap();
    }
}

#[test]
fn what_kong_forbids_alone_passes_on_envoy() {
    for Breaking(rule, personality, during, module) in breaking() {
        if personality == KONG && rule.on() == "Kong" && matches!(during, During::Request | Tick | RootReply)
        {
            // Envoy returns a bad argument; what the module makes of it is its own affair.
            let Ok(mut node) = setup(ENVOY).start(&module.build()) else { continue };
            for result in [node.request(Request::get("/")).map(|_| ()), node.advance(Duration::from_secs(1))]
            {
                if let Err(broken) = result {
                    assert_ne!(broken.rule.on(), "Kong", "{broken}");
                }
            }
        }
    }
}
