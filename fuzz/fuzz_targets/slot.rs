//! Whatever stands in shared data: no panic, no trust, and a client is still limited afterwards.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use tollgate::limit::{Limit, Period, Verdict, decide_all};
use tollgate::policy::Tier;
use tollgate::table::{
    Change, Client, Expected, FingerprintKey, Read, SharedStore, SlotKey, Table, Updated, Write,
};
use tollgate::units::{Cost, UnixNanos};

/// Every key holds the fuzzer's bytes until it is written.
struct Hostile {
    bytes: Vec<u8>,
    written: RefCell<HashMap<SlotKey, (Vec<u8>, u32)>>,
}

impl SharedStore for Hostile {
    fn get(&self, key: &SlotKey) -> Read {
        let written = self.written.borrow();
        let (value, version) = written.get(key).cloned().unwrap_or((self.bytes.clone(), 1));
        Read::Value(value, version)
    }

    fn set(&self, key: &SlotKey, value: &[u8], expected: Expected) -> Write {
        let version = self.written.borrow().get(key).map_or(1, |(_, version)| *version);
        if expected != Expected::Version(version) {
            return Write::Lost;
        }
        self.written.borrow_mut().insert(*key, (value.to_vec(), version + 1));
        Write::Done
    }
}

fuzz_target!(|bytes: &[u8]| {
    let store = Hostile { bytes: bytes.to_vec(), written: RefCell::default() };
    let Ok(opened) = Table::open(&store, 64, FingerprintKey([1; 16])) else { return };
    let table = opened.table;
    let tier = Tier {
        name: "free".into(),
        limits: vec![Limit::new(2, Period::Minute, 100).expect("a limit")],
        monthly: Some(Cost::from_units(100)),
        on_failure: None,
    };
    let client = table.fingerprint("default", &Client::Consumer(b"acme"));
    let now = UnixNanos::from_seconds(1_795_478_400);
    let mut allowed = 0;
    for _ in 0..3 {
        let updated = table.update(&store, client, &tier, now, |mut state| {
            match decide_all(&mut state.account, &tier, Cost::from_units(1), now) {
                Verdict::Allowed => (Change::Write(state), true),
                _ => (Change::Keep, false),
            }
        });
        allowed += u32::from(matches!(updated, Updated::Done { answer: true, .. }));
    }
    assert!(allowed <= 2, "a full bucket of two let {allowed} through");
});
