//! How the two hosts behave where no rule is broken.

use std::time::Duration;

use tollgate_host::{Eviction, Exchange, Node, Personality, Request, Rule, Setup, StartError, Zone};

use crate::small_module::{NOTHING, SmallModule};
use crate::{ENVOY, KONG, TICKING, setup, start};

/// Log lines that contain `what`.
pub fn logged(node: &Node, what: &str) -> usize {
    node.log().iter().filter(|line| line.contains(what)).count()
}

pub fn request(node: &mut Node) -> Exchange {
    node.request(Request::get("/")).unwrap()
}

const CONFIGURED: &str = r#"(call $ok (call $log (i32.const 2) @"configured")) (i32.const 1)"#;
const STARTED: &str = r#"(call $ok (call $log (i32.const 2) @"started"))"#;
const REFUSES: SmallModule = SmallModule { configure: "(i32.const 0)", ..NOTHING };

#[test]
fn kong_serves_a_route_without_a_filter_that_refuses_its_configuration() {
    let mut node = start(KONG, &REFUSES);
    assert!(!node.is_filtered());
    assert_eq!(logged(&node, "failed initializing \"tollgate\" filter"), 1);
    let exchange = request(&mut node);
    assert_eq!((exchange.client.status, exchange.filtered), (200, false));
}

#[test]
fn envoy_does_not_start_with_a_filter_that_refuses_its_configuration() {
    assert!(matches!(setup(ENVOY).start(&REFUSES.build()), Err(StartError::Refused(_))));
}

#[test]
fn a_missing_zone_is_harmless_in_on_configure_and_the_line_before_it_stands_in_the_log() {
    let module = SmallModule {
        configure: r#"(call $ok (call $log (i32.const 3) @"no zone?"))
                      (call $set @"elsewhere/a" @"x" (i32.const 0))"#,
        ..NOTHING
    };
    let mut node = start(KONG, &module);
    assert!(!node.is_filtered());
    assert_eq!(request(&mut node).client.status, 200);
    let log = node.log();
    let hint = log.iter().position(|line| line.contains("no zone?")).unwrap();
    assert!(log[hint + 1].contains("trap") && log[hint + 2].contains("failed initializing"), "{log:?}");
}

#[test]
fn a_missing_zone_in_a_request_is_a_500() {
    let module = SmallModule {
        request: r#"(call $get @"elsewhere/a" (i32.const 0) (i32.const 4) (i32.const 8))"#,
        ..NOTHING
    };
    let broken = start(KONG, &module).request(Request::get("/")).unwrap_err();
    assert_eq!((broken.rule, broken.client), (Rule::NoZone, Some(500)));
}

#[test]
fn with_a_zone_for_the_rest_every_key_has_one() {
    let module = SmallModule {
        configure: r#"(call $ok (call $set @"elsewhere/a" @"x" (i32.const 0))) (i32.const 1)"#,
        ..NOTHING
    };
    let setup = Setup::new(KONG).zones(vec![Zone::new("*", 1 << 16, Eviction::Slru)]).filter("{}");
    assert!(setup.start(&module.build()).unwrap().is_filtered());
}

#[test]
fn envoy_configures_every_worker_the_main_thread_and_a_canary() {
    let module = SmallModule { configure: CONFIGURED, vm_start: STARTED, ..NOTHING }.build();
    for (personality, times) in [(KONG, 3), (ENVOY, 5)] {
        let node = setup(personality).workers(3).start(&module).unwrap();
        assert_eq!((logged(&node, "configured"), logged(&node, "started")), (times, times), "{personality}");
    }
}

#[test]
fn a_local_response_is_completed_and_runs_the_response_callbacks() {
    let module = SmallModule {
        request: r#"(call $ok (call $respond (i32.const 429) @"" @"no" @"" (i32.const -1))) (i32.const 1)"#,
        response: r#"(call $ok (call $add (i32.const 2) @"x-added" @"1")) (i32.const 0)"#,
        ..NOTHING
    };
    for (personality, body) in [(KONG, "no\n"), (ENVOY, "no")] {
        let exchange = request(&mut start(personality, &module));
        assert_eq!((exchange.client.status, exchange.client.text()), (429, body));
        assert_eq!(exchange.client.header("x-added"), Some("1"));
        assert_eq!(exchange.client.header("content-length"), Some(body.len().to_string().as_str()));
        assert!(!exchange.reached_upstream());
        assert!(exchange.callbacks.contains(&"proxy_on_log"));
    }
}

