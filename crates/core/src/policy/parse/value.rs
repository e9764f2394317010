//! Reads single values of a policy: texts, numbers, choices.

use serde_json::Value;

use super::Checker;
use crate::policy::decimal::in_parts;
use crate::policy::place::Place;
use crate::policy::raw::Given;
use crate::units::Millis;

/// A wrong value as a message shows it: JSON, cut where it is long.
#[inline(never)]
pub fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let mut text = match value {
        // A list may be long, and its content hides what matters: that it is a list.
        Value::Array(list) if !list.is_empty() => return "a list".to_owned(),
        Value::Object(map) if !map.is_empty() => return "a mapping".to_owned(),
        other => other.to_string(),
    };
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A kind of number.
pub struct Kind {
    /// Its name with the article: "a burst".
    pub name: &'static str,
    /// How many parts make one.
    pub parts: u32,
    /// The least value, in parts.
    pub least: u64,
    /// The greatest value, in parts.
    pub greatest: u64,
    /// What to write.
    pub advice: &'static str,
}

/// A kind of text.
pub struct Word {
    /// Its name with the article: "a namespace".
    pub name: &'static str,
    /// The longest text, in bytes; the shortest has one.
    pub longest: usize,
    /// Which bytes may come first.
    pub first: fn(u8) -> bool,
    /// Which bytes may follow.
    pub rest: fn(u8) -> bool,
    /// What to write.
    pub advice: &'static str,
}

impl Word {
    /// Whether `text` is of this kind.
    pub fn is(&self, text: &str) -> bool {
        let mut bytes = text.bytes();
        text.len() <= self.longest && bytes.next().is_some_and(self.first) && bytes.all(self.rest)
    }
}

/// Whether `byte` is printable ASCII, but no space.
pub const fn visible(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

impl Checker {
    /// Reports "`value` is not `what`; write `advice`".
    #[inline(never)]
    pub fn not(&mut self, place: &Place<'_>, value: &Value, what: &str, advice: &str) {
        self.add(place, format!("{} is not {what}; write {advice}", shown(value)));
    }

    /// Reads a number of `kind`, in its parts.
    #[inline(never)]
    pub fn number(&mut self, place: &Place<'_>, value: &Value, kind: &Kind) -> Option<u64> {
        let parts = in_parts(value, kind.parts).filter(|parts| (kind.least..=kind.greatest).contains(parts));
        if parts.is_none() {
            self.not(place, value, kind.name, kind.advice);
        }
        parts
    }

    /// Reads a text of the kind `word`.
    #[inline(never)]
    pub fn word<'a>(&mut self, place: &Place<'_>, value: &'a Value, word: &Word) -> Option<&'a str> {
        let text = value.as_str().filter(|text| word.is(text));
        if text.is_none() {
            // For example a consumer called 4711, or `no`.
            let needs_quotes = value.is_number() || value.is_boolean();
            let advice =
                if needs_quotes { format!("{}, in quotes", word.advice) } else { word.advice.to_owned() };
            self.not(place, value, word.name, &advice);
        }
        text
    }

    /// Reads one of a few words; `None` if nothing is given.
    #[inline(never)]
    pub fn choice<T: Copy>(
        &mut self,
        place: &Place<'_>,
        given: &Given,
        words: &[&str],
        values: &[T],
    ) -> Option<T> {
        let value = given.0.as_ref()?;
        let at = value.as_str().and_then(|text| words.iter().position(|word| *word == text));
        let Some(at) = at else {
            self.add(place, format!("{} is unknown; write one of {}", shown(value), words.join(", ")));
            return None;
        };
        values.get(at).copied()
    }

    /// Reads true or false; true if nothing is given.
    #[inline(never)]
    pub fn switch(&mut self, place: &Place<'_>, given: &Given) -> bool {
        let Some(value) = &given.0 else { return true };
        if !value.is_boolean() {
            self.not(place, value, "a choice", "true or false");
        }
        value.as_bool().unwrap_or(true)
    }

    /// Reads `50ms` or `1s` in milliseconds; `default` if nothing is given.
    #[inline(never)]
    pub fn milliseconds(&mut self, place: &Place<'_>, given: &Given, least: u64, default: u64) -> Millis {
        const GREATEST: u64 = 10_000;
        let Some(value) = &given.0 else { return Millis(default) };
        let parsed = value.as_str().and_then(|text| match text.strip_suffix("ms") {
            Some(number) => plain(number),
            None => plain(text.strip_suffix('s')?)?.checked_mul(1000),
        });
        let fits = parsed.filter(|milliseconds| (least..=GREATEST).contains(milliseconds));
        Millis(fits.unwrap_or_else(|| {
            let advice = format!("{least}ms to 10s, as a whole number and ms or s: 50ms, 1s");
            self.not(place, value, "a time that fits here", &advice);
            default
        }))
    }
}

/// Reads a whole number in its only spelling: digits without a leading 0.
pub fn plain(text: &str) -> Option<u64> {
    if text.starts_with('0') || text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
