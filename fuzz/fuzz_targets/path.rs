//! The path normaliser and the price list: normal is normal, and no spelling is cheaper.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::endpoint::{Endpoints, Pattern, Rule, normalised};
use tollgate::units::Cost;

fuzz_target!(|bytes: &[u8]| {
    let normal = normalised(bytes).into_owned();
    assert!(normal.starts_with(b"/") && (normal.len() == 1 || !normal.ends_with(b"/")));
    assert!(normal.len() <= bytes.len().max(1) + 1);
    assert!(!normal.windows(2).any(|pair| pair == b"//"));
    assert!(!normal.split(|byte| *byte == b'/').any(|segment| segment == b"." || segment == b".."));

    // A rule for exactly this path prices this spelling, and never any other path.
    let Ok(text) = String::from_utf8(normal) else { return };
    let Ok(pattern @ Pattern::Exact(_)) = Pattern::parse(&text) else { return };
    let rules = [Rule { pattern, methods: vec![], cost: Cost::from_units(7) }];
    let endpoints = Endpoints::new(&rules, Cost::from_units(1));
    assert_eq!(endpoints.cost(b"GET", bytes), Cost::from_units(7));
    let doubled = [b"/.//", bytes].concat();
    assert_eq!(endpoints.cost(b"GET", &doubled), Cost::from_units(7));
});
