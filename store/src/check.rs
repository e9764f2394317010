//! Checks the policies in a file: a bare policy, or every one in a configuration of Kong or Envoy.
//!
//! ```text
//! text ──yaml──▶ tree of nodes with lines ──find──▶ policies in it ──Policy::from_json──▶ lines to print
//! ```

mod find;
mod tree;
mod yaml;

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;
use tollgate::capability;
use tollgate::policy::{Policy, Problem};

use self::find::{Found, Granted};
use self::tree::{Content, Node};

/// The largest file that is read.
const MAX_BYTES: u64 = 32 << 20;

/// One thing to say about a file; displayed as `line: path: text`.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The line of the file that it is about, from 1.
    pub number: usize,
    /// What in the file: `services[0].filter_chains[0].filters[0].config.tiers.pro.rate`; empty: the whole.
    pub path: String,
    /// What kind of thing it is.
    pub kind: Kind,
    /// The thing.
    pub text: String,
}

/// What [`Line`]s say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What is wrong, and what to write instead.
    Wrong,
    /// What works, but perhaps not as its author thinks.
    Warning,
    /// That a policy can work, and what it is.
    Passed,
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.number)?;
        if !self.path.is_empty() {
            write!(out, "{}: ", self.path)?;
        }
        match self.kind {
            Kind::Wrong => {}
            Kind::Warning => out.write_str("warning: ")?,
            Kind::Passed => out.write_str("ok: ")?,
        }
        out.write_str(&self.text)
    }
}

/// The bytes of `file`.
///
/// # Errors
/// That it cannot be read, or is too large to be what it should be.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 32 MiB"));
    }
    Ok(text)
}

/// What is to be said about a file's text, in the order of its lines.
#[must_use]
pub fn check(text: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut said = Lines(&mut lines);
    match std::str::from_utf8(text) {
        Ok(text) => check_text(text, &mut said),
        Err(error) => {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let number = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
            said.wrong(number, "", "the file is not UTF-8 text; save it as UTF-8".to_owned());
        }
    }
    lines.sort_by_key(|line| line.number);
    lines
}

fn check_text(text: &str, said: &mut Lines<'_>) {
    let file = match yaml::read(text) {
        Ok(file) => file,
        Err(fault) => return said.wrong(fault.line, "", fault.message),
    };
    for twice in file.twice {
        said.wrong(twice.line, &twice.path, "is written twice; keep one of them".to_owned());
    }
    let policies: Vec<Found<'_>> =
        file.documents.iter().flat_map(|document| find::policies(document)).collect();
    if policies.is_empty() {
        said.wrong(1, "", find::NOTHING.to_owned());
    }
    for policy in &policies {
        check_policy(policy, said);
    }
}

/// Envoy answers a call that is not granted with an error, and leaves out a callback: the filter would load, and then not
/// work.
fn check_granted(granted: &Granted<'_>, said: &mut Lines<'_>) {
    let is_granted = |name: &&str| granted.names.iter().any(|field| field.name == **name);
    let missing: Vec<&str> = capability::all().filter(|name| !is_granted(name)).collect();
    if !missing.is_empty() {
        let text =
            format!("the filter does not work without {}; add each as `NAME: {{}}`", missing.join(", "));
        said.wrong(granted.line, &granted.path, text);
    }
    for field in granted.names.iter().filter(|field| capability::all().all(|name| name != field.name)) {
        let text = "the filter does not use it; leave it out".to_owned();
        said.warning(field.line, tree::join(&granted.path, &tree::step(&field.name)), text);
    }
}

fn check_policy(found: &Found<'_>, said: &mut Lines<'_>) {
    if let Some(granted) = &found.granted {
        check_granted(granted, said);
    }
    let Some(node) = found.policy else {
        return said.wrong(found.line, &found.path, found.instead_of_a_policy.to_owned());
    };
    let (text, lines) = match &node.content {
        // JSON text in a string, which is what the filter gets of it, too.
        Content::Scalar(Value::String(text)) => (text.clone(), inner(node, text)),
        _ => (node.to_value().to_string(), None),
    };
    let line_of = |problem: &Problem| match (&lines, node.text_from) {
        (Some(lines), Some(first)) => first.saturating_add(lines.line_of(&problem.path)).saturating_sub(1),
        (_, Some(_)) => found.line,
        (_, None) => node.line_of(&problem.path),
    };
    match Policy::from_json(text.as_bytes()) {
        Ok(policy) => said.passed(found, &policy),
        Err(problems) => {
            for problem in problems {
                let line = if problem.path.is_empty() { found.line } else { line_of(&problem) };
                said.wrong(line, &tree::join(&found.path, &problem.path), problem.message);
            }
        }
    }
}

/// The lines of JSON `text` that stands in `node` line by line.
fn inner(node: &Node, text: &str) -> Option<std::rc::Rc<Node>> {
    node.text_from?;
    yaml::read(text).ok()?.documents.into_iter().next()
}

/// Lines as they come.
struct Lines<'a>(&'a mut Vec<Line>);

impl Lines<'_> {
    fn wrong(&mut self, number: usize, path: &str, text: String) {
        self.0.push(Line { number, path: path.to_owned(), kind: Kind::Wrong, text });
    }

    fn warning(&mut self, number: usize, path: String, text: String) {
        self.0.push(Line { number, path, kind: Kind::Warning, text });
    }

    fn passed(&mut self, found: &Found<'_>, policy: &Policy) {
        let count =
            |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let text = format!(
            "namespace {}, {}, {}",
            policy.namespace,
            count(policy.tiers.len(), "tier"),
            count(policy.endpoints.len(), "endpoint rule")
        );
        self.0.push(Line { number: found.line, path: found.path.clone(), kind: Kind::Passed, text });
        if policy.store.is_none() && policy.tiers.iter().any(|tier| tier.monthly.is_some()) {
            let text =
                "without a store each node counts the month by itself, and loses the count when it stops";
            self.warning(found.line, found.path.clone(), text.to_owned());
        }
    }
}
