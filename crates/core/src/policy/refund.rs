//! Which responses make their requests cost nothing.

/// A set of statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refund {
    /// Whole classes: bit 0 is 1xx.
    classes: u8,
    /// Single codes.
    codes: Vec<u16>,
}

impl Refund {
    /// Adds what `text` names: a class such as `5xx`, or a code. False if it is neither.
    pub fn add(&mut self, text: &str) -> bool {
        let [class @ b'1'..=b'5', rest @ ..] = text.as_bytes() else { return false };
        if matches!(rest, [b'x', b'x']) {
            self.classes |= 1 << class.saturating_sub(b'1');
            return true;
        }
        let code: Option<u16> = text.parse().ok().filter(|_| rest.len() == 2);
        self.codes.extend(code);
        code.is_some()
    }

    /// Whether a response with this `status` makes its request cost nothing.
    #[must_use]
    pub fn covers(&self, status: u16) -> bool {
        let class = status / 100;
        ((1..=5).contains(&class) && self.classes & 1 << class.saturating_sub(1) != 0)
            || self.codes.contains(&status)
    }

    /// Whether no response does.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.classes == 0 && self.codes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_codes_are_covered_and_nothing_else() {
        let mut refund = Refund::default();
        assert!(refund.is_empty());
        assert!(refund.add("5xx") && refund.add("422"));
        let covered: Vec<u16> = (0..1_000).filter(|status| refund.covers(*status)).collect();
        let expected: Vec<u16> = std::iter::once(422).chain(500..600).collect();
        assert_eq!(covered, expected);
        for text in ["", "5", "5x", "6xx", "0xx", "600", "099", "5XX", "50", "5000", "+22", "4é"] {
            assert!(!refund.add(text), "{text}");
        }
    }
}
