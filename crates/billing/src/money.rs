//! Amounts, prices and quantities: integers, written as decimals. No floating point takes part.
//!
//! | type | counts | written |
//! | --- | --- | --- |
//! | [`Amount`] | minor units of a currency | with all of the currency's decimals: `49.00` |
//! | [`Price`] | 10⁻¹² of the currency's major unit | as short as possible: `0.0004` |
//! | [`Quantity`] | thousandths of a cost unit | as short as possible: `12.5` |

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use crate::currency::MAX_DECIMALS;

/// The decimals that a [`Price`] may have.
pub const PRICE_DECIMALS: u8 = 12;
/// The decimals of a [`Quantity`].
pub const QUANTITY_DECIMALS: u8 = 3;
/// The highest price of one unit, in major units. With it a use of 2⁶⁴ thousandths has an amount.
pub const MAX_PRICE: u64 = 1_000_000;
/// The highest price of a month and the highest credit, in major units.
pub const MAX_AMOUNT: u64 = 1_000_000_000_000;

/// Why a text is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDecimal {
    /// It is not digits, with perhaps a point and more digits.
    Syntax,
    /// It is below zero.
    Negative,
    /// It has more decimals than are kept.
    TooFine,
    /// It is too large.
    TooLarge,
}

/// Reads `text`, such as `12.5`, in parts of which 10 to the power of `decimals` make one.
///
/// # Errors
/// It is not a number, or one that cannot be kept exactly.
pub fn decimal(text: &str, decimals: u8) -> Result<u128, NoDecimal> {
    if let Some(rest) = text.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
        return Err(decimal(rest, decimals).map_or_else(|why| why, |_| NoDecimal::Negative));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || (whole.starts_with('0') && whole != "0") {
        return Err(NoDecimal::Syntax);
    }
    let fraction = fraction.trim_end_matches('0');
    let width = usize::from(decimals);
    if fraction.len() > width {
        return Err(NoDecimal::TooFine);
    }
    format!("{whole}{fraction:0<width$}").parse().map_err(|_| NoDecimal::TooLarge)
}

/// Writes `parts`, of which 10 to the power of `decimals` make one, with `least` decimals or more.
fn write(out: &mut fmt::Formatter<'_>, parts: u128, decimals: u8, least: usize) -> fmt::Result {
    let width = usize::from(decimals);
    let digits = format!("{parts:0>width$}", width = width.saturating_add(1));
    let (whole, fraction) =
        digits.split_at_checked(digits.len().saturating_sub(width)).unwrap_or((&digits, ""));
    let kept = fraction.trim_end_matches('0').len().max(least);
    let point = if kept == 0 { "" } else { "." };
    write!(out, "{whole}{point}{}", fraction.get(..kept).unwrap_or(fraction))
}

/// An amount of money: a whole number of the currency's minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount {
    /// Minor units; negative for a credit.
    pub minor: i128,
    /// The decimals of a minor unit.
    pub decimals: u8,
}

impl Amount {
    /// No money.
    #[must_use]
    pub const fn zero(decimals: u8) -> Self {
        Self { minor: 0, decimals }
    }

    /// The sum; `None` beyond the range.
    #[must_use]
    pub fn plus(self, more: Self) -> Option<Self> {
        Some(Self { minor: self.minor.checked_add(more.minor)?, ..self })
    }

    /// The sum of several; `None` beyond the range.
    pub fn sum(amounts: impl IntoIterator<Item = Self>, decimals: u8) -> Option<Self> {
        amounts.into_iter().try_fold(Self::zero(decimals), Self::plus)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.minor < 0 {
            out.write_str("-")?;
        }
        write(out, self.minor.unsigned_abs(), self.decimals, self.decimals.into())
    }
}

impl FromStr for Amount {
    type Err = NoDecimal;

    fn from_str(text: &str) -> Result<Self, NoDecimal> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let decimals = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let decimals = u8::try_from(decimals)
            .ok()
            .filter(|decimals| *decimals <= MAX_DECIMALS)
            .ok_or(NoDecimal::TooFine)?;
        let minor = i128::try_from(decimal(digits, decimals)?).map_err(|_| NoDecimal::TooLarge)?;
        let is_negative = digits.len() < text.len();
        Ok(Self { minor: if is_negative { minor.saturating_neg() } else { minor }, decimals })
    }
}

/// The price of one unit, at most [`MAX_PRICE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(u64);

impl FromStr for Price {
    type Err = NoDecimal;

    fn from_str(text: &str) -> Result<Self, NoDecimal> {
        let parts = decimal(text, PRICE_DECIMALS)?;
        let most = u128::from(MAX_PRICE).saturating_mul(power(PRICE_DECIMALS));
        let parts = u64::try_from(parts).ok().filter(|parts| u128::from(*parts) <= most);
        parts.map(Self).ok_or(NoDecimal::TooLarge)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(out, self.0.into(), PRICE_DECIMALS, 0)
    }
}

