//! Reads YAML, and so JSON, as a tree that knows its lines.
//!
//! Plain scalars are read as the gateways read them, if these agree. What they read differently, such as `1_000`, `1:30` or
//! `.inf`, stays text, and so is refused where a number is expected.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::Value;

use super::tree::{Content, Field, Node, join, step};

/// How deep lists and mappings may be nested.
const MAX_DEPTH: usize = 100;

/// How many nodes aliases and merges may add to a file: all work takes time and memory in proportion to the file with every
/// alias written out.
const MAX_ALIASED: usize = 1_000_000;

/// This many bytes of a text or a key count as one more node.
const BYTES_A_NODE: usize = 16;

/// The content of a file.
#[derive(Debug)]
pub struct File {
    /// Its documents.
    pub documents: Vec<Rc<Node>>,
    /// The keys that are repeated in a mapping.
    pub twice: Vec<Twice>,
}

/// A key that its mapping already has.
#[derive(Debug)]
pub struct Twice {
    /// The line of the repetition.
    pub line: usize,
    /// The path of the key; only the first [`MAX_TWICE`] are kept apart.
    pub path: String,
}

/// The most repeated keys that are reported.
const MAX_TWICE: usize = 100;

/// The reason why a file cannot be read.
#[derive(Debug)]
pub struct Fault {
    /// The line of the mistake.
    pub line: usize,
    /// What to change.
    pub message: String,
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        let line = error.marker().line().max(1);
        Self { line, message: format!("this is not YAML: {}", error.info()) }
    }
}

/// Reads a file.
///
/// # Errors
/// The first mistake that makes it unreadable.
pub fn read(text: &str) -> Result<File, Fault> {
    let mut builder = Builder::default();
    // Some editors put a byte order mark first; it means nothing.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        builder.take(event, span)?;
    }
    Ok(File { documents: builder.documents, twice: builder.twice })
}

#[derive(Default)]
struct Builder {
    documents: Vec<Rc<Node>>,
    twice: Vec<Twice>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    /// The size of what the file itself contains.
    written: usize,
    /// The size of what merges have copied.
    merged: usize,
}

/// A list or mapping that is not complete yet.
struct Open {
    line: usize,
    anchor: usize,
    holds: Holds,
}

