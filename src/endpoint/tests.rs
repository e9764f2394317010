use super::*;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn rule(path: &str, methods: &[&str], units: u64) -> Rule {
    Rule {
        pattern: Pattern::parse(path).unwrap(),
        methods: methods.iter().map(ToString::to_string).collect(),
        cost: Cost::from_units(units),
    }
}

fn cost(rules: &[Rule], method: &str, path: &str) -> u64 {
    Endpoints::new(rules, Cost::from_units(1)).cost(method.as_bytes(), path.as_bytes()).whole_units()
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
        assert_eq!(cost(&rules, "post", "/v1/batch"), 5, "methods are case-sensitive (RFC 9110, 9.1)");
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
fn no_spelling_of_a_path_is_cheaper() {
    let rules = [rule("/compare", &[], 2), rule("/health", &[], 0)];
    for spelling in
        ["/compare", "//compare/", "/health/../compare", "/%63ompare?x=/health", "/health/..%2fcompare"]
    {
        assert_eq!(cost(&rules, "GET", spelling), 2, "{spelling}");
    }
}

#[test]
fn a_spelling_that_upstreams_read_differently_costs_the_dearer_reading() {
    let rules = [rule("/compare", &[], 2), rule("/compare/*", &[], 3), rule("/health", &[], 0)];
    assert_eq!(cost(&rules, "GET", "/compare//../health"), 3, "an upstream may see /compare/health");
    assert_eq!(cost(&rules, "GET", "/health//../compare"), 2, "or /compare");
    assert_eq!(cost(&rules, "GET", "/x/..//health"), 0, "both readings are /health");
}

#[test]
fn a_deep_path_walks_no_deeper_than_the_rules() {
    let endpoints = Endpoints::new(&[rule("/a/*", &[], 3)], Cost::from_units(1));
    let deep = "/a".repeat(4_000);
    assert_eq!(endpoints.cost(b"GET", deep.as_bytes()), Cost::from_units(3));
}

#[test]
fn a_pattern_that_could_never_match_is_refused_with_the_spelling_that_does() {
    assert_eq!(Pattern::parse("compare"), Err(PatternError::Relative));
    assert_eq!(Pattern::parse("/a?b"), Err(PatternError::Query));
    assert_eq!(Pattern::parse("/a/*/b"), Err(PatternError::Wildcard));
    assert_eq!(Pattern::parse("/a*"), Err(PatternError::Wildcard));
    assert_eq!(Pattern::parse("/a//b/"), Err(PatternError::NotNormalised("/a/b".into())));
    assert_eq!(Pattern::parse("/%61/*"), Err(PatternError::NotNormalised("/a/*".into())));
    assert_eq!(Pattern::parse("/*"), Ok(Pattern::Prefix("/".into())));
    assert_eq!(Pattern::parse("/"), Ok(Pattern::Exact("/".into())));
    assert_eq!(Pattern::parse("/v1/*"), Ok(Pattern::Prefix("/v1".into())));
}
