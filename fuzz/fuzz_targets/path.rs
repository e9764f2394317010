//! The price list: a rule prices every spelling of its path, and no server reads a dearer path than was priced.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::price::{Pattern, PatternError, Price, Rule};
use tollgate_core::units::Cost;
use tollgate_node::endpoint::Endpoints;
use tollgate_spellings::readings;

/// Paths with their prices, most specific first; [`price`] has the price of all others.
const PRICES: [(&str, u64); 6] =
    [("/compare", 9), ("/health", 0), ("/a/b", 2), ("/a/b/*", 7), ("/a/*", 3), ("/health/*", 1)];
const DEFAULT: u64 = 4;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(PatternError::NotNormalised(normal)) = Pattern::parse(text)
        && !normal.contains(['%', '?', '#', '*'])
    {
        assert!(Pattern::parse(&normal).is_ok(), "{text} is to be written {normal}");
    }

    let list =
        Endpoints::new(&PRICES.map(|(path, cost)| rule(path, cost).unwrap()), Cost::from_units(DEFAULT));
    // A path begins with a slash; as part of a whole URL it costs the same.
    let bytes = &[b"/", bytes.strip_prefix(b"/").unwrap_or(bytes)].concat()[..];
    let charged = list.price(b"GET", bytes).cost.whole_units();
    assert_eq!(list.price(b"GET", &[b"http://127.0.0.1:8000", bytes].concat()).cost.whole_units(), charged);
    let mut paths = readings(bytes);
    paths.sort();
    paths.dedup();
    for path in paths {
        let read = String::from_utf8_lossy(&path);
        assert!(price(&path) <= charged, "read as {read}, which costs {}; charged {charged}", price(&path));
        let own = std::str::from_utf8(&path).ok().and_then(|path| rule(path, 2));
        if let Some(own) = own {
            let list = Endpoints::new(&[own], Cost::from_units(1));
            assert_eq!(list.price(b"GET", bytes).cost, Cost::from_units(2), "a price for {read} alone");
        }
    }
});

/// A line of a price list, if the path is valid.
fn rule(path: &str, cost: u64) -> Option<Rule> {
    Some(Rule {
        pattern: Pattern::parse(path).ok()?,
        methods: vec![],
        price: Price { cost: Cost::from_units(cost), settles: false },
    })
}

/// The price of `path` as it is spelled.
fn price(path: &[u8]) -> u64 {
    let segments = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let is_for = |pattern: &str| match pattern.strip_suffix("/*") {
        Some(stem) => segments(path).starts_with(&segments(stem.as_bytes())),
        None => segments(path) == segments(pattern.as_bytes()),
    };
    PRICES.iter().find(|(pattern, _)| is_for(pattern)).map_or(DEFAULT, |(_, price)| *price)
}
