use super::*;
use proptest::prelude::*;

fn rule(path: &str, methods: &[&str], units: u64) -> Rule {
    Rule {
        pattern: Pattern::parse(path).unwrap(),
        methods: methods.iter().map(ToString::to_string).collect(),
        price: Price { cost: Cost::from_units(units), settles: false },
    }
}

fn cost(rules: &[Rule], method: &str, path: &str) -> u64 {
    Endpoints::new(rules, Cost::from_units(1)).price(method.as_bytes(), path.as_bytes()).cost.whole_units()
}

#[test]
fn a_request_that_no_rule_matches_costs_the_default() {
    assert_eq!(cost(&[], "GET", "/anything"), 1);
    assert_eq!(cost(&[rule("/compare", &[], 2)], "GET", "/comparison"), 1);
    assert_eq!(cost(&[rule("/compare", &[], 2)], "GET", "/compare/deeper"), 1);
}

#[test]
fn the_most_specific_rule_wins_whatever_the_order() {
    let mut rules = vec![
        rule("/*", &[], 2),
        rule("/v1/*", &[], 3),
        rule("/v1/batch/*", &[], 4),
        rule("/v1/batch", &[], 5),
        rule("/v1/batch", &["POST", "PUT"], 6),
        rule("/v1/*", &["DELETE"], 7),
    ];
    for _ in 0..rules.len() {
        rules.rotate_left(1);
        assert_eq!(cost(&rules, "GET", "/"), 2);
        assert_eq!(cost(&rules, "GET", "/v2/x"), 2);
        assert_eq!(cost(&rules, "GET", "/v1"), 3);
        assert_eq!(cost(&rules, "GET", "/v1/x"), 3);
        assert_eq!(cost(&rules, "GET", "/v1/batch/7/items"), 4);
        assert_eq!(cost(&rules, "GET", "/v1/batch"), 5);
        assert_eq!(cost(&rules, "PUT", "/v1/batch"), 6);
        assert_eq!(cost(&rules, "DELETE", "/v1/x"), 7);
        assert_eq!(cost(&rules, "DELETE", "/v1/batch"), 5, "an exact path is more specific than a method");
    }
}

#[test]
fn a_rule_for_other_methods_does_not_hide_a_prefix() {
    let rules = [rule("/v1/*", &[], 3), rule("/v1/batch", &["POST"], 6)];
    assert_eq!(cost(&rules, "GET", "/v1/batch"), 3);
}

#[test]
fn every_spelling_of_a_path_has_its_price() {
    let rules = [rule("/compare", &[], 2), rule("/health", &[], 0)];
    for spelling in [
        "/compare",
        "/compare/",
        "//compare",
        "/./compare",
        "/x/../compare",
        "/compare?x=1",
        "/compare?a=/../health",
        "/compare#top",
        "/%63ompare",
        "/comp%61re/",
        "/%2e/compare",
        "/a/%2E%2e/compare",
        "/..//compare",
        "/%2fcompare",
        "/%252fcompare",
        "/%2563ompare",
        "\\compare",
        "/compare/.",
        "/compare/x/..",
        "/compare%2f",
        "/compare%00",
        "/compare%3fx",
        "/compare%23x",
        "compare",
        "http://example.com/compare",
        "http://example.com:80//compare?x",
    ] {
        assert_eq!(cost(&rules, "GET", spelling), 2, "{spelling}");
    }
}

#[test]
fn a_way_from_a_cheap_path_to_a_dear_one_costs_the_dear_one() {
    let rules = [rule("/compare", &[], 2), rule("/health", &[], 0), rule("/health/*", &[], 0)];
    for way in [
        "/health/../compare",
        "/health/..%2fcompare",
        "/health%2f..%2fcompare",
        "/health//../compare",
        "/health\\..\\compare",
        "/health%5c..%5ccompare",
        // Kong reads `#` as a character, nginx and most others as the end.
        "/health#/../compare",
        "/health/x#/../../compare",
        // Kong resolves dots before it decodes slashes, nginx after.
        "/identify;%2f..;/../compare",
        "/health%2f..@/../compare",
        // A servlet container cuts parameters off before it resolves dots.
        "/health/..;/compare",
        "/health/..;a=b/compare",
        "/health/x/..;/..;/compare",
        "/health/%2e%2e;/compare",
        // What a proxy decodes, the server behind it reads once more.
        "/health/..%3b/compare",
        "/health/%252e%252e/compare",
        "/health/..%252fcompare",
        // Kong and a server behind it, each with its own rules.
        "/health%2fb/../x/..%2fcompare",
        "/health%2fb/../x/..%3b%2fcompare",
    ] {
        assert_eq!(cost(&rules, "GET", way), 2, "{way}");
    }
}

