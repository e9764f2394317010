//! Numbers of a document as whole numbers of their smallest part.
//!
//! YAML's `1.5`, JSON's `1.50` and the double that Envoy's `Struct` makes of every number come in here and leave as
//! integers; nothing behind this file sees floating point.

use serde_json::Number;

/// Why a number is not a decimal of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDecimal {
    /// Below zero.
    Negative,
    /// More decimals than are kept.
    TooFine,
    /// Above what is kept exactly.
    TooLarge,
}

/// `number` in parts of which `parts` make one: 1.5 in hundredths (`parts` 100) is 150.
///
/// # Errors
/// [`NotDecimal`] when no integer says the same.
pub fn in_parts(number: &Number, parts: u32) -> Result<u64, NotDecimal> {
    if let Some(whole) = number.as_u64() {
        return whole.checked_mul(u64::from(parts)).ok_or(NotDecimal::TooLarge);
    }
    let value = number.as_f64().filter(|value| value.is_finite()).ok_or(NotDecimal::TooLarge)?;
    if value < 0.0 {
        return Err(NotDecimal::Negative);
    }
    let parts = f64::from(parts);
    let nearest = (value * parts).round();
    // Up to here doubles hold every integer.
    if nearest > 9_007_199_254_740_991.0 {
        return Err(NotDecimal::TooLarge);
    }
    // Division is correctly rounded: it gives `value` back if and only if `value` is the double nearest to
    // nearest / parts, which is to say, if that decimal is what was written.
    if nearest / parts == value { Ok(nearest as u64) } else { Err(NotDecimal::TooFine) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts_of(text: &str, parts: u32) -> Result<u64, NotDecimal> {
        in_parts(&serde_json::from_str(text).unwrap(), parts)
    }

    #[test]
    fn decimals_become_whole_numbers_of_their_parts() {
        assert_eq!(parts_of("1", 100), Ok(100));
        assert_eq!(parts_of("1.5", 100), Ok(150));
        assert_eq!(parts_of("1.15", 100), Ok(115));
        assert_eq!(parts_of("0.001", 1000), Ok(1));
        assert_eq!(parts_of("0", 1000), Ok(0));
        assert_eq!(parts_of("-0.0", 1000), Ok(0));
    }

    #[test]
    fn a_whole_number_may_come_as_a_double() {
        assert_eq!(parts_of("50000.0", 1), Ok(50_000));
        assert_eq!(parts_of("1e6", 1), Ok(1_000_000));
        assert_eq!(parts_of("1.5e3", 1), Ok(1_500));
        assert_eq!(parts_of("50000.5", 1), Err(NotDecimal::TooFine));
    }

    #[test]
    fn a_decimal_too_many_is_an_error_and_not_rounded() {
        assert_eq!(parts_of("1.001", 100), Err(NotDecimal::TooFine));
        assert_eq!(parts_of("1.125", 100), Err(NotDecimal::TooFine));
        assert_eq!(parts_of("0.0001", 1000), Err(NotDecimal::TooFine));
        assert_eq!(parts_of("1e-300", 1000), Err(NotDecimal::TooFine));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert_eq!(parts_of("-1", 1), Err(NotDecimal::Negative));
        assert_eq!(parts_of("-0.5", 1), Err(NotDecimal::Negative));
        assert_eq!(parts_of("1e300", 1), Err(NotDecimal::TooLarge));
        assert_eq!(parts_of("18446744073709551615", 2), Err(NotDecimal::TooLarge));
    }

    proptest! {
        #[test]
        fn every_decimal_comes_out_as_it_was_written(thousandths in 0_u64..1_000_000_000_000) {
            let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            prop_assert_eq!(parts_of(&text, 1000), Ok(thousandths));
        }

        #[test]
        fn no_double_panics(bits in any::<u64>(), parts in 1_u32..1_000_000) {
            if let Some(number) = Number::from_f64(f64::from_bits(bits)) {
                let _ = in_parts(&number, parts);
            }
        }
    }
}
