//! A file as a tree that knows its lines.

use std::rc::Rc;

use serde_json::Value;

/// One value in a file.
#[derive(Debug)]
pub struct Node {
    /// Its first line, from 1.
    pub line: usize,
    /// The column of its first character, from 1.
    pub column: usize,
    /// The digits of a number as the file has them. A double would round what is money.
    pub written: Option<Box<str>>,
    /// The line of the text's first line, if the file has the text line by line (`|`).
    pub text_from: Option<usize>,
    /// The value itself.
    pub content: Content,
    /// The number of nodes in it, including itself, with every alias written out. A long text counts as several.
    pub size: usize,
    /// The number of nodes on the longest way down; 1 for a scalar.
    pub depth: usize,
}

/// The content of a [`Node`].
#[derive(Debug)]
pub enum Content {
    /// Anything but a list or a mapping.
    Scalar(Value),
    /// A list.
    List(Vec<Rc<Node>>),
    /// A mapping, in the file's order.
    Map(Vec<Field>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Field {
    /// The key.
    pub name: String,
    /// The key's line.
    pub line: usize,
    /// The key's column.
    pub column: usize,
    /// Its value.
    pub value: Rc<Node>,
}

impl Node {
    /// The field called `name`, if this is a mapping that has it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// The field with either name: Envoy accepts both spellings.
    #[must_use]
    pub fn either(&self, snake: &str, camel: &str) -> Option<&Field> {
        self.field(snake).or_else(|| self.field(camel))
    }

    /// The value of `name`, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.field(name).map(|field| field.value.as_ref())
    }

    /// The fields of a mapping; empty for anything else.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        if let Content::Map(fields) = &self.content { fields } else { &[] }
    }

    /// The entries of a list; empty for anything else.
    #[must_use]
    pub fn entries(&self) -> &[Rc<Node>] {
        if let Content::List(entries) = &self.content { entries } else { &[] }
    }

    /// The digits of a number as the file has them, or a text.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        self.written.as_deref().or_else(|| self.text())
    }

    /// The text, if this is a text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Content::Scalar(value) = &self.content { value.as_str() } else { None }
    }

    /// The same value without lines.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(entries) => entries.iter().map(|entry| entry.to_value()).collect(),
            Content::Map(fields) => {
                fields.iter().map(|field| (field.name.clone(), field.value.to_value())).collect()
            }
        }
    }

    /// The line of the value at `path` (`tiers.pro.rate`, `endpoints[2].path`), or else of its last parent that exists.
    #[must_use]
    pub fn line_of(&self, path: &str) -> usize {
        self.line_in(path).unwrap_or(self.line)
    }

    /// Like [`Self::line_of`], but `None` if not even the first step of `path` exists.
    fn line_in(&self, path: &str) -> Option<usize> {
        let path = path.strip_prefix('.').unwrap_or(path);
        match &self.content {
            Content::Map(fields) => {
                let behind = |field: &Field| {
                    path.strip_prefix(field.name.as_str())
                        .filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                };
                // A key may contain dots, so two keys may match.
                let fits = fields.iter().filter_map(|field| Some((field, behind(field)?)));
                let (field, rest) = fits.max_by_key(|(field, _)| field.name.len())?;
                Some(field.value.line_in(rest).unwrap_or(field.line))
            }
            Content::List(entries) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let entry = entries.get(index.parse::<usize>().ok()?)?;
                Some(entry.line_in(rest).unwrap_or(entry.line))
            }
            Content::Scalar(_) => None,
        }
    }
}

/// `path` with `name` appended.
#[must_use]
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() || name.is_empty() || name.starts_with('[') {
        return format!("{path}{name}");
    }
    format!("{path}.{name}")
}

/// The longest key that a path shows in full, in characters.
const LONGEST_STEP: usize = 60;

/// A key as a step of a path.
#[must_use]
pub fn step(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'@');
    if !name.is_empty() && name.len() <= LONGEST_STEP && name.bytes().all(is_plain) {
        return name.to_owned();
    }
    match name.char_indices().nth(LONGEST_STEP) {
        Some((end, _)) => format!("[{}…]", Value::from(name.get(..end).unwrap_or_default())),
        None => format!("[{}]", Value::from(name)),
    }
}