#[test]
fn a_path_parameter_makes_nothing_cheaper() {
    let rules = [rule("/compare", &[], 2), rule("/v1/*", &[], 5), rule("/v1/ping", &[], 0)];
    for spelling in ["/compare;v=1", "/compare;", "/compare;v=1/", "/;x/compare", "/compare%3bv"] {
        assert_eq!(cost(&rules, "GET", spelling), 2, "{spelling}");
    }
    assert_eq!(cost(&rules, "GET", "/v1;x/chat"), 5);
    assert_eq!(cost(&rules, "GET", "/v1/ping;x"), 5, "to most servers it is another path below /v1");
}

#[test]
fn an_unresolved_path_costs_what_its_prefix_does() {
    let rules = [rule("/v1/*", &[], 5), rule("/health", &[], 0)];
    assert_eq!(cost(&rules, "GET", "/v1/chat/../../health"), 5, "many servers resolve no dots");
    assert_eq!(cost(&rules, "GET", "/v1%2fchat/../../health"), 5);
}

#[test]
fn a_spelling_without_meaning_costs_what_its_path_does() {
    let rules =
        [rule("/café", &[], 2), rule("/a b/*", &[], 3), rule("/.well-known/x", &[], 4), rule("/a:b", &[], 5)];
    let cost = |path| Endpoints::new(&rules, Cost::from_units(9)).price(b"GET", path).cost.whole_units();
    assert_eq!(cost(b"/caf%C3%A9"), 2);
    assert_eq!(cost("/café".as_bytes()), 2);
    assert_eq!(cost(b"/a%20b/c%20d"), 3);
    assert_eq!(cost(b"/.well-known/x?y"), 4);
    assert_eq!(cost(b"/a%3Ab"), 5);
    assert_eq!(cost(b"/Caf%C3%A9"), 9, "capitals differ");
}

#[test]
fn a_spelling_that_upstreams_read_differently_costs_the_dearer_reading() {
    let rules = [rule("/compare", &[], 2), rule("/compare/*", &[], 3), rule("/health", &[], 0)];
    assert_eq!(cost(&rules, "GET", "/compare//../health"), 3, "an upstream may see /compare/health");
    assert_eq!(cost(&rules, "GET", "/health//../compare"), 2, "or /compare");
    assert_eq!(cost(&rules, "GET", "/health/"), 0, "all readings are /health");
}

#[test]
fn a_target_that_is_no_path_costs_the_default() {
    let rules = [rule("/compare", &[], 2), rule("/", &[], 3)];
    for target in ["*", "example.com:443", "%", "/%", "/%zz", "/%4", "/..."] {
        assert_eq!(cost(&rules, "OPTIONS", target), 1, "{target}");
    }
    for root in ["", "/", "?x", "/..", "//", "http://example.com", "http://example.com?x"] {
        assert_eq!(cost(&rules, "GET", root), 3, "{root}");
    }
    assert_eq!(cost(&rules, "GET", "://compare/"), 1, "a whole URL has a scheme");
}

#[test]
fn a_backslash_in_parameters_ends_no_segment() {
    let rules = [rule("/a", &[], 2)];
    for target in [r"/;\5/a", r"/;\5/a\", r"/;%5c5/a/"] {
        assert_eq!(cost(&rules, "GET", target), 2, "{target}: parameters are cut first");
    }
}

#[test]
fn a_zero_byte_may_be_the_paths_end() {
    let rules = [rule("/health/*", &[], 0), rule("/compare", &[], 2)];
    for target in ["/health/..\0/compare", "/compare\0", "http://example.com/compare\0x"] {
        assert_ne!(cost(&rules, "GET", target), 0, "{target}");
    }
    assert_eq!(cost(&rules, "GET", "/compare\0x"), 2);
}

