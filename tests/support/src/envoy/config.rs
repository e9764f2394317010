//! `envoy/envoy.yaml` as a value, and the changes that tests make to it.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::workspace;

/// A whole configuration of Envoy.
#[derive(Clone, Debug)]
pub struct Config(Value);

impl Config {
    /// The sample configuration on free loopback ports, in front of an upstream, with the built filter but without the store: a
    /// node alone.
    ///
    /// # Errors
    /// When the sample cannot be read or the filter has not been built.
    pub fn sample(upstream: SocketAddr) -> anyhow::Result<Self> {
        let config = Self::shared(upstream, SocketAddr::from(([127, 0, 0, 1], 9)))?;
        Ok(config.policy(|policy| {
            policy.as_object_mut().expect("a policy").remove("store");
        }))
    }

    /// The sample with its store, which listens at `store`.
    ///
    /// # Errors
    /// As [`Config::sample`].
    pub fn shared(upstream: SocketAddr, store: SocketAddr) -> anyhow::Result<Self> {
        let mut config = Self::on_loopback(upstream)?;
        config.send_to(1, store);
        let filter = workspace::filter()?;
        config.wasm()["vm_config"]["code"]["local"]["filename"] = filter.to_string_lossy().into();
        Ok(config)
    }

    /// The sample without Tollgate: only Envoy's own parts.
    ///
    /// # Errors
    /// When the sample cannot be read.
    pub fn without_filter(upstream: SocketAddr) -> anyhow::Result<Self> {
        let mut config = Self::on_loopback(upstream)?;
        config.filters().retain(|filter| filter["name"] != "tollgate");
        Ok(config)
    }

    fn on_loopback(upstream: SocketAddr) -> anyhow::Result<Self> {
        let mut config = Self::as_shipped()?;
        config.0["admin"]["address"]["socket_address"]["port_value"] = 0.into();
        config.send_to(0, upstream);
        Ok(config.listening(([127, 0, 0, 1], 0).into()))
    }

    /// Gives the store's cluster another address.
    #[must_use]
    pub fn with_store(mut self, store: SocketAddr) -> Self {
        self.send_to(1, store);
        self
    }

    /// Adds a cluster of a gRPC service.
    #[must_use]
    pub fn with_grpc_cluster(mut self, name: &str, at: SocketAddr) -> Self {
        let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let cluster = json!({
            "name": name,
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                http: {
                    "@type": format!("type.googleapis.com/{http}"),
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(at) } }] }],
            },
        });
        let clusters = self.0["static_resources"]["clusters"].as_array_mut();
        clusters.expect("the sample has clusters").push(cluster);
        self
    }

    /// Gives a cluster another address.
    fn send_to(&mut self, cluster: usize, to: SocketAddr) {
        let cluster = &mut self.0["static_resources"]["clusters"][cluster]["load_assignment"];
        cluster["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = address(to);
    }

    /// The sample configuration as it is in the repository.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn as_shipped() -> anyhow::Result<Self> {
        workspace::read_yaml("envoy/envoy.yaml").map(Self)
    }

    /// The whole configuration.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Moves the listener to another address.
    #[must_use]
    pub fn listening(mut self, on: SocketAddr) -> Self {
        self.listener()["address"] = address(on);
        self
    }

    /// Changes the policy.
    #[must_use]
    pub fn policy(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let text = &mut self.wasm()["configuration"]["value"];
        let mut policy = text.as_str().and_then(|text| serde_json::from_str(text).ok()).expect("JSON text");
        change(&mut policy);
        *text = policy.to_string().into();
        self
    }

    /// Sets a variable in the environment of the filter alone.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.wasm()["vm_config"]["environment_variables"] = json!({ "key_values": { name: value } });
        self
    }

    /// Writes the policy as a `Struct`, as YAML has it, instead of as JSON text.
    #[must_use]
    pub fn policy_as_struct(mut self) -> Self {
        let configuration = &mut self.wasm()["configuration"];
        let policy: Option<Value> =
            configuration["value"].as_str().and_then(|text| serde_json::from_str(text).ok());
        *configuration = json!({ "@type": "type.googleapis.com/google.protobuf.Struct", "value": policy });
        self
    }

    /// Grants everything to the filter, as Istio does: Envoy then makes the callbacks that do nothing, too.
    #[must_use]
    pub fn granting_everything(mut self) -> Self {
        self.wasm().as_object_mut().expect("settings").remove("capability_restriction_config");
        self
    }

    /// Changes the settings of the HTTP connection manager.
    #[must_use]
    pub fn http(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(self.manager());
        self
    }

    /// Routes every path to the upstream, and normalizes none on the way.
    #[must_use]
    pub fn taking_every_path(self) -> Self {
        self.http(|http| {
            http["normalize_path"] = false.into();
            http["merge_slashes"] = false.into();
            http["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED".into();
            http["route_config"]["virtual_hosts"][0]["routes"] =
                json!([{ "match": { "prefix": "/" }, "route": { "cluster": "sample_upstream" } }]);
        })
    }

    /// Sends every path that the sample does not route to an application.
    #[must_use]
    pub fn with_application(mut self, at: SocketAddr) -> Self {
        const NAME: &str = "application";
        let endpoint = json!({ "endpoint": { "address": address(at) } });
        let cluster = json!({
            "name": NAME,
            "connect_timeout": "5s",
            "load_assignment": { "cluster_name": NAME, "endpoints": [{ "lb_endpoints": [endpoint] }] },
        });
        let clusters = self.0["static_resources"]["clusters"].as_array_mut();
        clusters.expect("the sample has clusters").push(cluster);
        self.http(|http| {
            let routes = http["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
            let rest = json!({ "match": { "prefix": "/" }, "route": { "cluster": NAME } });
            routes.expect("the sample has routes").push(rest);
        })
    }

    /// JSON, which is YAML too. Envoy reads it as YAML, because a user's configuration is.
    pub(super) fn to_json(&self) -> String {
        self.0.to_string()
    }

    /// Splits the configuration into one without listeners, which `file` will bring instead, and the listeners.
    pub(super) fn split(&self, file: &Path) -> (String, Value) {
        let mut bootstrap = self.0.clone();
        let listeners = bootstrap["static_resources"]["listeners"].take();
        bootstrap["static_resources"]["listeners"] = json!([]);
        bootstrap["node"] = json!({ "id": "tollgate", "cluster": "tollgate" });
        bootstrap["dynamic_resources"]["lds_config"] = json!({
            "resource_api_version": "V3",
            "path_config_source": { "path": file, "watched_directory": { "path": file.parent() } },
        });
        (bootstrap.to_string(), listeners)
    }

    fn listener(&mut self) -> &mut Value {
        &mut self.0["static_resources"]["listeners"][0]
    }

    fn manager(&mut self) -> &mut Value {
        &mut self.listener()["filter_chains"][0]["filters"][0]["typed_config"]
    }

    fn filters(&mut self) -> &mut Vec<Value> {
        self.manager()["http_filters"].as_array_mut().expect("the sample has HTTP filters")
    }

    /// The settings of the Wasm plugin.
    fn wasm(&mut self) -> &mut Value {
        let mut filters = self.filters().iter_mut();
        let filter = filters.find(|filter| filter["name"] == "tollgate").expect("the sample has the filter");
        &mut filter["typed_config"]["config"]
    }
}

fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": of.ip(), "port_value": of.port() } })
}
