//! An Envoy's whole configuration.

use tollgate_cli::lint::{Kind, lint};

use super::wrong;

/// An Envoy with `manager` among the connection manager's fields, the policy's `store`, and `more` at the top level.
fn envoy(manager: &str, policy: &str, more: &str) -> String {
    format!(
        "static_resources:
  listeners:
  - filter_chains:
    - filters:
      - name: hcm
        typed_config:
          stat_prefix: x
{manager}          http_filters:
          - name: tollgate
            typed_config:
              config:
                vm_config: {{ code: {{ local: {{ filename: tollgate.wasm }} }} }}
                configuration:
                  \"@type\": type.googleapis.com/google.protobuf.Struct
                  value:
                    tiers: {{ free: {{ rate: 1/day }} }}
                    default_tier: free
                    anonymous: {{ rate: 1/day }}
{policy}  clusters:
  - name: upstream
  - name: tollgate_store
{more}"
    )
}

#[test]
fn a_store_that_is_no_cluster_of_the_file_is_wrong() {
    let remote = "          use_remote_address: true\n";
    let store = |name: &str| format!("                    store: {{ upstream: {name} }}\n");
    assert_eq!(wrong(&envoy(remote, &store("tollgate_store"), "")), [""; 0]);
    let said = wrong(&envoy(remote, &store("127.0.0.1:7600"), ""));
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("20: ")
            && said[0].contains("value.store.upstream: \"127.0.0.1:7600\" is no cluster of this file")
            && said[0]
                .ends_with("write one of upstream, tollgate_store, or add it to static_resources.clusters"),
        "{said:?}"
    );
    // Clusters may come from elsewhere, or the file may be only a part of a configuration.
    for cds in ["cds_config: {}", "cdsConfig: {}", "cds_resources_locator: x"] {
        assert_eq!(
            wrong(&envoy(remote, &store("elsewhere"), &format!("dynamic_resources: {{ {cds} }}\n"))),
            [""; 0]
        );
    }
    assert_eq!(
        wrong(&envoy(remote, &store("elsewhere"), "").replace("static_resources:", "resources:")),
        [""; 0]
    );
    assert_eq!(wrong(&envoy(remote, &store("x"), "dynamic_resources: { lds_config: {} }\n")).len(), 1);
}

fn warnings(text: &str) -> Vec<String> {
    let warnings = lint(text.as_bytes()).into_iter().filter(|line| line.kind == Kind::Warning);
    warnings.map(|line| line.to_string()).collect()
}

/// An Envoy whose connection manager has `lines`.
fn by(lines: &str) -> String {
    envoy(&format!("          {lines}\n"), "", "")
}

#[test]
fn an_envoy_in_which_clients_say_their_own_address_is_wrong() {
    for (manager, line) in [("# nothing", 6), ("use_remote_address: false", 8)] {
        let said = wrong(&by(manager));
        assert_eq!(said.len(), 1, "{manager}");
        assert!(
            said[0].starts_with(&format!("{line}: "))
                && said[0].contains("typed_config.use_remote_address: is not true")
                && said[0].contains("write use_remote_address: true; with N proxies of your own in front also xff_num_trusted_hops: N"),
            "{said:?}"
        );
    }
}

#[test]
fn an_envoy_that_knows_its_proxies_is_fine() {
    for good in [
        "use_remote_address: true",
        "useRemoteAddress: true",
        "use_remote_address: true\n          xff_num_trusted_hops: 2",
        "original_ip_detection_extensions: [{ typed_config: { xff_trusted_cidrs: {} } }]",
    ] {
        assert_eq!((wrong(&by(good)), warnings(&by(good))), (vec![], vec![]), "{good}");
    }
}

#[test]
fn an_envoy_that_clients_may_pass_by_its_proxies_gets_a_warning() {
    for (manager, advice) in [
        ("xff_num_trusted_hops: 1", "write use_remote_address: true and xff_num_trusted_hops: 2"),
        (
            "original_ip_detection_extensions: [{ typed_config: { header_name: x-real-ip } }]",
            "what a header says",
        ),
    ] {
        let said = warnings(&by(manager));
        assert!(said.len() == 1 && said[0].contains(advice), "{said:?}");
    }
}

#[test]
fn where_nothing_needs_the_address_it_does_not_matter_who_says_it() {
    let unlimited = by("# nothing").replace("anonymous: { rate: 1/day }", "anonymous: { rate: unlimited }");
    assert_eq!(wrong(&unlimited), [""; 0]);
    let by_ip = unlimited.replace("{ free: { rate: 1/day }", "{ free: { rate: 1/day, on_failure: ip }");
    assert_eq!(wrong(&by_ip).len(), 1);
    let off = "default_tier: free\n                    enforcement: off";
    assert_eq!(wrong(&by("# nothing").replace("default_tier: free", off)), [""; 0]);
}
