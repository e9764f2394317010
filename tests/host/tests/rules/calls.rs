//! How the two hosts treat HTTP calls where no rule is broken.

use std::time::Duration;

use tollgate_host::calls::REFUSED;
use tollgate_host::{Reply, Response, Rule, Setup};

use crate::behaviour::{leak, logged, request};
use crate::small_module::{CALL, NOTHING, SmallModule};
use crate::{CALL_AND_PAUSE, CALL_OK, CALL_WITH_BODY, ENVOY, KONG, start, with_headers};

#[test]
fn a_paused_request_goes_on_by_itself_in_kong_and_when_told_in_envoy() {
    let module = |reply| SmallModule { request: leak(format!("{CALL_OK} (i32.const 1)")), reply, ..NOTHING };
    for (personality, reply) in [(KONG, ""), (ENVOY, "(call $ok (call $continue (i32.const 0)))")] {
        let mut node = start(personality, &module(reply));
        let paused = request(&mut node);
        assert!(paused.paused.is_some() && !paused.reached_upstream());
        let call = node.calls()[0].clone();
        assert_eq!((call.upstream.as_str(), call.timeout_ms), ("store", 50));
        let done = node.answer(call.id, Reply::Failure("timeout")).unwrap().unwrap();
        assert_eq!((done.client.status, done.paused), (200, None));
        assert!(node.calls().is_empty());
    }
    let mut node = start(ENVOY, &module(""));
    request(&mut node);
    let call = node.calls()[0].id;
    assert_eq!(node.answer(call, Reply::Failure("timeout")).unwrap_err().rule, Rule::PausedForNothing);
}

#[test]
fn a_call_to_nowhere_is_a_bad_argument_in_envoy() {
    let module =
        SmallModule { request: leak(format!("(call $is {CALL} (i32.const 2)) (i32.const 0)")), ..NOTHING };
    let mut node = Setup::new(ENVOY).filter("{}").start(&module.build()).unwrap();
    request(&mut node);
}

#[test]
fn a_roots_call_comes_back_to_the_root() {
    let module = SmallModule {
        configure: "(call $ok (call $tick (i32.const 700))) (i32.const 1)",
        tick: CALL_OK,
        reply: r#"(call $ok (call $log (i32.const 2) @"replied"))"#,
        ..NOTHING
    };
    let mut node = start(KONG, &module);
    for times in 1..=2 {
        node.advance(Duration::from_millis(700)).unwrap();
        let call = node.calls()[0].id;
        assert!(
            node.answer(call, Reply::Answer(Response { status: 200, ..Response::default() }))
                .unwrap()
                .is_none()
        );
        assert_eq!(logged(&node, "replied"), times);
    }
}

#[test]
fn a_call_that_was_refused_or_answered_or_had_no_body_leaves_no_spent_buffer() {
    let respond = r#"(call $ok (call $respond (i32.const 429) @"" @"no" @"" (i32.const -1)))"#;
    let lost = Reply::Failure("timeout");
    let answer = Reply::Answer(Response { status: 500, body: b"!".to_vec(), ..Response::default() });
    for (call, reply) in
        [(CALL_WITH_BODY, Reply::Failure(REFUSED)), (CALL_WITH_BODY, answer), (CALL_AND_PAUSE, lost)]
    {
        let mut node = start(KONG, &SmallModule { request: call, reply: respond, ..NOTHING });
        request(&mut node);
        let call = node.calls()[0].id;
        let done = node.answer(call, reply).unwrap().expect("it is done");
        assert_eq!((done.client.status, done.client.text()), (429, "no\n"));
    }
}

#[test]
fn kongs_map_of_up_to_96_headers_has_room() {
    let map = "(call $ok (call $headers (i32.const 0) (i32.const 0) (i32.const 4))) (i32.const 0)";
    let module = SmallModule { request: map, ..NOTHING };
    for (count, fits) in
        [(1, true), (96, true), (97, true), (98, false), (99, false), (100, false), (1_000, false)]
    {
        let sent = start(KONG, &module).request(with_headers(count));
        assert_eq!(sent.is_ok(), fits, "{count}");
    }
}
