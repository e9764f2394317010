use super::*;
use crate::request::Headers;
use crate::request::tests::{Answers, pairs};

const POLICY: &str = r#"{
  "tiers": {"free": {"rate": "100/minute"}, "pro": {"rate": "1000/minute"}, "partner": {"rate": "unlimited"}},
  "default_tier": "free",
  "anonymous": {"rate": "30/minute"},
  "identity": {
    "consumer": [{"property": "kong.ctx.shared.tollgate_consumer"}, {"header": "x-consumer-username"}],
    "tier": [{"property": "kong.ctx.shared.tollgate_tier"}, {"header": "x-consumer-groups"}]
  },
  "overrides": [{"consumer": "billing-worker", "tier": "partner"}]
}"#;

fn policy() -> Policy {
    Policy::from_json(POLICY.as_bytes()).unwrap()
}

/// `name/tier`, or `anonymous client`.
fn who(properties: &[(&str, &str)], headers: &[(&str, &str)]) -> String {
    let policy = policy();
    let properties =
        properties.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let gateway = Answers { properties, ..Answers::default() };
    let bytes = pairs(headers);
    match Identities::new(&policy).caller(&Request::new(Headers::new(&bytes), &gateway)) {
        Caller::Consumer { name, tier } => {
            format!("{}/{}", String::from_utf8_lossy(&name), policy.tier(tier).name)
        }
        Caller::Anonymous => "anonymous client".to_owned(),
    }
}

const CONSUMER: &str = "kong.ctx.shared.tollgate_consumer";
const TIER: &str = "kong.ctx.shared.tollgate_tier";

#[test]
fn the_first_source_that_yields_a_value_names_the_consumer() {
    assert_eq!(who(&[(CONSUMER, "acme")], &[("x-consumer-username", "evil")]), "acme/free");
    assert_eq!(who(&[], &[("X-Consumer-Username", "acme")]), "acme/free");
    assert_eq!(
        who(&[(CONSUMER, "")], &[("x-consumer-username", "acme")]),
        "acme/free",
        "an empty value is none"
    );
    assert_eq!(who(&[], &[("x-consumer-username", "")]), "anonymous client");
    assert_eq!(who(&[], &[]), "anonymous client");
}

#[test]
fn the_first_source_whose_value_names_a_tier_gives_it() {
    assert_eq!(who(&[(CONSUMER, "acme"), (TIER, "pro")], &[("x-consumer-groups", "partner")]), "acme/pro");
    assert_eq!(
        who(&[(CONSUMER, "acme"), (TIER, "gold")], &[("x-consumer-groups", "partner")]),
        "acme/partner"
    );
    assert_eq!(who(&[(CONSUMER, "acme")], &[("x-consumer-groups", "beta, pro ,partner")]), "acme/pro");
    assert_eq!(who(&[(CONSUMER, "acme")], &[("x-consumer-groups", "professional,PRO")]), "acme/free");
    assert_eq!(who(&[(TIER, "pro")], &[]), "anonymous client", "a tier alone makes nobody a consumer");
}

#[test]
fn the_lines_of_a_list_are_one_list() {
    let groups = |lines: &[&str]| {
        let headers: Vec<_> = lines.iter().map(|line| ("x-consumer-groups", *line)).collect();
        who(&[(CONSUMER, "acme")], &headers)
    };
    assert_eq!(groups(&["beta", "pro"]), "acme/pro");
    assert_eq!(
        groups(&["", "beta, x", "partner,pro", "free"]),
        "acme/partner",
        "the first part that is a tier"
    );
    assert_eq!(groups(&["pro", "partner"]), groups(&["pro, partner"]));
    assert_eq!(groups(&["beta", "gamma"]), "acme/free");
}

#[test]
fn a_hundred_headers_hide_no_line_of_a_list() {
    let policy = policy();
    let mut gateway = Answers::default();
    gateway.properties.insert(CONSUMER.into(), b"acme".to_vec());
    gateway.headers.insert("x-consumer-groups".into(), b"beta, pro".to_vec());
    let mut headers = vec![("x-filler", ""); 100];
    headers[7] = ("x-consumer-groups", "beta");
    let bytes = pairs(&headers);
    let caller = Identities::new(&policy).caller(&Request::new(Headers::part(&bytes), &gateway));
    assert!(matches!(caller, Caller::Consumer { tier: TierId(2), .. }), "{caller:?}");
}

