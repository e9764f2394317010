//! Finds the policies in a configuration.

use std::fmt;

use tollgate_yaml::{Field, Node, join, step};

/// The most policies that a file may have.
pub const MAX_POLICIES: usize = 10_000;

/// The message for a file without a policy.
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
    /// Its path in the file.
    pub path: String,
    /// The line on which it begins.
    pub line: usize,
    /// The policy.
    pub policy: Option<&'a Node>,
    /// The message if there is no policy.
    pub instead_of_a_policy: &'static str,
    /// Envoy's part; `None` in a configuration of Kong, and for a bare policy.
    pub envoy: Option<Envoy<'a>>,
}

/// What Envoy's configuration says around a policy.
pub struct Envoy<'a> {
    /// What it grants the filter; `None` if it grants everything.
    pub granted: Option<Granted<'a>>,
    /// The connection manager that contains the filter, if it is in the file.
    pub manager: Option<Manager<'a>>,
}

/// The capabilities that Envoy is told to grant.
pub struct Granted<'a> {
    /// Their path in the file.
    pub path: String,
    /// The line on which they begin.
    pub line: usize,
    /// Their names.
    pub names: &'a [Field],
}

/// One of Envoy's HTTP connection managers.
pub struct Manager<'a> {
    /// Its path in the file.
    pub path: String,
    /// The line on which it begins.
    pub line: usize,
    /// Its configuration.
    pub node: &'a Node,
}

/// The policies of a document, at most one more than [`MAX_POLICIES`].
pub fn policies(document: &Node) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    search(document, &Place::root(document), &mut found);
    let is_policy = ["tiers", "default_tier", "anonymous"].iter().any(|name| document.get(name).is_some());
    if found.is_empty() && is_policy {
        found.push(Found {
            path: String::new(),
            line: document.line,
            policy: Some(document),
            instead_of_a_policy: "",
            envoy: None,
        });
    }
    found
}

/// The place of the search: a chain on the stack, written out only if something is found.
struct Place<'p, 'a> {
    parent: Option<&'p Self>,
    step: Step<'a>,
    line: usize,
    /// Whether this is inside of a filter that is called Tollgate's.
    of_tollgate: bool,
    /// The connection manager that contains this, and its place.
    manager: Option<(&'p Self, &'a Node)>,
}

/// The last part of a path.
enum Step<'a> {
    Root,
    Field(&'a str),
    Entry(usize),
}

impl<'p, 'a> Place<'p, 'a> {
    const fn root(document: &Node) -> Self {
        Self { parent: None, step: Step::Root, line: document.line, of_tollgate: false, manager: None }
    }

    const fn then(&'p self, step: Step<'a>, line: usize) -> Self {
        Self { parent: Some(self), step, line, of_tollgate: self.of_tollgate, manager: self.manager }
    }

    fn field(&'p self, field: &'a Field) -> Self {
        self.then(Step::Field(&field.name), field.line)
    }
}

impl fmt::Display for Place<'_, '_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(out, "{parent}")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Entry(index) => write!(out, "[{index}]"),
            Step::Field(name) => {
                let (name, is_first) = (step(name), self.parent.is_none_or(|parent| parent.parent.is_none()));
                let dot = if is_first || name.starts_with('[') { "" } else { "." };
                write!(out, "{dot}{name}")
            }
        }
    }
}