#[test]
fn a_long_path_that_can_be_read_in_several_ways_costs_the_dearest_price() {
    let rules = [rule("/compare", &["POST"], 9), rule("/v1/*", &[], 2)];
    let long = |odd: &str| format!("/v1{odd}/{}", "x".repeat(5_000));
    assert_eq!(cost(&rules, "GET", &long("")), 2);
    assert_eq!(cost(&rules, "GET", &long("%20")), 1, "nothing but a space");
    assert_eq!(cost(&rules, "GET", &long(";")), 9);
    assert_eq!(cost(&rules, "GET", &format!("/v1;?{}", "x".repeat(5_000))), 2, "a query is no path");
}

#[test]
fn head_is_priced_as_get() {
    let rules = [
        rule("/a", &["GET"], 50),
        rule("/b", &["GET"], 0),
        rule("/c", &["HEAD"], 3),
        rule("/c", &["GET"], 4),
    ];
    assert_eq!(cost(&rules, "HEAD", "/a"), 50);
    assert_eq!(cost(&rules, "HEAD", "/b"), 0);
    assert_eq!(cost(&rules, "HEAD", "/c"), 4, "where both are listed, the dearer counts");
    assert_eq!(cost(&rules, "GET", "/c"), 4);
    assert_eq!(cost(&[rule("/c", &["HEAD"], 3)], "GET", "/c"), 1, "but GET is not priced as HEAD");
}

#[test]
fn a_method_in_small_letters_is_not_cheaper() {
    let rules = [rule("/a", &["POST"], 50), rule("/b", &["OPTIONS"], 0)];
    assert_eq!(cost(&rules, "post", "/a"), 50, "a framework may make capitals of it");
    assert_eq!(cost(&rules, "Post", "/a"), 50);
    assert_eq!(cost(&rules, "options", "/b"), 1, "or not");
    assert_eq!(cost(&[rule("/a", &["GET"], 7)], "head", "/a"), 7);
}

#[test]
fn a_list_with_one_price_needs_no_target() {
    let endpoints =
        |rules: &[Rule]| Endpoints::new(rules, Cost::from_units(1)).only_price().map(|price| price.cost);
    assert_eq!(endpoints(&[]), Some(Cost::from_units(1)));
    assert_eq!(endpoints(&[rule("/a", &[], 1)]), Some(Cost::from_units(1)));
    assert_eq!(endpoints(&[rule("/a", &[], 0)]), None);
    assert_eq!(endpoints(&[rule("/a", &[], 2)]), None);
}

#[test]
fn a_deep_path_walks_no_deeper_than_the_rules() {
    let endpoints = Endpoints::new(&[rule("/a/*", &[], 3)], Cost::from_units(1));
    let deep = "/a".repeat(4_000);
    assert_eq!(endpoints.price(b"GET", deep.as_bytes()).cost, Cost::from_units(3));
}

proptest! {
    #[test]
    fn a_target_that_all_servers_read_alike_has_one_price(
        target in "[/.a%2ef?\\\\]{0,16}", stems in proptest::collection::vec("(/[.a%2ef]{1,3}){1,3}", 1..4),
    ) {
        let patterns = stems.iter().filter_map(|stem| Pattern::parse(stem).ok());
        let rules: Vec<Rule> = (2..).zip(patterns)
            .map(|(cost, pattern)| Rule { pattern, methods: vec![], price: Price { cost: Cost::from_units(cost), settles: false } })
            .collect();
        let endpoints = Endpoints::new(&rules, Cost::from_units(1));
        if let Some(path) = reading::only(target.as_bytes()) {
            prop_assert_eq!(endpoints.price(b"GET", &path), endpoints.dearest_reading(b"GET", target.as_bytes()));
        }
    }

    #[test]
    fn no_server_reads_a_dearer_path(
        target in "/[/.;a%2fcF5b3#\\\\]{0,24}", default in 0_u64..3,
    ) {
        let rules = [rule("/a", &[], 1), rule("/a/*", &[], 2), rule("/a/b", &[], 0), rule("/b/a", &[], 4)];
        let endpoints = Endpoints::new(&rules, Cost::from_units(default));
        let cost = endpoints.price(b"GET", target.as_bytes()).cost;
        for path in tollgate_spellings::readings(target.as_bytes()) {
            prop_assert!(endpoints.price_of_path(b"GET", &path).cost <= cost, "{}", String::from_utf8_lossy(&path));
        }
    }
}
