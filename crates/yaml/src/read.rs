//! Reads a text as a tree.
//!
//! Plain scalars are read as the gateways read them, if these agree. What they read differently, such as `1_000`, `1:30` or
//! `.inf`, stays text, and so is refused where a number is expected.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::Value;

use crate::tree::{Content, Field, Node, join, step};

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
    /// Its column.
    pub column: usize,
    /// The path of the key; only the first hundred are reported.
    pub path: String,
}

/// The most repeated keys that are reported.
const MAX_TWICE: usize = 100;

/// The reason why a file cannot be read.
#[derive(Debug)]
pub struct Fault {
    /// The line of the mistake.
    pub line: usize,
    /// Its column.
    pub column: usize,
    /// What to change.
    pub message: String,
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        let at = Position::of(error.marker());
        Self { line: at.line, column: at.column, message: format!("this is not YAML: {}", error.info()) }
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

/// A place in the text.
#[derive(Clone, Copy)]
struct Position {
    line: usize,
    column: usize,
}

impl Position {
    /// The parser counts lines from 1 and columns from 0.
    fn of(marker: &Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col().saturating_add(1) }
    }

    const fn fault(self, message: String) -> Fault {
        Fault { line: self.line, column: self.column, message }
    }
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
    at: Position,
    anchor: usize,
    holds: Holds,
}

enum Holds {
    List(Vec<Rc<Node>>),
    Map { fields: Vec<Field>, names: HashSet<String>, key: Option<(String, Position)> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = Position::of(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                // A literal block's span begins at its `|`; of a folded block the lines can no longer be found.
                let text_from = (style == ScalarStyle::Literal).then(|| at.line.saturating_add(1));
                let size = size_of(&text);
                self.written = self.written.saturating_add(size);
                if let Some(Open { holds: Holds::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
                    *key = Some((text.into_owned(), at));
                    return Ok(());
                }
                let content = Content::Scalar(scalar(&text, style, tag.as_deref()));
                let is_number = matches!(content, Content::Scalar(Value::Number(_)));
                let written = is_number.then(|| text.into());
                let Position { line, column } = at;
                self.put(Node { line, column, written, text_from, content, size, depth: 1 }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    let message = "what this alias means is not complete before it; write it out".to_owned();
                    return Err(at.fault(message));
                };
                self.put_shared(node, at)
            }
            Event::SequenceStart(anchor, _) => self.begin(at, anchor, Holds::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                let holds = Holds::Map { fields: Vec::new(), names: HashSet::new(), key: None };
                self.begin(at, anchor, holds)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::DocumentStart(_) | Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
        }
    }

    fn begin(&mut self, at: Position, anchor: usize, holds: Holds) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(at.fault(format!("more than {MAX_DEPTH} lists and mappings in each other")));
        }
        if let Some(Open { holds: Holds::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(at.fault("a list or a mapping cannot be a key; write a text".to_owned()));
        }
        self.open.push(Open { at, anchor, holds });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Open { at, anchor, holds }) = self.open.pop() else { return Ok(()) };
        let content = match holds {
            Holds::List(entries) => Content::List(entries),
            Holds::Map { fields, names, .. } => Content::Map(self.merge(fields, names, at)?),
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
        let Position { line, column } = at;
        self.put(Node { line, column, written: None, text_from: None, content, size, depth }, anchor)
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        let at = Position { line: node.line, column: node.column };
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.put_shared(node, at)
    }

    fn put_shared(&mut self, node: Rc<Node>, at: Position) -> Result<(), Fault> {
        self.within(node.size, at)?;
        // An alias refers to a node with a depth of its own.
        if node.depth.saturating_add(self.open.len()) > MAX_DEPTH.saturating_add(1) {
            return Err(at.fault(format!("more than {MAX_DEPTH} lists and mappings in each other")));
        }
        let is_told = self.twice.len() < MAX_TWICE;
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut open.holds {
            Holds::List(entries) => entries.push(node),
            Holds::Map { fields, names, key } => {
                let Some((name, at)) = key.take() else {
                    let message = "an alias cannot be a key; write it out".to_owned();
                    return Err(at.fault(message));
                };
                let is_twice = name != "<<" && !names.insert(name.clone());
                let Position { line, column } = at;
                fields.push(Field { name, line, column, value: node });
                if is_twice && is_told {
                    let path = self.place();
                    self.twice.push(Twice { line, column, path });
                }
            }
        }
        Ok(())
    }

    /// Checks that `size`, with aliases written out, is not much more than what the file contains.
    fn within(&self, size: usize, at: Position) -> Result<(), Fault> {
        if size.saturating_add(self.merged) <= self.written.saturating_add(MAX_ALIASED) {
            return Ok(());
        }
        let message = format!("written out, the aliases here make more than {MAX_ALIASED} values; use fewer");
        Err(at.fault(message))
    }

    /// Copies the fields that `<<` refers to and that the mapping does not have itself, as Kong does.
    fn merge(
        &mut self,
        fields: Vec<Field>,
        mut names: HashSet<String>,
        at: Position,
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
                self.within(0, at)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_lines_and_columns() {
        let file = read("\u{feff}a: 1\nb:\n  - ä: x\n    c: &n [2]\n  - *n\n").unwrap();
        let root = &file.documents[0];
        let of_key = |field: &Field| (field.line, field.column);
        let of_value = |node: &Node| (node.line, node.column);
        assert_eq!(root.fields().iter().map(of_key).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
        assert_eq!(of_value(root.get("a").unwrap()), (1, 4));
        let entries = root.get("b").unwrap().entries();
        assert_eq!(entries[0].fields().iter().map(of_key).collect::<Vec<_>>(), [(3, 5), (4, 5)]);
        assert_eq!(of_value(entries[0].get("ä").unwrap()), (3, 8));
        // An alias is where its anchor is: there the value can be changed.
        assert_eq!(entries[1].line, 4);
    }

    #[test]
    fn a_number_keeps_its_digits_and_a_text_is_one() {
        let file = read("[0.000400000000, 123456789.123456789012, 010, '7', seven, true]").unwrap();
        let literals: Vec<_> = file.documents[0].entries().iter().map(|node| node.literal()).collect();
        let digits = ["0.000400000000", "123456789.123456789012", "010", "7", "seven"].map(Some);
        assert_eq!(literals[..5], digits);
        assert_eq!(literals[5], None);
    }

    #[test]
    fn a_mistake_is_told_with_its_column() {
        let fault = read("a: *b\n").unwrap_err();
        assert_eq!((fault.line, fault.column), (1, 4), "{}", fault.message);
        let twice = &read("x:\n  a: 1\n  a: 2\n").unwrap().twice[0];
        assert_eq!((twice.line, twice.column, twice.path.as_str()), (3, 3, "x.a"));
    }
}
