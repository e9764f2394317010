//! Cost units in JSON: numbers with up to three decimals, exact in both directions.
//!
//! The digits themselves are read and written, because a double would round what a billing job adds up.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;
use tollgate_core::terms::EXACT;
use tollgate_core::units::Cost;

/// A cost that is written as a number of units in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Units(pub Cost);

/// What a wrong amount is answered with.
const ADVICE: &str = "is not an amount of cost units; write a number with three decimals at most, like 1 or 0.5, up to 4500000000000";

impl Units {
    /// The amount that the JSON number `text` says, unless it is finer or larger than what can be kept.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 3 {
            return None;
        }
        let milli: u64 = format!("{fraction:0<3}").parse().ok()?;
        let units: u64 = whole.parse().ok()?;
        units.checked_mul(1_000)?.checked_add(milli).filter(|amount| *amount <= EXACT).map(Cost).map(Self)
    }
}

impl Serialize for Units {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let shown: String = raw.get().chars().take(60).collect();
        Self::parse(raw.get()).ok_or_else(|| D::Error::custom(format!("{shown} {ADVICE}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_finer_greater_or_no_number_is_refused() {
        for (text, amount) in [("0", 0), ("1", 1_000), ("0.5", 500), ("2.125", 2_125), ("1.500000", 1_500)] {
            assert_eq!(Units::parse(text), Some(Units(Cost(amount))), "{text}");
        }
        for text in [
            "",
            "-1",
            "0.0001",
            "1e3",
            ".5",
            "5.",
            "1.2.3",
            "99999999999999999999",
            "4503599627370497",
            "NaN",
            "+1",
        ] {
            assert_eq!(Units::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(amount in 0..=EXACT) {
            let text = serde_json::to_string(&Units(Cost(amount))).unwrap();
            prop_assert_eq!(serde_json::from_str::<Units>(&text).unwrap(), Units(Cost(amount)));
        }

        #[test]
        fn no_text_is_a_panic(text in any::<String>()) {
            let _ = Units::parse(&text);
        }
    }
}
