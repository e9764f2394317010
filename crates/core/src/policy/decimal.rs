//! A document's numbers as whole numbers of their smallest part.
//!
//! They come as integers, as doubles (the only numbers of Envoy's `Struct`) or as text (which Envoy's YAML reader makes of
//! `1.5` and of what does not fit 32 bits), and leave as integers. No code beyond this file sees floating point.

use serde_json::{Number, Value};

use crate::terms::EXACT;
use crate::units::Cost;

/// `value` in parts of which `parts` make one: 1.5 in hundredths (`parts` = 100) is 150. `None` if it is not a number,
/// below zero, finer than a part, or too large to be kept exactly.
pub fn in_parts(value: &Value, parts: u32) -> Option<u64> {
    match value {
        Value::Number(number) => number_in_parts(number, parts),
        Value::String(text) => text_in_parts(text, parts),
        _ => None,
    }
}

fn number_in_parts(number: &Number, parts: u32) -> Option<u64> {
    if let Some(whole) = number.as_u64() {
        return whole.checked_mul(u64::from(parts));
    }
    let value = number.as_f64()?;
    let parts = f64::from(parts);
    let nearest = (value * parts).round();
    // Up to this bound doubles hold every integer. Division is correctly rounded: it gives `value` back if and only if
    // `value` is the double nearest to nearest / parts, that is, if this decimal is what was written.
    let exact = (0.0..=9_007_199_254_740_991.0).contains(&nearest) && nearest / parts == value;
    exact.then_some(nearest as u64)
}

/// The cost that a header's `value` says: `37.5`, with at most three decimals. `None` if it is none, or more than a store can
/// count.
#[must_use]
pub fn cost_in(value: &[u8]) -> Option<Cost> {
    let text = str::from_utf8(value.trim_ascii()).ok()?;
    text_in_parts(text, 1_000).filter(|milli| *milli <= EXACT).map(Cost)
}

/// Reads digits, then perhaps a point and more digits: all YAML and JSON readers take this spelling for the same number.
fn text_in_parts(text: &str, parts: u32) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || (whole.starts_with('0') && whole != "0") {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(u64::from(parts))?;
    let fraction = fraction.trim_end_matches('0');
    let digits = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fine = digits.checked_mul(u64::from(parts))?;
    if fine.checked_rem(scale)? != 0 {
        return None;
    }
    whole.checked_add(fine.checked_div(scale)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `number` as a number and as text, with one result.
    #[track_caller]
    fn both(number: &str, parts: u32) -> Option<u64> {
        let written = in_parts(&serde_json::from_str(number).unwrap(), parts);
        assert_eq!(in_parts(&Value::from(number), parts), written, "{number}");
        written
    }

    fn number(text: &str, parts: u32) -> Option<u64> {
        in_parts(&serde_json::from_str(text).unwrap(), parts)
    }

    #[test]
    fn decimals_become_whole_numbers_of_their_parts() {
        assert_eq!(both("1", 100), Some(100));
        assert_eq!(both("1.5", 100), Some(150));
        assert_eq!(both("1.15", 100), Some(115));
        assert_eq!(both("1.150000", 100), Some(115));
        assert_eq!(both("0.001", 1000), Some(1));
        assert_eq!(both("0", 1000), Some(0));
        assert_eq!(both("0.0", 1000), Some(0));
        assert_eq!(both("50000.0", 1), Some(50_000));
        assert_eq!(number("-0.0", 1000), Some(0));
        assert_eq!(number("1e6", 1), Some(1_000_000));
        assert_eq!(number("1.5e3", 1), Some(1_500));
    }

    #[test]
    fn a_header_says_a_cost_or_nothing() {
        for (text, cost) in [("37.5", 37_500), (" 5 ", 5_000), ("0", 0), ("0.001", 1), ("1.5000", 1_500)] {
            assert_eq!(cost_in(text.as_bytes()), Some(Cost(cost)), "{text}");
        }
        let wrong: [&[u8]; 12] = [
            b"",
            b"-1",
            b"+1",
            b"1e3",
            b"0.0001",
            b"1,2",
            b"1, 2",
            b"NaN",
            b"00",
            b"4503599627370497",
            b"\xff",
            b"99999999999999999999",
        ];
        for text in wrong {
            assert_eq!(cost_in(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_decimal_too_many_is_none_and_not_rounded() {
        assert_eq!(both("1.001", 100), None);
        assert_eq!(both("1.125", 100), None);
        assert_eq!(both("0.0001", 1000), None);
        assert_eq!(both("50000.5", 1), None);
        assert_eq!(number("1e-300", 1000), None);
    }

    #[test]
    fn what_does_not_fit_is_none() {
        assert_eq!(both("-1", 1), None);
        assert_eq!(both("-0.5", 1), None);
        assert_eq!(both("1e300", 1), None);
        assert_eq!(both("18446744073709551615", 2), None);
        assert_eq!(both("18446744073709551616", 1), None);
        assert_eq!(both("0.00000000000000000000001", 1000), None);
    }

    #[test]
    fn text_that_readers_do_not_agree_on_is_none() {
        for text in [
            "", ".", "1.", ".5", "+1", " 1", "1 ", "01", "1e6", "1_000", "0x10", "1.5.0", ".inf", ".nan", "١",
        ] {
            assert_eq!(in_parts(&Value::from(text), 1000), None, "{text:?}");
        }
        assert_eq!(in_parts(&Value::Null, 1), None);
        assert_eq!(in_parts(&Value::Bool(true), 1), None);
    }

    proptest! {
        #[test]
        fn every_decimal_comes_out_as_it_was_written(thousandths in 0_u64..1_000_000_000_000) {
            let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            prop_assert_eq!(both(&text, 1000), Some(thousandths));
        }

        #[test]
        fn no_number_and_no_text_panics(bits in any::<u64>(), text in r"[0-9.eE+-]{0,40}", parts in 1_u32..1_000_000) {
            if let Some(number) = Number::from_f64(f64::from_bits(bits)) {
                in_parts(&Value::Number(number), parts);
            }
            in_parts(&Value::Number(bits.into()), parts);
            in_parts(&Value::String(text), parts);
        }
    }
}