/// How much was used, in thousandths of a cost unit. The sum of any number of consumers fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(pub u128);

impl Quantity {
    /// One unit.
    pub const ONE: Self = Self(1_000);

    /// The sum, or the end of the range.
    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }

    /// What is left without `other`; nothing if `other` is more.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl FromStr for Quantity {
    type Err = NoDecimal;

    fn from_str(text: &str) -> Result<Self, NoDecimal> {
        decimal(text, QUANTITY_DECIMALS).map(Self)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(out, self.0, QUANTITY_DECIMALS, 0)
    }
}

/// JSON has these numbers as text, so that no reader makes doubles of them.
macro_rules! texts {
    ($($number:ident),*) => {$(
        impl Serialize for $number {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $number {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|_| D::Error::custom("a number is not one"))
            }
        }
    )*};
}

texts!(Amount, Price, Quantity);

/// What `quantity` costs at `price` per unit. This is the only place that rounds: once, half up, to the minor unit.
///
/// `None` if the amount is beyond the range; for up to 2⁶⁴ thousandths it never is.
#[must_use]
pub fn charge(quantity: Quantity, price: Price, decimals: u8) -> Option<Amount> {
    let exact = quantity.0.checked_mul(price.0.into())?;
    let parts = PRICE_DECIMALS.checked_add(QUANTITY_DECIMALS)?.checked_sub(decimals)?;
    let minor = power(parts);
    let rounded = exact.checked_add(minor / 2)?.checked_div(minor)?;
    Some(Amount { minor: i128::try_from(rounded).ok()?, decimals })
}

/// 10 to the power of `exponent`, which is small.
const fn power(exponent: u8) -> u128 {
    10_u128.saturating_pow(exponent as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cents(quantity: u128, price: &str) -> String {
        charge(Quantity(quantity), price.parse().unwrap(), 2).unwrap().to_string()
    }

    #[test]
    fn a_line_is_rounded_half_up_to_the_minor_unit() {
        assert_eq!(cents(12_500, "0.0004"), "0.01");
        assert_eq!(cents(12_499, "0.0004"), "0.00");
        assert_eq!(cents(1_000, "0.005"), "0.01");
        assert_eq!(cents(1_000, "0.004999999999"), "0.00");
        assert_eq!(cents(3_000, "0.335"), "1.01");
        assert_eq!(charge(Quantity(1_500), "1".parse().unwrap(), 0).unwrap().to_string(), "2");
    }

    #[test]
    fn the_largest_use_at_the_highest_price_has_an_amount() {
        let most = charge(Quantity(u64::MAX.into()), "1000000".parse().unwrap(), MAX_DECIMALS).unwrap();
        assert_eq!(most.to_string(), "18446744073709551615000.000000");
        assert_eq!("1000000.000000000001".parse::<Price>(), Err(NoDecimal::TooLarge));
        assert_eq!(charge(Quantity(u128::MAX), "1".parse().unwrap(), 2), None);
    }

    #[test]
    fn what_is_not_an_exact_decimal_is_refused_with_its_reason() {
        for text in
            ["", ".", "1.", ".5", "+1", " 1", "1 ", "01", "1e6", "1_000", "0x10", "1.5.0", "١", "-", "--1"]
        {
            assert_eq!(decimal(text, 3), Err(NoDecimal::Syntax), "{text:?}");
        }
        assert_eq!(decimal("-1", 3), Err(NoDecimal::Negative));
        assert_eq!(decimal("0.0001", 3), Err(NoDecimal::TooFine));
        assert_eq!(decimal("1.500000", 3), Ok(1_500));
        assert_eq!(decimal(&"9".repeat(40), 3), Err(NoDecimal::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(minor in any::<i64>(), decimals in 0..=MAX_DECIMALS, parts in any::<u64>()) {
            let amount = Amount { minor: minor.into(), decimals };
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
            let price = Price(parts % 1_000_000_000_000_000_001);
            prop_assert_eq!(price.to_string().parse(), Ok(price));
            let quantity = Quantity(parts.into());
            prop_assert_eq!(quantity.to_string().parse(), Ok(quantity));
        }

        #[test]
        fn a_charge_is_off_by_half_a_minor_unit_at_most(
            quantity in any::<u64>(),
            parts in 0..=1_000_000_000_000_000_000_u64,
            decimals in 0..=MAX_DECIMALS,
        ) {
            let charged = charge(Quantity(quantity.into()), Price(parts), decimals).unwrap();
            let exact = u128::from(quantity) * u128::from(parts);
            let minor = power(15 - decimals);
            let off = i128::try_from(exact).unwrap() - charged.minor * i128::try_from(minor).unwrap();
            prop_assert!(2 * off < minor as i128 && 2 * off >= -(minor as i128));
        }

        #[test]
        fn no_text_panics(text in "[0-9.-]{0,60}|.{0,20}", decimals in 0..=PRICE_DECIMALS) {
            let _ = decimal(&text, decimals);
            let _ = text.parse::<Amount>();
        }
    }
}
