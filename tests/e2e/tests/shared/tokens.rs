//! A store that asks gateways for a token.

use serde_json::json;
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::Request;
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::wait;

use crate::{PATIENCE, metric};

const TOKEN: &str = "the-token-of-the-gateways";

#[test]
fn a_gateway_with_the_stores_token_borrows_and_one_with_another_goes_on_without_it() {
    let upstream = Upstream::on_loopback().unwrap();
    let store = Store::start_guarded("memory", TOKEN).unwrap();
    let gateway = |token: &str| {
        let config = Config::shared(upstream.address(), store.address()).unwrap().policy(|policy| {
            policy["store"]["token"] = json!({ "env": "TOKEN" });
            policy["store"]["timeout"] = "2s".into();
        });
        // The last newline of a Secret is not part of the token.
        Envoy::start(&config.variable("TOKEN", &format!("{token}\n")), 1).unwrap()
    };
    let calls = |outcome: &str| {
        store
            .metric(&format!("tollgate_store_requests_total{{call=\"leases\",outcome=\"{outcome}\"}}"))
            .unwrap()
    };
    let ask = |gateway: &Envoy| gateway.client().send(&Request::get("/identify").of("free-01")).unwrap();

    let known = gateway(TOKEN);
    assert_eq!(ask(&known).status, 200);
    assert!(calls("ok") >= 1.0 && calls("denied") == 0.0);
    assert_eq!(metric(&known, "tollgate_store_up", ""), 1);

    let unknown = gateway("the-token-of-somebody-else");
    let is_away = || {
        ask(&unknown);
        (metric(&unknown, "tollgate_store_up", "") == 0).then_some(())
    };
    wait::until("the gateway to give the store up", PATIENCE, is_away).unwrap();
    assert!(calls("denied") >= 3.0);
    assert_eq!(ask(&unknown).status, 200, "on_failure: local");
}