enum Holds {
    List(Vec<Rc<Node>>),
    Map { fields: Vec<Field>, names: HashSet<String>, key: Option<(String, usize)> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line().max(1);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                // A literal block's span begins at its `|`; of a folded block the lines can no longer be found.
                let text_from = (style == ScalarStyle::Literal).then(|| line.saturating_add(1));
                let size = size_of(&text);
                self.written = self.written.saturating_add(size);
                if let Some(Open { holds: Holds::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
                    *key = Some((text.into_owned(), line));
                    return Ok(());
                }
                let content = Content::Scalar(scalar(&text, style, tag.as_deref()));
                self.put(Node { line, text_from, content, size, depth: 1 }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    let message = "what this alias means is not complete before it; write it out".to_owned();
                    return Err(Fault { line, message });
                };
                self.put_shared(node, line)
            }
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, Holds::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                let holds = Holds::Map { fields: Vec::new(), names: HashSet::new(), key: None };
                self.begin(line, anchor, holds)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::DocumentStart(_) | Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, holds: Holds) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault {
                line,
                message: format!("more than {MAX_DEPTH} lists and mappings in each other"),
            });
        }
        if let Some(Open { holds: Holds::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(Fault {
                line,
                message: "a list or a mapping cannot be a key; write a text".to_owned(),
            });
        }
        self.open.push(Open { line, anchor, holds });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Open { line, anchor, holds }) = self.open.pop() else { return Ok(()) };
        let content = match holds {
            Holds::List(entries) => Content::List(entries),
            Holds::Map { fields, names, .. } => Content::Map(self.merge(fields, names, line)?),
        };
        let (mut size, mut depth) = (1_usize, 1);
        let mut count = |node: &Node, name: &str| {
            size = size.saturating_add(node.size).saturating_add(name.len() / BYTES_A_NODE);
            depth = depth.max(node.depth.saturating_add(1));
        };
        match &content {
            Content::Scalar(_) => {}
            Content::List(entries) => entries.iter().for_each(|entry| count(entry, "")),
            Content::Map(fields) => fields.iter().for_each(|field| count(&field.value, &field.name)),
        }
        self.written = self.written.saturating_add(1);
        self.put(Node { line, text_from: None, content, size, depth }, anchor)
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        let line = node.line;
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.put_shared(node, line)
    }

    fn put_shared(&mut self, node: Rc<Node>, line: usize) -> Result<(), Fault> {
        self.within(node.size, line)?;
        // An alias refers to a node with a depth of its own.
        if node.depth.saturating_add(self.open.len()) > MAX_DEPTH.saturating_add(1) {
            return Err(Fault {
                line,
                message: format!("more than {MAX_DEPTH} lists and mappings in each other"),
            });
        }
        let is_told = self.twice.len() < MAX_TWICE;
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut open.holds {
            Holds::List(entries) => entries.push(node),
            Holds::Map { fields, names, key } => {
                let Some((name, line)) = key.take() else {
                    let message = "an alias cannot be a key; write it out".to_owned();
                    return Err(Fault { line, message });
                };
                let is_twice = name != "<<" && !names.insert(name.clone());
                fields.push(Field { name, line, value: node });
                if is_twice && is_told {
                    let path = self.place();
                    self.twice.push(Twice { line, path });
                }
            }
        }
        Ok(())
    }

    /// Checks that `size`, with aliases written out, is not much more than what the file contains.
    fn within(&self, size: usize, line: usize) -> Result<(), Fault> {
        if size.saturating_add(self.merged) <= self.written.saturating_add(MAX_ALIASED) {
            return Ok(());
        }
        let message = format!("written out, the aliases here make more than {MAX_ALIASED} values; use fewer");
        Err(Fault { line, message })
    }

    /// Copies the fields that `<<` refers to and that the mapping does not have itself, as Kong does.
    fn merge(
        &mut self,
        fields: Vec<Field>,
        mut names: HashSet<String>,
        line: usize,
    ) -> Result<Vec<Field>, Fault> {
        if fields.iter().all(|field| field.name != "<<") {
            return Ok(fields);
        }
        let (merges, mut fields): (Vec<Field>, Vec<Field>) =
            fields.into_iter().partition(|field| field.name == "<<");
        for merge in &merges {
            let entries = merge.value.entries().iter().flat_map(|entry| entry.fields());
            for field in merge.value.fields().iter().chain(entries) {
                self.merged = self.merged.saturating_add(size_of(&field.name));
                self.within(0, line)?;
                if names.insert(field.name.clone()) {
                    fields.push(field.clone());
                }
            }
        }
        Ok(fields)
    }

    /// The path of the value that was added last.
    fn place(&self) -> String {
        self.open.iter().fold(String::new(), |path, open| match &open.holds {
            Holds::List(entries) => format!("{path}[{}]", entries.len()),
            Holds::Map { key: Some((name, _)), .. } => join(&path, &step(name)),
            Holds::Map { fields, .. } => {
                join(&path, &fields.last().map(|field| step(&field.name)).unwrap_or_default())
            }
        })
    }
}

/// The size of a text, in nodes.
fn size_of(text: &str) -> usize {
    (text.len() / BYTES_A_NODE).saturating_add(1)
}

/// The value of a scalar.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || is_text {
        return Value::from(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    number(text).unwrap_or_else(|| Value::from(text))
}

/// Reads a number: decimal, octal with a leading 0, or hexadecimal; a point is allowed, but no exponent.
fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let negative = text.starts_with('-');
    let integer = |digits: &str, radix| {
        let value = i64::from_str_radix(digits, radix).ok()?;
        Some(Value::from(if negative { value.checked_neg()? } else { value }))
    };
    let all = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if let Some(hexadecimal) = digits.strip_prefix("0x").filter(|rest| !rest.starts_with(['-', '+'])) {
        return integer(hexadecimal, 16);
    }
    if let Some((whole, fraction)) = digits.split_once('.') {
        return (all(whole) && all(fraction)).then(|| text.parse::<f64>().ok().map(Value::from))?;
    }
    if !all(digits) {
        return None;
    }
    integer(digits, if digits.len() > 1 && digits.starts_with('0') { 8 } else { 10 })
}