#[test]
fn who_adds_a_consumer_behind_a_clients_names_it() {
    let headers = [("x-consumer-username", "victim"), ("x-consumer-username", "acme")];
    assert_eq!(who(&[], &headers), "acme/free");
}

#[test]
fn an_override_comes_before_what_the_gateway_says() {
    assert_eq!(who(&[(CONSUMER, "billing-worker"), (TIER, "free")], &[]), "billing-worker/partner");
}

#[test]
fn kongs_anonymous_consumer_is_nobody() {
    let headers = [("X-Consumer-Username", "anonymous"), ("X-Anonymous-Consumer", "true")];
    assert_eq!(who(&[], &headers), "anonymous client");
    assert_eq!(who(&[(CONSUMER, "acme")], &headers), "acme/free", "a property is not a header");
    assert_eq!(who(&[], &[("x-consumer-username", "acme"), ("x-anonymous-consumer", "false")]), "acme/free");
}

#[test]
fn hostile_values_are_names_like_any_other() {
    let long = "x".repeat(65_536);
    assert_eq!(
        who(&[(CONSUMER, &long)], &[("x-consumer-groups", &",".repeat(9_000))]),
        format!("{long}/free")
    );
}

#[test]
fn an_address_is_read_as_every_host_writes_it() {
    let v4 = Network::V4([192, 0, 2, 1]);
    for spelling in
        ["192.0.2.1", "192.0.2.1:4711", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80", "::ffff:c000:201"]
    {
        assert_eq!(network(spelling.as_bytes()), v4, "{spelling}");
    }
    let v6 = Network::V6([0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2]);
    for spelling in ["2001:db8:1:2::1", "[2001:db8:1:2:ffff::9]:443", "2001:DB8:1:2:3:4:5:6"] {
        assert_eq!(network(spelling.as_bytes()), v6, "{spelling}");
    }
    assert_ne!(network(b"2001:db8:1:3::1"), v6);
    for garbage in ["", "unix:@envoy", "192.0.2", "192.0.2.1.5", "[::1", "\u{ff}", "1.2.3.4:99999"] {
        assert_eq!(network(garbage.as_bytes()), Network::Unknown, "{garbage}");
    }
    assert_eq!(network(&[0xff, 0xfe]), Network::Unknown);
}

#[test]
fn an_override_finds_every_name_by_what_listings_write() {
    use tollgate_core::name;
    let namespace = Namespace::new("default");
    let long = [&[b'n'; 2_000][..], b"\xff"].concat();
    let names = [&b"caf\xe9"[..], b"a\nb", b"%:x", &long];
    let overrides: Vec<_> = names
        .iter()
        .map(|consumer| {
            let client = namespace.id(&Client::Consumer(consumer));
            let text = name::text(&name::as_sent(consumer, client), client).into_owned();
            serde_json::json!({ "consumer": text, "tier": "partner" })
        })
        .collect();
    let mut document: serde_json::Value = serde_json::from_str(POLICY).unwrap();
    document["overrides"] = overrides.into();
    let policy = Policy::from_value(&document).unwrap();
    let identities = Identities::new(&policy);
    let tier_of = |consumer: &[u8]| {
        let gateway = Answers {
            properties: [(CONSUMER.to_owned(), consumer.to_vec())].into_iter().collect(),
            ..Answers::default()
        };
        let bytes = pairs(&[]);
        match identities.caller(&Request::new(Headers::new(&bytes), &gateway)) {
            Caller::Consumer { tier, .. } => policy.tier(tier).name.clone(),
            Caller::Anonymous => "anonymous client".to_owned(),
        }
    };
    for consumer in names {
        assert_eq!(tier_of(consumer), "partner");
    }
    for other in [&b"caf\xe8"[..], b"%:caf%E9", b"%:a%0Ab", &long[..2_000], &[b'n'; 64]] {
        assert_eq!(tier_of(other), "free");
    }
    document["overrides"] = serde_json::json!([{ "consumer": "%:acme", "tier": "partner" }]);
    let problems = Policy::from_value(&document).unwrap_err();
    assert_eq!(problems[0].path, "overrides[0].consumer");
    assert!(problems[0].message.contains("%:caf%E9"), "{}", problems[0]);
}

/// A gateway with one property, and how often it was asked for it.
struct Counting(Vec<u8>, std::cell::Cell<u32>);

impl Gateway for Counting {
    fn property(&self, path: &str) -> Option<Vec<u8>> {
        assert_eq!(path, "kong\0ctx\0shared\0tollgate_caller");
        self.1.set(self.1.get() + 1);
        (!self.0.is_empty()).then(|| self.0.clone())
    }
    fn header(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
}

#[test]
fn a_property_that_both_lists_name_is_asked_once_and_gives_both() {
    let both = r#"[{"property": "kong.ctx.shared.tollgate_caller"}, {"header": "x-HEADER"}]"#;
    let identity = format!(
        r#"{{"consumer": {}, "tier": {}}}"#,
        both.replace("HEADER", "consumer-username"),
        both.replace("HEADER", "consumer-groups")
    );
    let mut document: serde_json::Value = serde_json::from_str(POLICY).unwrap();
    document["identity"] = serde_json::from_str(&identity).unwrap();
    let policy = Policy::from_json(document.to_string().as_bytes()).unwrap();
    let identities = Identities::new(&policy);
    let who = |value: &str, headers: &[(&str, &str)]| {
        let gateway = Counting(value.as_bytes().to_vec(), std::cell::Cell::new(0));
        let bytes = pairs(headers);
        let caller = match identities.caller(&Request::new(Headers::new(&bytes), &gateway)) {
            Caller::Consumer { name, tier } => {
                format!("{}/{}", String::from_utf8_lossy(&name), policy.tier(tier).name)
            }
            Caller::Anonymous => "anonymous client".to_owned(),
        };
        assert_eq!(gateway.1.get(), 1, "{value:?}");
        caller
    };
    assert_eq!(who("acme\npro", &[]), "acme/pro");
    assert_eq!(who("acme\nbeta, partner", &[]), "acme/partner", "a list, as everywhere");
    assert_eq!(who("acme\n", &[("x-consumer-groups", "pro")]), "acme/pro");
    assert_eq!(who("acme\ngold", &[]), "acme/free");
    assert_eq!(who("acme", &[]), "acme/free", "without a newline all of it is the name");
    assert_eq!(who("acme\npartner\n", &[]), "acme\npartner/free", "a name cannot give itself a tier");
    assert_eq!(who("billing-worker\nfree", &[]), "billing-worker/partner", "an override comes first");
    assert_eq!(who("\npro", &[("x-consumer-username", "acme")]), "acme/pro", "as of two properties");
    assert_eq!(who("\npro", &[]), "anonymous client");
    assert_eq!(who("", &[]), "anonymous client");
    assert_eq!(who("", &[("x-consumer-username", "acme"), ("x-consumer-groups", "pro")]), "acme/pro");
}

#[test]
fn whom_the_host_introduces_no_source_of_the_policy_contradicts() {
    let policy = policy();
    let who = |consumer: Option<&str>, tier: Option<&str>| {
        let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        let gateway = Answers { introduced: Some((bytes(consumer), bytes(tier))), ..Answers::default() };
        let headers = pairs(&[("x-consumer-username", "evil"), ("x-consumer-groups", "partner")]);
        match Identities::new(&policy).caller(&Request::new(Headers::new(&headers), &gateway)) {
            Caller::Consumer { name, tier } => {
                format!("{}/{}", String::from_utf8_lossy(&name), policy.tier(tier).name)
            }
            Caller::Anonymous => "anonymous client".to_owned(),
        }
    };
    assert_eq!(who(Some("acme"), Some("pro")), "acme/pro");
    assert_eq!(who(Some("acme"), Some("gold, pro")), "acme/pro");
    assert_eq!(who(Some("acme"), Some("gold")), "acme/free");
    assert_eq!(who(Some("acme"), None), "acme/free");
    assert_eq!(who(Some("billing-worker"), Some("free")), "billing-worker/partner", "an override wins");
    assert_eq!(who(Some(""), Some("pro")), "anonymous client");
    assert_eq!(who(None, Some("pro")), "anonymous client");
}