fn search<'a>(node: &'a Node, place: &Place<'_, 'a>, found: &mut Vec<Found<'a>>) {
    if found.len() > MAX_POLICIES {
        return;
    }
    for (index, entry) in node.entries().iter().enumerate() {
        search(entry, &place.then(Step::Entry(index), entry.line), found);
    }
    if is_plugin(node) && (place.of_tollgate || is_called_tollgate(node)) {
        found.push(envoys(node, place));
        return;
    }
    let is_manager = ["http_filters", "httpFilters"].iter().any(|name| node.get(name).is_some());
    for field in node.fields() {
        let mut here = place.field(field);
        if is_manager {
            here.manager = Some((place, node));
        }
        match field.name.as_str() {
            "filters" | "plugins" => kongs(&field.value, &here, found),
            "typed_config" | "typedConfig" => {
                here.of_tollgate |= names_tollgate(node.get("name"));
                search(&field.value, &here, found);
            }
            "typed_per_filter_config" | "typedPerFilterConfig" => {
                for filter in field.value.fields() {
                    let of_tollgate = mentions_tollgate(&filter.name);
                    search(&filter.value, &Place { of_tollgate, ..here.field(filter) }, found);
                }
            }
            _ => search(&field.value, &here, found),
        }
    }
}

/// Searches a list of Kong's filters or plugins, or of something else with that name.
fn kongs<'a>(list: &'a Node, place: &Place<'_, 'a>, found: &mut Vec<Found<'a>>) {
    for (index, entry) in list.entries().iter().enumerate() {
        let place = place.then(Step::Entry(index), entry.line);
        if entry.get("name").and_then(Node::text) != Some("tollgate") || entry.get("typed_config").is_some() {
            search(entry, &place, found);
            continue;
        }
        let config = entry.field("config");
        let here = config.map(|config| place.field(config));
        let here = here.as_ref().unwrap_or(&place);
        found.push(Found {
            path: here.to_string(),
            line: here.line,
            policy: config.map(|config| config.value.as_ref()),
            instead_of_a_policy: NO_CONFIG,
            envoy: None,
        });
    }
}

/// The policy of one of Envoy's Wasm plugins.
fn envoys<'a>(plugin: &'a Node, place: &Place<'_, 'a>) -> Found<'a> {
    let manager =
        place.manager.map(|(place, node)| Manager { path: place.to_string(), line: place.line, node });
    let envoy = Some(Envoy { granted: granted(plugin, place), manager });
    let Some(configuration) = plugin.field("configuration") else {
        return Found {
            path: place.to_string(),
            line: place.line,
            policy: None,
            instead_of_a_policy: NO_CONFIGURATION,
            envoy,
        };
    };
    let kind = configuration.value.get("@type").and_then(Node::text).unwrap_or_default();
    let is_text = kind.ends_with("/google.protobuf.StringValue");
    let is_struct = kind.ends_with("/google.protobuf.Struct");
    let value = configuration.value.field("value").filter(|field| {
        (is_text && field.value.text().is_some()) || (is_struct && field.value.text().is_none())
    });
    let path = join(&place.to_string(), "configuration");
    Found {
        path: if value.is_some() { join(&path, "value") } else { path },
        line: value.map_or(configuration.line, |value| value.line),
        policy: value.map(|value| value.value.as_ref()),
        instead_of_a_policy: NO_VALUE,
        envoy,
    }
}

/// The capabilities that a plugin gets. To Envoy an empty list means all of them.
fn granted<'a>(plugin: &'a Node, place: &Place<'_, 'a>) -> Option<Granted<'a>> {
    let restriction = plugin.either("capability_restriction_config", "capabilityRestrictionConfig")?;
    let allowed = restriction.value.either("allowed_capabilities", "allowedCapabilities")?;
    let names = allowed.value.fields();
    let path = join(&join(&place.to_string(), &restriction.name), &allowed.name);
    (!names.is_empty()).then_some(Granted { path, line: allowed.line, names })
}

/// Whether this is the `config` of an Envoy Wasm filter.
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

/// Whether a text in `code`, such as a file's name or a URL, mentions Tollgate.
fn has_tollgate(code: &Node) -> bool {
    names_tollgate(Some(code)) || code.fields().iter().any(|field| has_tollgate(&field.value))
}

fn names_tollgate(node: Option<&Node>) -> bool {
    node.and_then(Node::text).is_some_and(mentions_tollgate)
}

fn mentions_tollgate(text: &str) -> bool {
    text.to_ascii_lowercase().contains("tollgate")
}
