//! Paths on a gateway that tidies none of them up.

use tollgate_e2e::standing::Standing;
use tollgate_testkit::http::Request;

use crate::Site;

/// Some upstream or other takes each of them for /compare.
const SPELLINGS: [&str; 24] = [
    "/compare",
    "/compare/",
    "/compare?",
    "/compare?x=/health",
    "//compare",
    "/.//compare",
    "/./compare",
    "/../compare",
    "/x/../compare",
    "/compare/.",
    "/compare/x/..",
    "/%63ompare",
    "/%63%6F%6d%70%61%72%65",
    "/%2e/compare",
    "/x/%2e%2e/compare",
    "/%2fcompare",
    "/compare%2f",
    "/health/../compare",
    "/health/%2e%2e/compare",
    "/health/..%2fcompare",
    "/health%2f..%2Fcompare",
    "/health//../compare",
    "/health\\..\\compare",
    "\\compare",
];

#[test]
fn the_filter_itself_knows_every_spelling() {
    let site = Site::with(1, tollgate_testkit::envoy::Config::taking_every_path);
    let mut client = site.client();
    let mut left = 1_000_000;
    for spelling in SPELLINGS {
        let response = client.send(&Request::get(spelling).of("globex-pro")).unwrap();
        if response.status == 400 {
            // Not a target that HTTP knows; it reached nobody.
            assert!(spelling.starts_with('\\'), "{spelling}");
            continue;
        }
        assert_eq!(response.json()["path"], spelling, "the gateway was to leave it alone");
        let month_left = Standing::of(&response).month_left.unwrap();
        assert_eq!(left - month_left, 2, "{spelling}");
        left = month_left;
    }
}

#[test]
fn what_no_endpoint_names_has_the_default_price() {
    let site =
        Site::with(1, |config| config.taking_every_path().policy(|policy| policy["default_cost"] = 7.into()));
    for (path, left) in
        [("/other", 999_993), ("/compared", 999_986), ("/compare/more", 999_979), ("/", 999_972)]
    {
        assert_eq!(Standing::of(&site.ask("globex-pro", path)).month_left, Some(left), "{path}");
    }
}
