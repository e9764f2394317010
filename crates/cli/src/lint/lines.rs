//! What is said about a file.

use std::fmt;

use tollgate_core::policy::{Policy, Visible};

/// What is said about one file at most, so that one mistake that is made a million times can be read.
const MAX_LINES: usize = 1_000;

/// The longest path and text that a line has, characters.
const LONGEST: usize = 2_000;

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
            write!(out, "{}: ", Visible(&self.path))?;
        }
        match self.kind {
            Kind::Wrong => {}
            Kind::Warning => out.write_str("warning: ")?,
            Kind::Passed => out.write_str("ok: ")?,
        }
        write!(out, "{}", Visible(&self.text))
    }
}

/// Lines as they come.
#[derive(Default)]
pub struct Lines {
    lines: Vec<Line>,
    is_wrong: bool,
    /// Those that are not kept.
    more: usize,
}

impl Lines {
    /// What is wrong at `path`, and what to write instead.
    pub fn wrong(&mut self, number: usize, path: &str, text: String) {
        self.is_wrong = true;
        self.add(number, path, Kind::Wrong, text);
    }

    /// What works at `path`, but perhaps not as its author thinks.
    pub fn warning(&mut self, number: usize, path: &str, text: String) {
        self.add(number, path, Kind::Warning, text);
    }

    /// That the policy at `path` can work.
    pub fn passed(&mut self, number: usize, path: &str, policy: &Policy) {
        let count =
            |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let text = format!(
            "namespace {}, {}, {}",
            policy.namespace,
            count(policy.tiers.len(), "tier"),
            count(policy.endpoints.len(), "endpoint rule")
        );
        self.add(number, path, Kind::Passed, text);
        if policy.store.is_none() && policy.tiers.iter().any(|tier| tier.monthly.is_some()) {
            let text =
                "without a store each node counts the month by itself, and loses the count when it stops";
            self.warning(number, path, text.to_owned());
        }
    }

    fn add(&mut self, number: usize, path: &str, kind: Kind, text: String) {
        if self.lines.len() >= MAX_LINES {
            self.more = self.more.saturating_add(1);
            return;
        }
        self.lines.push(Line { number, path: cut(path.to_owned()), kind, text: cut(text) });
    }

    /// All of them in the file's order. There is one verdict on a file: nothing in it is ok beside what is wrong.
    pub fn sorted(mut self) -> Vec<Line> {
        if self.is_wrong {
            self.lines.retain(|line| line.kind != Kind::Passed);
        }
        self.lines.sort_by_key(|line| line.number);
        if self.more > 0 {
            let number = self.lines.last().map_or(1, |line| line.number);
            let kind = if self.is_wrong { Kind::Wrong } else { Kind::Warning };
            let text = format!("and {} more lines about this file; mend these first", self.more);
            self.lines.push(Line { number, path: String::new(), kind, text });
        }
        self.lines
    }
}

fn cut(mut text: String) -> String {
    // Characters are counted only where there may be too many.
    if text.len() > LONGEST
        && let Some((end, _)) = text.char_indices().nth(LONGEST)
    {
        text.truncate(end);
        text.push('…');
    }
    text
}
