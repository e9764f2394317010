//! The buffer of headers that a host hands over, and what identity makes of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::headers;
use tollgate_core::policy::Policy;
use tollgate_node::identity::{Identities, network};
use tollgate_node::request::{Gateway, Headers, Request};

struct Nothing;

impl Gateway for Nothing {
    fn property(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
    fn header(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
}

thread_local! {
    static IDENTITIES: Identities = Identities::new(&Policy::from_json(
        br#"{"tiers":{"free":{"rate":"100/minute"},"pro":{"rate":"1000/minute"}},"default_tier":"free",
             "anonymous":{"rate":"30/minute"}}"#,
    )
    .expect("a policy"));
}

fuzz_target!(|bytes: &[u8]| {
    let given = Headers::new(bytes);
    let total: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    // Texts can overlap only if the lengths lie; each one lies within the buffer.
    assert!(given.iter().all(|(name, value)| name.len() <= bytes.len() && value.len() <= bytes.len()));
    assert!(total <= bytes.len());
    let request = Request::new(given, &Nothing);
    IDENTITIES.with(|identities| {
        let _ = identities.caller(&request);
    });
    let _ = network(bytes);
    if let Some(cost) = headers::cost_in(bytes) {
        assert_eq!(
            headers::cost_in(cost.to_string().as_bytes()),
            Some(cost),
            "a cost comes back as it is written"
        );
    }
});