#[test]
fn the_end_of_a_request_comes_in_each_hosts_order() {
    let end = |personality| request(&mut start(personality, &NOTHING)).callbacks[4..].to_vec();
    assert_eq!(end(KONG), ["proxy_on_done", "proxy_on_log", "proxy_on_delete"]);
    assert_eq!(end(ENVOY), ["proxy_on_log", "proxy_on_done", "proxy_on_delete"]);
}

#[test]
fn responses_pass_kongs_chain_forwards_and_envoys_backwards() {
    let configuration =
        "(call $ok (call $buffer (i32.const 7) (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 4)))";
    let module = SmallModule {
        response: leak(format!(
            r#"{configuration} (call $ok (call $add (i32.const 2) @"x-passed" (i32.load (i32.const 0)) (i32.load (i32.const 4))))
               (i32.const 0)"#
        )),
        ..NOTHING
    };
    for (personality, order) in [(KONG, ["a", "b"]), (ENVOY, ["b", "a"])] {
        let mut node = Setup::new(personality).filter("a").filter("b").start(&module.build()).unwrap();
        let exchange = request(&mut node);
        let passed: Vec<_> = exchange.client.headers.all(b"x-passed").map(String::from_utf8_lossy).collect();
        assert_eq!(passed, order, "{personality}");
    }
}

#[test]
fn all_headers_at_once_are_a_hundred_in_kong_and_all_in_envoy() {
    let module = SmallModule {
        request: r#"(call $ok (call $headers (i32.const 0) (i32.const 0) (i32.const 4)))
                    (call $ok (call $set @"tollgate/a" (i32.load (i32.const 0)) (i32.const 4) (i32.const 9)))
                    (i32.const 0)"#,
        ..NOTHING
    };
    // The module writes the number of pairs into shared data; in Kong the cas of an absent key is 0.
    for (personality, pairs) in [(KONG, 100), (ENVOY, 4 + 200)] {
        let cas = if personality == KONG { "(i32.const 0)" } else { "(i32.const 9)" };
        let module = SmallModule { request: leak(module.request.replace("(i32.const 9)", cas)), ..module };
        let mut node = start(personality, &module);
        let many =
            (0..200).fold(Request::get("/"), |request, i| request.header(format!("x-{i}"), "a longer value"));
        // In Kong the host header is in the list; in Envoy it is `:authority`.
        node.request(many).unwrap();
        let (value, _) = node.shared_data().get(b"tollgate/a").unwrap().unwrap();
        assert_eq!(u32::from_le_bytes(value.try_into().unwrap()), pairs, "{personality}");
        assert_eq!(logged(&node, "truncated"), usize::from(personality == KONG));
    }
}

#[test]
fn replacing_a_header_that_comes_twice_leaves_none_in_kong() {
    let module = SmallModule {
        response: r#"(call $ok (call $replace (i32.const 2) @"x-limit" @"mine")) (i32.const 0)"#,
        ..NOTHING
    };
    for personality in Personality::ALL {
        let limit = |copies: usize| {
            let request =
                (0..copies).fold(Request::get("/"), |request, _| request.upstream_header("X-Limit", "its"));
            start(personality, &module).request(request).unwrap().client.header("x-limit").map(str::to_owned)
        };
        assert_eq!(limit(0).as_deref(), Some("mine"));
        assert_eq!(limit(1).as_deref(), Some("mine"));
        assert_eq!(limit(2).as_deref(), if personality == KONG { None } else { Some("mine") });
    }
}

#[test]
fn the_peers_address_reads_differently() {
    let module = SmallModule {
        request: r#"(call $ok (call $property @"source\00address" (i32.const 0) (i32.const 4)))
                    (call $ok (call $add (i32.const 0) @"x-peer" (i32.load (i32.const 0)) (i32.load (i32.const 4))))
                    (call $ok (call $property @"source\00port" (i32.const 0) (i32.const 4)))
                    (call $ok (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4))))
                    (i32.const 0)"#,
        ..NOTHING
    };
    for (personality, v4, v6) in
        [(KONG, "203.0.113.9", "2001:db8::1"), (ENVOY, "203.0.113.9:41180", "[2001:db8::1]:41180")]
    {
        let mut node = start(personality, &module);
        let mut peer = |ip| {
            let seen = node.request(Request::get("/").from_ip(ip)).unwrap().upstream.unwrap();
            seen.header("x-peer").unwrap().to_owned()
        };
        assert_eq!((peer("203.0.113.9"), peer("2001:db8::1")), (v4.to_owned(), v6.to_owned()));
        assert_eq!(logged(&node, "41180"), if personality == KONG { 2 } else { 0 });
    }
}

