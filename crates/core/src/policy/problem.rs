//! What is wrong with a policy, said so that one edit fixes it.

use std::fmt;

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place, such as `tiers.pro.rate`; empty for the whole document.
    pub path: String,
    /// What is wrong with the value there, and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    /// Writes `tiers.pro.rate: "1000/mnth" is not a rate; write N/second, /minute, /hour or /day`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(out, "{}: ", Visible(&self.path))?;
        }
        write!(out, "{}", Visible(&self.message))
    }
}

/// A text that others have chosen, made safe for a terminal or a log: a character that controls a terminal, changes the
/// writing direction or is invisible is written like `\u{202e}`.
#[derive(Clone, Copy, Debug)]
pub struct Visible<'a>(pub &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, char)| is_hidden(*char)) {
            let (before, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
            out.write_str(before)?;
            write!(out, "{}", hidden.escape_unicode())?;
            let mut after = after.chars();
            after.next();
            rest = after.as_str();
        }
        out.write_str(rest)
    }
}

/// Whether a reader would not recognize `char`: control characters, spaces other than the plain one, direction marks, and
/// what Unicode calls default-ignorable.
fn is_hidden(char: char) -> bool {
    match char {
        ' '..='~' => false,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{feff}' => true,
        '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' => true,
        '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        _ => char.is_control() || char.is_whitespace(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_a_terminal_or_hides_is_written_out() {
        let problem = Problem::new("tiers.fr\u{202e}ee\u{1b}[31m", "\"a\r\n\u{9b}\u{200b}\u{a0}\" is wrong");
        assert_eq!(
            problem.to_string(),
            r#"tiers.fr\u{202e}ee\u{1b}[31m: "a\u{d}\u{a}\u{9b}\u{200b}\u{a0}" is wrong"#
        );
        for plain in ["", "tiers.pro.rate: \"ä 中 🚪\" … \\u", "e\u{301}"] {
            assert_eq!(Visible(plain).to_string(), plain);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_has_nothing_hidden_and_the_rest_unchanged(text in any::<String>()) {
            let shown = Visible(&text).to_string();
            prop_assert!(!shown.chars().any(is_hidden));
            if !text.chars().any(is_hidden) {
                prop_assert_eq!(shown, text);
            }
        }
    }
}
