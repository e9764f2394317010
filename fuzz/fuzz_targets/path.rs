//! The path normaliser and the price list: normal is normal, and no spelling is cheaper.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::endpoint::{Endpoints, Pattern, Rule, as_rfc_3986_reads, normalised};
use tollgate::units::Cost;

fuzz_target!(|bytes: &[u8]| {
    let normal = normalised(bytes).into_owned();
    let rfc = as_rfc_3986_reads(bytes);
    for read in [&normal, &rfc] {
        assert!(read.starts_with(b"/") && (read.len() == 1 || !read.ends_with(b"/")));
        assert!(read.len() <= bytes.len().max(1) + 1);
        assert!(!read.windows(2).any(|pair| pair == b"//"));
        assert!(!read.split(|byte| *byte == b'/').any(|segment| segment == b"." || segment == b".."));
    }
    // What is left to decode, or was decoded to a query's start, is a path of its own; anything else is normal for good.
    if !normal.iter().any(|byte| matches!(byte, b'%' | b'?' | b'#' | b'\\')) {
        assert_eq!(normalised(&normal), normal);
    }

    // A rule for exactly this path prices this spelling, and never any other path.
    let priced = |path: Vec<u8>, cost| {
        let Ok(text) = String::from_utf8(path) else { return None };
        let Ok(pattern @ Pattern::Exact(_)) = Pattern::parse(&text) else { return None };
        Some(Rule { pattern, methods: vec![], cost: Cost::from_units(cost) })
    };
    let (Some(rule), Some(other)) = (priced(normal.clone(), 7), priced(rfc.clone(), 9)) else { return };
    let doubled = [b"/.//", bytes].concat();
    let endpoints = Endpoints::new(std::slice::from_ref(&rule), Cost::from_units(1));
    assert_eq!(endpoints.cost(b"GET", bytes), Cost::from_units(7));
    assert_eq!(endpoints.cost(b"GET", &doubled), Cost::from_units(7));
    // Where it can be read in two ways, the dearer one counts.
    if normal != rfc {
        let endpoints = Endpoints::new(&[rule, other], Cost::from_units(1));
        assert_eq!(endpoints.cost(b"GET", bytes), Cost::from_units(9));
    }
});
