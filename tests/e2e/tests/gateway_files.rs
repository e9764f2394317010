//! The files for Kong and for Envoy have one policy and the same consumers, and they fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tollgate_node::table::Geometry;
use tollgate_testkit::http::{Client, Request};
use tollgate_testkit::process::Process;
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::{sample, wait, workspace};

/// The filter's name, and its file's, root's and memory zone's.
const FILTER: &str = "tollgate";

fn kong() -> Value {
    workspace::read_yaml("kong/kong.yml").unwrap()
}

fn service() -> Value {
    kong()["services"][0].clone()
}

fn compose() -> Value {
    workspace::read_yaml("kong/docker-compose.yml").unwrap()
}

/// The settings of Envoy's HTTP connection manager.
fn envoy() -> Value {
    let file = workspace::read_yaml("envoy/envoy.yaml").unwrap();
    file["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"].clone()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn named<'a>(all: &'a Value, name: &str) -> &'a Value {
    list(all).iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

fn plugin<'a>(of: &'a Value, name: &str) -> &'a Value {
    &named(&of["plugins"], name)["config"]
}

fn envoy_filter<'a>(http: &'a Value, name: &str) -> &'a Value {
    &named(&http["http_filters"], &format!("envoy.filters.http.{name}"))["typed_config"]
}

fn policy_on_kong() -> Value {
    named(&service()["filter_chains"][0]["filters"], FILTER)["config"].clone()
}

fn policy_on_envoy() -> Value {
    let http = envoy();
    let configuration = &named(&http["http_filters"], FILTER)["typed_config"]["config"]["configuration"];
    serde_json::from_str(text(&configuration["value"])).unwrap()
}

#[test]
fn envoy_grants_the_filter_what_it_needs_and_nothing_else() {
    let http = envoy();
    let config = &named(&http["http_filters"], FILTER)["typed_config"]["config"];
    let granted = config["capability_restriction_config"]["allowed_capabilities"].as_object().unwrap();
    let granted: BTreeSet<&str> = granted.keys().map(String::as_str).collect();
    assert_eq!(granted, tollgate_core::capability::all().collect());
}

fn words(list: &Value) -> BTreeSet<String> {
    let words: Vec<String> = match list {
        Value::String(words) => words.split(',').map(|word| word.trim().to_owned()).collect(),
        words => self::list(words).iter().map(|word| text(word).to_owned()).collect(),
    };
    words.into_iter().collect()
}

#[test]
fn kong_and_envoy_carry_the_same_policy() {
    let (mut on_kong, mut on_envoy) = (policy_on_kong(), policy_on_envoy());
    // Each gateway names the store's place in its own way: as an address, or as a cluster.
    on_kong["store"]["upstream"].take();
    on_envoy["store"]["upstream"].take();
    assert_eq!(on_kong, on_envoy);
    assert!(on_kong["tiers"].is_object() && on_kong["store"]["mode"] == "leased");
}

/// The default address of a store.
const STORE: (&str, u16) = ("127.0.0.1", 7600);

