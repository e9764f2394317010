//! Requests from pages of another origin.

use tollgate_e2e::gateway::{Gateway, Kind};
use tollgate_e2e::standing::{OURS, Standing};
use tollgate_testkit::http::{Request, Response};
use tollgate_testkit::sample::ORIGIN;

use crate::{Behaviour, behaviours};

pub const BEHAVIOURS: &[Behaviour] = behaviours![
    a_preflight_request_needs_no_credentials_and_costs_nothing,
    a_page_may_read_where_it_stands_and_that_it_was_refused,
];

fn allowed(response: &Response) {
    assert_eq!(response.header("access-control-allow-origin"), Some(ORIGIN));
}

fn a_preflight_request_needs_no_credentials_and_costs_nothing(gateway: &Gateway) {
    let mut anonymous = gateway.anonymous();
    let preflight = Request::new("OPTIONS", "/identify")
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "apikey");
    for _ in 0..40 {
        let response = anonymous.send(&preflight);
        assert!(matches!(response.status, 200 | 204), "{}", response.status);
        allowed(&response);
        let methods = response.header("access-control-allow-methods").expect("methods");
        assert!(methods.contains("POST"), "{methods}");
    }
    // An anonymous client has a bucket of 30.
    assert_eq!(Standing::of(&anonymous.get("/identify")).remaining, 29);
}

fn a_page_may_read_where_it_stands_and_that_it_was_refused(gateway: &Gateway) {
    let mut caller = gateway.consumer("free-13");
    let request = Request::get("/compare").header("Origin", ORIGIN);
    let response = caller.send(&request);
    allowed(&response);
    let exposed = response.header("access-control-expose-headers").expect("exposed headers").to_lowercase();
    for name in OURS.into_iter().chain(["retry-after"]) {
        assert!(exposed.split(',').any(|one| one.trim() == name), "{name}");
    }
    if gateway.kind == Kind::Envoy {
        let refused = (0..200).map(|_| caller.send(&request)).find(|response| response.status == 429);
        allowed(&refused.expect("a refusal"));
    }
}