#[test]
fn a_property_that_kong_has_not_is_not_found_and_outside_a_request_it_fails() {
    let ask = r#"(call $is (call $property @"kong\00ctx\00shared\00x" (i32.const 0) (i32.const 4))"#;
    let module = SmallModule {
        configure: TICKING,
        request: leak(format!("{ask} (i32.const 1)) (i32.const 0)")),
        tick: leak(format!("{ask} (i32.const 10))")),
        ..NOTHING
    };
    let mut node = start(KONG, &module);
    request(&mut node);
    node.advance(Duration::from_secs(1)).unwrap();
}

#[test]
fn what_one_filter_sets_the_next_one_reads() {
    for (personality, path) in [(KONG, r"kong\00ctx\00shared\00mark"), (ENVOY, "mark")] {
        let module = SmallModule {
            request: leak(format!(
                r#"(if (i32.eqz (call $property @"{path}" (i32.const 0) (i32.const 4)))
                      (then (call $ok (call $add (i32.const 0) @"x-second" @"1"))))
                   (call $ok (call $set_property @"{path}" @"1"))
                   (i32.const 0)"#
            )),
            ..NOTHING
        };
        let mut node = Setup::new(personality).filter("a").filter("b").start(&module.build()).unwrap();
        let seen = request(&mut node).upstream.unwrap();
        assert_eq!(seen.header("x-second"), Some("1"), "{personality}: read once, by the second");
    }
}

#[test]
fn envoy_does_not_read_back_what_was_set_under_two_segments() {
    let module = SmallModule {
        request: r#"(call $ok (call $set_property @"a\00b" @"1"))
                    (call $is (call $property @"a\00b" (i32.const 0) (i32.const 4)) (i32.const 1))
                    (i32.const 0)"#,
        ..NOTHING
    };
    request(&mut start(ENVOY, &module));
}

#[test]
fn after_a_trap_kong_configures_a_new_instance_and_ticks_double() {
    let module = SmallModule {
        vm_start: STARTED,
        configure: leak(format!("{} {TICKING}", CONFIGURED.replace("(i32.const 1)", ""))),
        tick: r#"(call $ok (call $log (i32.const 2) @"ticked"))"#,
        request: r#"(if (i32.eqz (call $header (i32.const 0) @"x-trap" (i32.const 0) (i32.const 4))) (then unreachable))
                    (i32.const 0)"#,
        ..NOTHING
    };
    let mut node = start(KONG, &module);
    node.advance(Duration::from_millis(500)).unwrap();
    assert_eq!((node.timers(), logged(&node, "ticked")), (1, 1));
    let broken = node.request(Request::get("/").header("x-trap", "1")).unwrap_err();
    assert_eq!((broken.rule, broken.client), (Rule::Trap, Some(500)));
    assert_eq!(request(&mut node).client.status, 200);
    assert_eq!((logged(&node, "configured"), logged(&node, "started")), (2, 1));
    assert_eq!(node.timers(), 2);
    node.advance(Duration::from_secs(1)).unwrap();
    assert!(logged(&node, "ticked") > 4);
}

#[test]
fn after_a_trap_envoy_answers_503_for_a_while_and_starts_afresh() {
    let module = SmallModule {
        vm_start: STARTED,
        request: r#"(if (i32.eqz (call $header (i32.const 0) @"x-trap" (i32.const 0) (i32.const 4))) (then unreachable))
                    (i32.const 0)"#,
        ..NOTHING
    };
    let mut node = start(ENVOY, &module);
    let broken = node.request(Request::get("/").header("x-trap", "1")).unwrap_err();
    assert_eq!((broken.rule, broken.client), (Rule::Trap, Some(503)));
    assert_eq!(request(&mut node).client.status, 503);
    node.advance(Duration::from_secs(3)).unwrap();
    assert_eq!(request(&mut node).client.status, 200);
    assert_eq!(logged(&node, "started"), 3 + 1, "canary, main, worker, worker again");
}

