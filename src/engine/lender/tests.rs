use super::*;
use crate::engine::Outcome;
use crate::request::Headers;
use crate::request::tests::{Answers, pairs};
use crate::table::tests::{Fake, Rules};
use crate::table::{FingerprintKey, Table};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// An Envoy whose store never says a word.
struct Silent {
    shared: Fake,
    milli: Cell<u64>,
    at_hand: Cell<u32>,
    calls: Cell<u32>,
    concluded: RefCell<Vec<(u32, Outcome)>>,
}

impl Host for Silent {
    type Shared = Fake;

    fn shared(&self) -> &Fake {
        &self.shared
    }

    fn monotonic(&self) -> u64 {
        self.milli.get() * 1_000_000
    }

    fn wall(&self) -> UnixNanos {
        UnixNanos::from_seconds(1_795_478_400)
    }

    fn node(&self) -> Vec<u8> {
        Vec::new()
    }

    fn peer(&self) -> Network {
        Network::Unknown
    }

    fn resumes_others(&self) -> bool {
        true
    }

    fn speak_for(&self, context: u32) {
        self.at_hand.set(context);
    }

    fn dispatch(&self, _: &[u8], _: u64) -> bool {
        self.calls.set(self.calls.get() + 1);
        true
    }

    fn reply(&self) -> Option<Vec<u8>> {
        None
    }

    fn conclude(&self, _: &Question, ruling: &Ruling) {
        self.concluded.borrow_mut().push((self.at_hand.get(), ruling.outcome));
    }

    fn note(&self, _: Note) {}
}

#[test]
fn who_waits_for_a_call_whose_request_is_gone_does_not_wait_for_ever() {
    let policy = Policy::from_value(&serde_json::json!({
        "tiers": { "free": { "rate": "4/minute" } }, "default_tier": "free", "anonymous": { "rate": "2/minute" },
        "identity": { "consumer": [{ "header": "x-consumer-username" }] },
        "store": { "upstream": "127.0.0.1:7600", "timeout": "50ms" },
    }))
    .unwrap();
    let host = Silent {
        shared: Fake::new(Rules::Envoy),
        milli: Cell::new(1_000),
        at_hand: Cell::new(0),
        calls: Cell::new(0),
        concluded: RefCell::default(),
    };
    let table = Table::open(&host.shared, 64, FingerprintKey([1; 16])).unwrap().table;
    let lender = Lender::new(&policy, 1).unwrap();
    let engine = Engine::new(policy, table);
    let bytes = pairs(&[(":method", "GET"), (":path", "/"), ("x-consumer-username", "acme")]);
    let gateway = Answers::default();
    let meet = |context| {
        host.at_hand.set(context);
        match lender.meet(&engine, &host, context, &Request::new(Headers::new(&bytes), &gateway)) {
            Met::Waits(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (meet(1), meet(2));
    assert_eq!(host.calls.get(), 1, "the second waits for the first one's call");
    lender.forget(&first);
    host.milli.set(1_049);
    lender.tick(&engine, &host);
    assert!(second.ruling().is_none());
    host.milli.set(1_051);
    lender.tick(&engine, &host);
    assert_eq!(*host.concluded.borrow(), [(2, Outcome::Error)], "refused: the store is not known to be away");
    assert!(second.ruling().is_some());
}
