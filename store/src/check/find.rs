//! Where in a configuration the policies are.

use super::tree::{Field, Node, join, step};

/// What is said where there is none.
pub const NOTHING: &str = "there is no policy here; looked for a policy itself (tiers, default_tier, anonymous), for \
                           Kong's filters and plugins with the name tollgate, and for Envoy's Wasm filters whose name, \
                           root_id or code has tollgate in it";

const NO_CONFIG: &str = "has no config, and the filter needs a policy; write config: { tiers: …, default_tier: …, \
                         anonymous: … }";
const NO_CONFIGURATION: &str = "has no configuration, and the filter needs a policy; write configuration: { \"@type\": \
                                type.googleapis.com/google.protobuf.Struct, value: { tiers: …, default_tier: …, \
                                anonymous: … } }";
const NO_VALUE: &str = "is not a policy that the filter gets; write { \"@type\": \
                        type.googleapis.com/google.protobuf.Struct, value: { tiers: …, default_tier: …, anonymous: … \
                        } }, or StringValue with the policy as JSON text";

/// A policy, or the place where one is missing.
pub struct Found<'a> {
    /// The path in the file.
    pub path: String,
    /// The line that it begins on.
    pub line: usize,
    /// The policy.
    pub policy: Option<&'a Node>,
    /// What to say if there is none.
    pub instead_of_a_policy: &'static str,
    /// What Envoy grants the filter, if it does not grant everything.
    pub granted: Option<Granted<'a>>,
}

/// The capabilities that Envoy is told to grant.
pub struct Granted<'a> {
    /// The path in the file.
    pub path: String,
    /// The line that they begin on.
    pub line: usize,
    /// Them, by name.
    pub names: &'a [Field],
}

/// Every policy of a document.
pub fn policies(document: &Node) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    search(document, &Place { path: String::new(), line: document.line, of_tollgate: false }, &mut found);
    let is_policy = ["tiers", "default_tier", "anonymous"].iter().any(|name| document.get(name).is_some());
    if found.is_empty() && is_policy {
        found.push(Found {
            path: String::new(),
            line: document.line,
            policy: Some(document),
            instead_of_a_policy: "",
            granted: None,
        });
    }
    found
}

/// Where the search is.
struct Place {
    path: String,
    line: usize,
    /// Inside of a filter that is called Tollgate's.
    of_tollgate: bool,
}

impl Place {
    fn then(&self, name: &str, line: usize, of_tollgate: bool) -> Self {
        Self { path: join(&self.path, name), line, of_tollgate }
    }
}

fn search<'a>(node: &'a Node, place: &Place, found: &mut Vec<Found<'a>>) {
    for (index, entry) in node.entries().iter().enumerate() {
        search(entry, &place.then(&format!("[{index}]"), entry.line, place.of_tollgate), found);
    }
    if is_plugin(node) && (place.of_tollgate || is_called_tollgate(node)) {
        found.push(envoys(node, place));
        return;
    }
    for field in node.fields() {
        let here = place.then(&step(&field.name), field.line, place.of_tollgate);
        match field.name.as_str() {
            "filters" | "plugins" => kongs(&field.value, &here, found),
            "typed_config" | "typedConfig" => {
                let of_tollgate = place.of_tollgate || names_tollgate(node.get("name"));
                search(&field.value, &Place { of_tollgate, ..here }, found);
            }
            "typed_per_filter_config" | "typedPerFilterConfig" => {
                for filter in field.value.fields() {
                    let of_tollgate = mentions_tollgate(&filter.name);
                    search(&filter.value, &here.then(&step(&filter.name), filter.line, of_tollgate), found);
                }
            }
            _ => search(&field.value, &here, found),
        }
    }
}

/// A list of Kong's filters or plugins, or of something else that goes by such a name.
fn kongs<'a>(list: &'a Node, place: &Place, found: &mut Vec<Found<'a>>) {
    for (index, entry) in list.entries().iter().enumerate() {
        let place = place.then(&format!("[{index}]"), entry.line, place.of_tollgate);
        if entry.get("name").and_then(Node::text) != Some("tollgate") || entry.get("typed_config").is_some() {
            search(entry, &place, found);
            continue;
        }
        let config = entry.field("config");
        found.push(Found {
            path: if config.is_some() { join(&place.path, "config") } else { place.path },
            line: config.map_or(place.line, |config| config.line),
            policy: config.map(|config| config.value.as_ref()),
            instead_of_a_policy: NO_CONFIG,
            granted: None,
        });
    }
}

/// The policy of one of Envoy's Wasm plugins.
fn envoys<'a>(plugin: &'a Node, place: &Place) -> Found<'a> {
    let granted = granted(plugin, place);
    let Some(configuration) = plugin.field("configuration") else {
        return Found {
            path: place.path.clone(),
            line: place.line,
            policy: None,
            instead_of_a_policy: NO_CONFIGURATION,
            granted,
        };
    };
    let kind = configuration.value.get("@type").and_then(Node::text).unwrap_or_default();
    let is_text = kind.ends_with("/google.protobuf.StringValue");
    let is_struct = kind.ends_with("/google.protobuf.Struct");
    let value = configuration.value.field("value").filter(|field| {
        (is_text && field.value.text().is_some()) || (is_struct && field.value.text().is_none())
    });
    let path = join(&place.path, "configuration");
    Found {
        path: if value.is_some() { join(&path, "value") } else { path },
        line: value.map_or(configuration.line, |value| value.line),
        policy: value.map(|value| value.value.as_ref()),
        instead_of_a_policy: NO_VALUE,
        granted,
    }
}

/// What a plugin is granted. An empty list is Envoy's word for everything.
fn granted<'a>(plugin: &'a Node, place: &Place) -> Option<Granted<'a>> {
    let either = |node: &'a Node, names: [&str; 2]| names.into_iter().find_map(|name| node.field(name));
    let restriction = either(plugin, ["capability_restriction_config", "capabilityRestrictionConfig"])?;
    let allowed = either(&restriction.value, ["allowed_capabilities", "allowedCapabilities"])?;
    let names = allowed.value.fields();
    let path = join(&join(&place.path, &restriction.name), &allowed.name);
    (!names.is_empty()).then_some(Granted { path, line: allowed.line, names })
}

/// Whether this is the `config` of a Wasm filter of Envoy's.
fn is_plugin(node: &Node) -> bool {
    let is_any = |configuration: &Node| configuration.get("@type").is_some();
    ["vm_config", "vmConfig"].iter().any(|name| node.get(name).is_some())
        || node.get("configuration").is_some_and(is_any)
}

fn is_called_tollgate(plugin: &Node) -> bool {
    let names = ["name", "root_id", "rootId"];
    let code = ["vm_config", "vmConfig"].iter().find_map(|name| plugin.get(name)?.get("code"));
    names.iter().any(|name| names_tollgate(plugin.get(name))) || code.is_some_and(has_tollgate)
}

/// Whether a text in `code` mentions Tollgate: a file's name, a URL.
fn has_tollgate(code: &Node) -> bool {
    names_tollgate(Some(code)) || code.fields().iter().any(|field| has_tollgate(&field.value))
}

fn names_tollgate(node: Option<&Node>) -> bool {
    node.and_then(Node::text).is_some_and(mentions_tollgate)
}

fn mentions_tollgate(text: &str) -> bool {
    text.to_ascii_lowercase().contains("tollgate")
}
