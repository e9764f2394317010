//! The lines of a report about a file.

use std::fmt;

use tollgate_core::policy::{Policy, Visible};

/// The most lines about one file, so that a mistake made a million times gives a readable report.
const MAX_LINES: usize = 1_000;

/// The longest path or text of a line, in characters.
const LONGEST: usize = 2_000;

/// One statement about a file, displayed as `line: path: text`.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The line in the file, from 1.
    pub number: usize,
    /// The path in the file: `services[0].filter_chains[0].filters[0].config.tiers.pro.rate`; empty for the whole file.
    pub path: String,
    /// The kind of statement.
    pub kind: Kind,
    /// The statement.
    pub text: String,
}

/// The kinds of [`Line`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something is wrong; the text says what to write instead.
    Wrong,
    /// Something works, but perhaps not as its author thinks.
    Warning,
    /// A policy can work; the text describes it.
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

/// Collects the lines.
#[derive(Default)]
pub struct Lines {
    lines: Vec<Line>,
    is_wrong: bool,
    /// The number of lines that were not kept.
    more: usize,
}

impl Lines {
    /// Reports what is wrong at `path`, and what to write instead.
    pub fn wrong(&mut self, number: usize, path: &str, text: String) {
        self.is_wrong = true;
        self.add(number, path, Kind::Wrong, text);
    }

    /// Reports what works at `path`, but perhaps not as its author thinks.
    pub fn warning(&mut self, number: usize, path: &str, text: String) {
        self.add(number, path, Kind::Warning, text);
    }

    /// Reports that the policy at `path` can work.
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

    /// All lines in the file's order. A file has one verdict: if anything in it is wrong, nothing is reported as fine.
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
    // Characters are counted only if there may be too many.
    if text.len() > LONGEST
        && let Some((end, _)) = text.char_indices().nth(LONGEST)
    {
        text.truncate(end);
        text.push('…');
    }
    text
}