#[test]
fn a_trap_after_the_upstreams_answer_fails_open_in_kong() {
    let module = SmallModule { response: "unreachable", ..NOTHING };
    assert_eq!(start(KONG, &module).request(Request::get("/")).unwrap_err().client, Some(200));
    assert_eq!(start(ENVOY, &module).request(Request::get("/")).unwrap_err().client, Some(503));
}

#[test]
fn old_roots_tick_on_after_a_reload() {
    let module = SmallModule { configure: TICKING, ..NOTHING }.build();
    let mut kong = setup(KONG).start(&module).unwrap();
    kong.reload(&["{ }"]).unwrap();
    kong.advance(Duration::from_secs(1)).unwrap();
    assert!(kong.timers() > 2, "two roots, and the new instance's: {}", kong.timers());

    let mut envoy = setup(ENVOY).start(&module).unwrap();
    envoy.reload(&["{ }"]).unwrap();
    assert_eq!(envoy.timers(), 4, "two roots on main and worker");
    envoy.end_drain().unwrap();
    assert_eq!(envoy.timers(), 2);
}

#[test]
fn a_refused_update_leaves_the_old_configuration_in_force() {
    // The module takes only a configuration of two bytes.
    let module = SmallModule { configure: "(i32.eq (local.get 1) (i32.const 2))", ..NOTHING }.build();
    for personality in Personality::ALL {
        let mut node = setup(personality).start(&module).unwrap();
        assert!(matches!(node.reload(&["{   }"]), Err(StartError::Refused(_))));
        assert!(request(&mut node).filtered);
        node.reload(&["[]"]).unwrap();
        assert!(request(&mut node).filtered);
    }
}

#[test]
fn a_dead_upstream_is_a_502_without_callbacks_in_kong_and_a_503_with_them_in_envoy() {
    for (personality, status, logs) in [(KONG, 502, false), (ENVOY, 503, true)] {
        let exchange = start(personality, &NOTHING).request(Request::get("/").to_dead_upstream()).unwrap();
        assert_eq!(exchange.client.status, status);
        assert_eq!(exchange.callbacks.contains(&"proxy_on_log"), logs);
    }
}

#[test]
fn both_hosts_count_a_metric_once_for_all_workers() {
    let module = SmallModule {
        configure: r#"(call $ok (call $define (i32.const 0) @"requests" (i32.const 512))) (i32.const 1)"#,
        request: "(call $ok (call $increment (i32.load (i32.const 512)) (i64.const 2))) (i32.const 0)",
        ..NOTHING
    };
    for personality in Personality::ALL {
        let mut node = setup(personality).workers(2).start(&module.build()).unwrap();
        for worker in [0, 1, 1] {
            node.request(Request::get("/").on_worker(worker)).unwrap();
        }
        assert_eq!(node.metrics().value("requests"), Some(6));
    }
}

#[test]
fn time_is_the_nodes_and_has_steps_of_a_microsecond() {
    let module = SmallModule {
        request: r#"(call $ok (call $time (i32.const 512)))
                    (call $ok (call $add (i32.const 0) @"x-time" (i32.const 512) (i32.const 8)))
                    (i32.const 0)"#,
        ..NOTHING
    };
    // The microseconds' low byte is a printable one, so that it can stand in a header.
    let mut node = start(KONG, &module);
    node.clock().jump_to(0x4142_4344_4546_4748);
    let seen = request(&mut node).upstream.unwrap();
    let time = u64::from_le_bytes(seen.headers.get(b"x-time").unwrap()[..8].try_into().unwrap());
    assert_eq!(time, 0x4142_4344_4546_4748 / 1_000 * 1_000);
}

#[test]
fn host_calls_and_instructions_are_counted_a_request() {
    let module = SmallModule {
        request: r#"(drop (call $get @"tollgate/a" (i32.const 0) (i32.const 4) (i32.const 8))) (i32.const 0)"#,
        ..NOTHING
    };
    let mut node = start(KONG, &module);
    for _ in 0..2 {
        let exchange = request(&mut node);
        assert_eq!((exchange.host_calls("proxy_get_shared_data"), exchange.host_calls("proxy_log")), (1, 0));
        assert!((1..200).contains(&exchange.instructions), "{}", exchange.instructions);
    }
}

/// Makes a text live as long as the test process.
pub fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}
