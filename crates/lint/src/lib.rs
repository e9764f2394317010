//! Checks the policies in a file: a bare policy, or every policy in a configuration of Kong or Envoy.
//!
//! ```text
//! text ──tollgate_yaml──▶ tree of nodes with lines ──find──▶ policies in it ──Policy::from_json──▶ lines to print
//! ```
//!
//! Time and memory are in proportion to the file: a path is written out only for what is reported, and both the aliases
//! and the reports are bounded.

mod envoy;
mod find;
mod lines;

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;
use tollgate_core::policy::{Policy, Problem};
use tollgate_yaml::{self as yaml, Content, Node, join};

use self::envoy::Clusters;
use self::find::{Found, MAX_POLICIES};
use self::lines::Lines;
pub use self::lines::{Kind, Line};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 32 << 20;

/// The bytes of `file`.
///
/// # Errors
/// The file cannot be read, or is too large to be a configuration.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 32 MiB"));
    }
    Ok(text)
}

/// The report about a file's text, in the order of its lines.
#[must_use]
pub fn lint(text: &[u8]) -> Vec<Line> {
    let mut said = Lines::default();
    read_text(text, &mut said, &mut |_, _| {});
    said.sorted()
}

/// The policies in a file's text, each with its line.
///
/// # Errors
/// What is wrong with it.
pub fn policies(text: &[u8]) -> Result<Vec<(usize, Policy)>, Vec<Line>> {
    let mut found = Vec::new();
    let mut said = Lines::default();
    read_text(text, &mut said, &mut |line, policy| found.push((line, policy.clone())));
    let lines = said.sorted();
    if lines.iter().any(|line| line.kind == Kind::Wrong) { Err(lines) } else { Ok(found) }
}

/// Adds the report about `text` to `said`. `each` gets the valid policies, in the file's order.
fn read_text(text: &[u8], said: &mut Lines, each: &mut dyn FnMut(usize, &Policy)) {
    match std::str::from_utf8(text) {
        Ok(text) => check_text(text, said, each),
        Err(error) => {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let number = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
            said.wrong(number, "", "the file is not UTF-8 text; save it as UTF-8".to_owned());
        }
    }
}

fn check_text(text: &str, said: &mut Lines, each: &mut dyn FnMut(usize, &Policy)) {
    let file = match yaml::read(text) {
        Ok(file) => file,
        Err(fault) => return said.wrong(fault.line, "", fault.message),
    };
    for twice in &file.twice {
        said.wrong(twice.line, &twice.path, "is written twice; keep one of them".to_owned());
    }
    let mut read = HashMap::new();
    let mut managers = HashSet::new();
    let mut found = 0_usize;
    for document in &file.documents {
        let clusters = Clusters::of(document);
        let policies = find::policies(document);
        found = found.saturating_add(policies.len());
        for policy in policies.iter().take(MAX_POLICIES) {
            if let Some(granted) = policy.envoy.as_ref().and_then(|envoy| envoy.granted.as_ref()) {
                envoy::check_granted(granted, said);
            }
            let Some(read) = read_policy(policy, &mut read) else {
                said.wrong(policy.line, &policy.path, policy.instead_of_a_policy.to_owned());
                continue;
            };
            check_policy(policy, &read, &clusters, said);
            let Ok(read) = &read.policy else { continue };
            each(policy.line, read);
            // One connection manager may contain several of the filters.
            let manager = policy.envoy.as_ref().and_then(|envoy| envoy.manager.as_ref());
            if let Some(manager) = manager.filter(|_| envoy::limits_addresses(read))
                && managers.insert(std::ptr::from_ref(manager.node))
            {
                envoy::check_address(manager, said);
            }
        }
    }
    if found > MAX_POLICIES {
        said.wrong(1, "", format!("there are more than {MAX_POLICIES} policies here; write several files"));
    }
    if found == 0 {
        said.wrong(1, "", find::NOTHING.to_owned());
    }
    if let [first, second, ..] = file.documents.as_slice()
        && ["_format_version", "static_resources", "staticResources"]
            .iter()
            .any(|name| first.get(name).is_some())
    {
        let text = "the gateway reads the first document of a file alone; write this one into another file"
            .to_owned();
        said.warning(second.line, "", text);
    }
}

/// A policy as it was read, and the lines of its text if the file has it as text.
struct Judged {
    policy: Result<Policy, Vec<Problem>>,
    lines: Option<Rc<Node>>,
}

impl Judged {
    fn of(node: &Node) -> Self {
        let (text, lines) = match &node.content {
            // The string is JSON text, and the filter gets it as it is.
            Content::Scalar(Value::String(text)) => (text.clone(), inner(node, text)),
            _ => (node.to_value().to_string(), None),
        };
        Self { policy: Policy::from_json(text.as_bytes()), lines }
    }

    /// The line of `path` in the policy in `node`.
    fn line_of(&self, node: &Node, found: &Found<'_>, path: &str) -> usize {
        match (&self.lines, node.text_from) {
            _ if path.is_empty() => found.line,
            (Some(lines), Some(first)) => first.saturating_add(lines.line_of(path)).saturating_sub(1),
            (_, Some(_)) => found.line,
            (_, None) => node.line_of(path),
        }
    }
}

/// Reads the policy of `found`. `read` holds earlier results, so a policy that many aliases refer to is read once.
fn read_policy(found: &Found<'_>, read: &mut HashMap<*const Node, Rc<Judged>>) -> Option<Rc<Judged>> {
    let node = found.policy?;
    Some(Rc::clone(read.entry(std::ptr::from_ref(node)).or_insert_with(|| Rc::new(Judged::of(node)))))
}

fn check_policy(found: &Found<'_>, read: &Judged, clusters: &Clusters<'_>, said: &mut Lines) {
    let Some(node) = found.policy else { return };
    match &read.policy {
        Ok(policy) => {
            said.passed(found.line, &found.path, policy);
            if found.envoy.is_some() {
                let upstream = "store.upstream";
                let at = || (read.line_of(node, found, upstream), join(&found.path, upstream));
                clusters.check(policy, at, said);
            }
        }
        Err(problems) => {
            for problem in problems {
                let line = read.line_of(node, found, &problem.path);
                said.wrong(line, &join(&found.path, &problem.path), problem.message.clone());
            }
        }
    }
}

/// The lines of JSON `text` in `node`, if it is there line by line.
fn inner(node: &Node, text: &str) -> Option<Rc<Node>> {
    node.text_from?;
    yaml::read(text).ok()?.documents.into_iter().next()
}
