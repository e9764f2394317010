//! Text in a CSV table that a spreadsheet opens.

use std::borrow::Cow;

/// A name that spreadsheets do not take for a formula. Others may choose the name, so one that starts like a formula gets an
/// apostrophe in front.
#[must_use]
pub fn inert(name: &str) -> Cow<'_, str> {
    let is_formula = name.starts_with(['=', '+', '-', '@', '\t', '\r', '\'']);
    if is_formula { Cow::Owned(format!("'{name}")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_a_formula_gets_an_apostrophe() {
        for name in ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'x"] {
            assert_eq!(inert(name), format!("'{name}"));
        }
        for name in ["", "acme", "a=1", " =1"] {
            assert_eq!(inert(name), name);
        }
    }
}
