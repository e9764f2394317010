//! Checks what has to match a policy in a configuration of Envoy: the capabilities, the store's cluster, and where the
//! client's address comes from.

use tollgate_core::capability;
use tollgate_core::policy::{Enforcement, Policy};
use tollgate_core::tier::OnFailure;
use tollgate_yaml::{Content, Node, join, step};

use super::find::{Granted, Manager};
use super::lines::Lines;

/// The advice on how to read a client's address.
const ADDRESS: &str =
    "write use_remote_address: true; with N proxies of your own in front also xff_num_trusted_hops: N";

/// The clusters of a document that lists them all; `None` if others may come by CDS, or from another file.
pub struct Clusters<'a>(Option<Vec<&'a str>>);

impl<'a> Clusters<'a> {
    /// The clusters of `document`.
    pub fn of(document: &'a Node) -> Self {
        let resources = document.either("static_resources", "staticResources");
        let dynamic = document.either("dynamic_resources", "dynamicResources");
        let by_cds = dynamic.is_some_and(|dynamic| {
            let sources = [("cds_config", "cdsConfig"), ("cds_resources_locator", "cdsResourcesLocator")];
            sources.iter().any(|(snake, camel)| dynamic.value.either(snake, camel).is_some())
        });
        let Some(resources) = resources.filter(|_| !by_cds) else { return Self(None) };
        let clusters = resources.value.get("clusters").map(Node::entries).unwrap_or_default();
        Self(Some(clusters.iter().filter_map(|cluster| cluster.get("name")?.text()).collect()))
    }

    /// Checks that the store's cluster is one of them.
    pub fn check(&self, policy: &Policy, at: impl FnOnce() -> (usize, String), said: &mut Lines) {
        const SHOWN: usize = 10;
        let (Some(clusters), Some(store)) = (&self.0, &policy.store) else { return };
        if clusters.contains(&store.upstream.as_str()) {
            return;
        }
        let advice = if clusters.is_empty() {
            "add it to static_resources.clusters".to_owned()
        } else {
            let more = if clusters.len() > SHOWN { ", …" } else { "" };
            let names: Vec<&str> = clusters.iter().copied().take(SHOWN).collect();
            format!("write one of {}{more}, or add it to static_resources.clusters", names.join(", "))
        };
        let (line, path) = at();
        let text = format!(
            "\"{}\" is no cluster of this file, so no call reaches the store; {advice}",
            store.upstream
        );
        said.wrong(line, &path, text);
    }
}

/// Checks the granted capabilities. Envoy fails a call that is not granted, and skips such a callback, so the filter
/// would load and then not work.
pub fn check_granted(granted: &Granted<'_>, said: &mut Lines) {
    let is_granted = |name: &&str| granted.names.iter().any(|field| field.name == **name);
    let missing: Vec<&str> = capability::all().filter(|name| !is_granted(name)).collect();
    if !missing.is_empty() {
        let text =
            format!("the filter does not work without {}; add each as `NAME: {{}}`", missing.join(", "));
        said.wrong(granted.line, &granted.path, text);
    }
    for field in granted.names.iter().filter(|field| capability::all().all(|name| name != field.name)) {
        let text = "the filter does not use it; leave it out".to_owned();
        said.warning(field.line, &join(&granted.path, &step(&field.name)), text);
    }
}

/// Checks that the clients of a connection manager cannot choose their own address.
pub fn check_address(manager: &Manager<'_>, said: &mut Lines) {
    let node = manager.node;
    let detections = node.either("original_ip_detection_extensions", "originalIpDetectionExtensions");
    let detections = detections.filter(|field| !field.value.entries().is_empty());
    if let Some(detections) = detections {
        if !detections.value.entries().iter().all(|entry| names_proxies(entry)) {
            let text = "the client's address is what a header says: nobody but proxies of your own, which overwrite it, may \
                        reach this listener"
                .to_owned();
            return said.warning(detections.line, &join(&manager.path, &detections.name), text);
        }
        return;
    }
    let remote = node.either("use_remote_address", "useRemoteAddress");
    if remote.is_some_and(|field| is_true(&field.value)) {
        return;
    }
    let (line, path) = match remote {
        Some(remote) => (remote.line, join(&manager.path, &remote.name)),
        None => (manager.line, join(&manager.path, "use_remote_address")),
    };
    check_hops(manager, line, &path, said);
}

/// Without `use_remote_address`, the client's address comes from X-Forwarded-For.
fn check_hops(manager: &Manager<'_>, line: usize, path: &str, said: &mut Lines) {
    let Some(hops) = manager.node.either("xff_num_trusted_hops", "xffNumTrustedHops") else {
        let text = format!(
            "is not true, so whoever writes another X-Forwarded-For with each request is a new client with each, and the \
             limits by address limit nobody; {ADDRESS}"
        );
        return said.wrong(line, path, text);
    };
    let hops = match &hops.value.content {
        Content::Scalar(value) => value.as_u64(),
        _ => None,
    };
    let proxies = hops.unwrap_or_default().saturating_add(1);
    let text = format!(
        "is not true, so whoever reaches this listener without passing {proxies} proxies of yours says itself which address it \
         has; write use_remote_address: true and xff_num_trusted_hops: {proxies}, which reads the same and counts them"
    );
    said.warning(line, path, text);
}

/// Whether `policy` limits anything by the client's address.
pub fn limits_addresses(policy: &Policy) -> bool {
    let of_store = policy.store.as_ref().is_some_and(|store| store.on_failure == OnFailure::Ip);
    let is_limited = !policy.anonymous.limits.is_empty();
    let of_tier = policy.tiers.iter().any(|tier| tier.on_failure == Some(OnFailure::Ip));
    policy.enforcement != Enforcement::Off && (is_limited || of_store || of_tier)
}

/// Whether an extension that detects addresses names the proxies to trust.
fn names_proxies(extension: &Node) -> bool {
    let config = extension.either("typed_config", "typedConfig");
    config.is_some_and(|config| config.value.either("xff_trusted_cidrs", "xffTrustedCidrs").is_some())
}

/// Whether the value is `true`, or the text that Envoy's reader accepts for it.
fn is_true(node: &Node) -> bool {
    match &node.content {
        Content::Scalar(value) => value.as_bool() == Some(true) || value.as_str() == Some("true"),
        _ => false,
    }
}