#[test]
fn both_gateways_call_a_store_where_it_listens_by_itself() {
    let (host, port) = STORE;
    assert_eq!(policy_on_kong()["store"]["upstream"], format!("{host}:{port}"));
    let file = workspace::read_yaml("envoy/envoy.yaml").unwrap();
    let cluster = named(&file["static_resources"]["clusters"], text(&policy_on_envoy()["store"]["upstream"]));
    let address = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
    assert_eq!(address["socket_address"], json!({ "address": host, "port_value": port }));
    let help = Command::new(workspace::command().unwrap()).args(["store", "--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains(&format!("[default: {host}:{port}]")), "{help}");
}

/// Consumers with a key, by name: the key and the tier.
type Keyed = BTreeMap<String, (String, String)>;

fn keyed_on_kong() -> Keyed {
    let kong = kong();
    let with_key = list(&kong["consumers"]).iter().filter(|one| !one["keyauth_credentials"].is_null());
    with_key.map(|one| (text(&one["username"]).into(), (key_on_kong(one), tier_on_kong(one)))).collect()
}

fn key_on_kong(consumer: &Value) -> String {
    text(&consumer["keyauth_credentials"][0]["key"]).into()
}

/// The tier in the consumer's tag; the acl group must say the same.
fn tier_on_kong(consumer: &Value) -> String {
    let tier = text(&consumer["tags"][0]).strip_prefix("tier:").expect("a tag tier:…");
    assert_eq!(consumer["acls"], json!([{ "group": tier }]), "{consumer}");
    tier.into()
}

fn tier_on_envoy(http: &Value, consumer: &str) -> String {
    let tiers = &envoy_filter(http, "composite")["xds_matcher"]["matcher_tree"]["exact_match_map"]["map"];
    let action = &tiers[consumer]["action"]["typed_config"]["typed_config"]["typed_config"];
    let header = &action["mutations"]["request_mutations"][0]["append"]["header"];
    assert_eq!(header["key"], "x-consumer-groups", "{consumer}");
    text(&header["value"]).into()
}

#[test]
fn kong_and_envoy_know_the_same_keys() {
    let http = envoy();
    let keys = &envoy_filter(&http, "api_key_auth")["extension_config"]["typed_config"]["credentials"];
    let on_envoy: Keyed = list(keys)
        .iter()
        .map(|one| (text(&one["client"]), text(&one["key"])))
        .map(|(client, key)| (client.to_owned(), (key.to_owned(), tier_on_envoy(&http, client))))
        .collect();
    let on_kong = keyed_on_kong();
    assert_eq!(on_kong, on_envoy);
    for (consumer, (key, _)) in on_kong {
        assert_eq!(key, sample::key(&consumer));
    }
}

#[test]
fn kong_and_envoy_take_the_same_tokens() {
    let (kong, http) = (kong(), envoy());
    let provider = &envoy_filter(&http, "jwt_authn")["providers"]["sample_issuer"];
    assert_eq!(provider["issuer"], sample::ISSUER);
    let keys: Value = serde_json::from_str(text(&provider["local_jwks"]["inline_string"])).unwrap();
    let secret = URL_SAFE_NO_PAD.decode(text(&keys["keys"][0]["k"])).unwrap();
    assert_eq!(secret, sample::SECRET.as_bytes());

    assert_eq!(plugin(&service(), "jwt")["key_claim_name"], provider["claim_to_headers"][0]["claim_name"]);
    let with_token: Vec<&Value> =
        list(&kong["consumers"]).iter().filter(|one| !one["jwt_secrets"].is_null()).collect();
    assert!(!with_token.is_empty());
    for consumer in with_token {
        let name = text(&consumer["username"]);
        let wanted = json!([{ "key": name, "algorithm": "HS256", "secret": sample::SECRET }]);
        assert_eq!(consumer["jwt_secrets"], wanted);
        assert_eq!(tier_on_kong(consumer), tier_on_envoy(&http, name));
    }
}

#[test]
fn every_tier_has_a_sample_consumer() {
    let policy = policy_on_envoy();
    let tiers: BTreeSet<String> = policy["tiers"].as_object().unwrap().keys().cloned().collect();
    let of_consumers: BTreeSet<String> = keyed_on_kong().into_values().map(|(_, tier)| tier).collect();
    assert_eq!(tiers, of_consumers);
    let mut callers = words(&plugin(&service(), "acl")["allow"]);
    assert!(callers.remove("anonymous"));
    assert_eq!(tiers, callers);
}

#[test]
fn kong_and_envoy_serve_the_same_paths_to_the_same_browsers() {
    let (service, http) = (service(), envoy());
    let host = &http["route_config"]["virtual_hosts"][0];
    let on_envoy: BTreeSet<String> =
        list(&host["routes"]).iter().map(|route| format!("~{}$", text(&route["match"]["path"]))).collect();
    let on_kong: BTreeSet<String> =
        list(&service["routes"]).iter().map(|route| text(&route["paths"][0]).to_owned()).collect();
    assert_eq!(on_kong, on_envoy);
    assert!(list(&service["routes"]).iter().all(|route| route["strip_path"] == false));

    let policy = &host["typed_per_filter_config"]["envoy.filters.http.cors"];
    let cors = plugin(&service, "cors");
    assert_eq!(cors["origins"], json!([sample::ORIGIN]));
    assert_eq!(policy["allow_origin_string_match"], json!([{ "exact": sample::ORIGIN }]));
    assert_eq!(words(&cors["methods"]), words(&policy["allow_methods"]));
    assert_eq!(words(&cors["headers"]), words(&policy["allow_headers"]));
    assert_eq!(words(&cors["exposed_headers"]), words(&policy["expose_headers"]));
    assert_eq!(cors["max_age"].to_string(), text(&policy["max_age"]));
    let hidden = &plugin(&service, "request-transformer")["remove"]["headers"];
    assert_eq!(*hidden, http["route_config"]["request_headers_to_remove"]);
}

#[test]
fn kong_lets_anonymous_clients_in_and_nobody_lie() {
    let (kong, service) = (kong(), service());
    for auth in ["key-auth", "jwt"] {
        let anonymous = &plugin(&service, auth)["anonymous"];
        let consumer = list(&kong["consumers"]).iter().find(|one| one["username"] == *anonymous).unwrap();
        assert!(consumer["keyauth_credentials"].is_null() && consumer["jwt_secrets"].is_null());
        assert!(words(&plugin(&service, "acl")["allow"]).contains(text(&consumer["acls"][0]["group"])));
    }
    // At the top level a plugin is global: it runs on every route, even on those without authentication.
    let before = text(&plugin(&kong, "pre-function")["access"][0]);
    let claims =
        ["^x%-consumer%-", "^x%-credential%-", "x-anonymous-consumer", "^x%-quota%-", "^x%-ratelimit%-"];
    for name in claims {
        assert!(before.contains(name), "{name}");
    }
    let after = text(&plugin(&kong, "post-function")["access"][0]);
    let policy = &named(&service["filter_chains"][0]["filters"], FILTER)["config"];
    for source in ["consumer", "tier"] {
        let property = text(&policy["identity"][source][0]["property"]);
        assert!(after.contains(&format!("{property} =")), "{property}");
    }
}

#[test]
fn the_composed_kong_finds_the_filter_its_memory_and_its_upstream() {
    let compose = compose();
    let kong = &compose["services"]["kong"];
    let environment = &kong["environment"];
    assert_eq!(environment["KONG_WASM"], "on");
    assert_eq!(environment["KONG_DATABASE"], "off");
    let zone = format!("KONG_NGINX_WASM_SHM_KV_{}", FILTER.to_uppercase());
    let mebibytes: u64 = text(&environment[zone.as_str()]).strip_suffix('m').unwrap().parse().unwrap();
    let clients = policy_on_envoy()["memory"]["clients"].as_u64().and_then(|clients| clients.try_into().ok());
    assert!(mebibytes >= Geometry::for_clients(clients.unwrap()).zone_mebibytes());

    let filters = text(&environment["KONG_WASM_FILTERS_PATH"]);
    let mounts: BTreeMap<&str, &str> = list(&kong["volumes"])
        .iter()
        .map(|mount| text(mount).strip_suffix(":ro").expect("mounted read-only").split_once(':').unwrap())
        .map(|(here, there)| (there, here))
        .collect();
    for file in ["tollgate.wasm", "tollgate.meta.json"] {
        assert_eq!(mounts[format!("{filters}/{file}").as_str()], format!("../dist/{file}"));
    }
    assert_eq!(mounts[text(&environment["KONG_DECLARATIVE_CONFIG"])], "./kong.yml");

    let url = service();
    let (host, port) = text(&url["url"]).strip_prefix("http://").unwrap().split_once(':').unwrap();
    let upstream = &compose["services"][host];
    assert_eq!(list(&upstream["command"]).last().unwrap(), port);
    assert_eq!(kong["depends_on"][host]["condition"], "service_healthy");
}

#[test]
fn the_composed_store_is_beside_kong_and_nobody_waits_in_a_circle() {
    let compose = compose();
    let (kong, store) = (&compose["services"]["kong"], &compose["services"]["store"]);
    assert_eq!(store["network_mode"], "service:kong");
    assert!(kong["depends_on"]["store"].is_null(), "the store needs Kong's network");
    assert_eq!(store["depends_on"]["redis"]["condition"], "service_healthy");
    assert_eq!(store["depends_on"]["kong"]["condition"], "service_started");
    let command: Vec<&str> = list(&store["command"]).iter().map(text).collect();
    let (host, port) = STORE;
    let listen = format!("{host}:{port}");
    let [program, "store", "--listen", on, "--backend", backend] = command[..] else { panic!("{command:?}") };
    assert_eq!(on, listen);
    assert_eq!(store["volumes"], json!([format!("../dist/tollgate:{program}:ro")]));
    let redis = backend.strip_prefix("redis://").and_then(|at| at.strip_suffix(":6379")).unwrap();
    let redis: Vec<&str> = list(&compose["services"][redis]["command"]).iter().map(text).collect();
    assert!(redis.windows(2).any(|pair| pair == ["--appendonly", "yes"]), "{redis:?}");
}

#[test]
fn the_composed_stores_health_is_whether_it_is_ready() {
    let store = Store::start("memory").unwrap();
    let compose = compose();
    let test: Vec<&str> =
        list(&compose["services"]["store"]["healthcheck"]["test"]).iter().map(text).collect();
    let ["CMD", program, "-c", script] = test[..] else { panic!("{test:?}") };
    let (_, port) = STORE;
    let healthy = |path: &str| {
        let script = script.replace(&port.to_string(), &store.address().port().to_string());
        let script = script.replace("/readyz", path);
        Command::new(program).args(["-c", &script]).stderr(Stdio::null()).status().unwrap().success()
    };
    assert!(script.contains("/readyz") && healthy("/readyz"));
    assert!(!healthy("/nowhere"));
}

#[test]
fn every_composed_service_is_pinned_healthy_and_on_loopback() {
    for (name, service) in compose()["services"].as_object().unwrap() {
        let (_, version) = text(&service["image"]).split_once(':').expect("an image with a version");
        assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{name}: {version}");
        assert!(service["healthcheck"]["test"].is_array(), "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(text(port).starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
}

#[test]
fn both_sample_upstreams_answer_alike() {
    let ours = Upstream::on_loopback().unwrap();
    let (_script, theirs) = script();
    let mut request = Request::new("POST", "/a//b/../c?d=%20e")
        .header("Content-Length", "0")
        .header("X-Twice", "1")
        .header("x-twice", b"\xff")
        .header("X-Sample-Response-Header", "X-RateLimit-Limit: 7")
        .header("X-Sample-Response-Header", "Cache-Control: public, max-age=60");
    for junk in 0..200 {
        request = request.header(&format!("x-junk-{junk}"), "junk");
    }
    let mut answers = [ours.address(), theirs].map(|upstream| {
        let answer = Client::to(upstream).send(&request).unwrap();
        let mut body = answer.json();
        body["headers"]["host"].take();
        let names = ["content-type", "x-ratelimit-limit", "cache-control"];
        let headers = names.map(|name| answer.header(name).map(str::to_owned));
        (answer.status, headers, body)
    });
    let [rust, python] = &mut answers;
    assert_eq!(rust, python);
}

/// Starts `kong/upstream.py` on a free port.
fn script() -> (Process, SocketAddr) {
    let (output, input) = std::io::pipe().unwrap();
    let mut command = Command::new("python3");
    command.arg(workspace::root().join("kong/upstream.py")).args(["127.0.0.1", "0"]);
    command.stdout(input).stdin(Stdio::null());
    let process = Process::start(command).expect("python3 is installed");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    let port = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let up = || Client::to(address).get("/health").ok();
    wait::until("the script to serve", Duration::from_secs(10), up).unwrap();
    (process, address)
}
