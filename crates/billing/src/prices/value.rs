//! Reads single values: numbers, texts, months.

use serde_json::Value;
use tollgate_core::limit::Month;
use tollgate_yaml::{Content, Node};

use super::parse::{At, Checker};
use crate::money::{MAX_PRICE, NoDecimal, PRICE_DECIMALS, Price, QUANTITY_DECIMALS, Quantity, decimal};

/// The most units that a file may name.
const MAX_UNITS: u64 = 1_000_000_000_000_000;

/// The least that a number may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Least {
    /// Nothing.
    Zero,
    /// More than nothing.
    Part,
}

/// A wrong value as a message shows it: as the file has it, cut where it is long.
pub(super) fn shown(node: &Node) -> String {
    const LONGEST: usize = 60;
    let mut text = match (&node.content, &node.written) {
        (Content::List(_), _) => return "a list".to_owned(),
        (Content::Map(_), _) => return "a mapping".to_owned(),
        (Content::Scalar(Value::Null), _) => return "nothing".to_owned(),
        (Content::Scalar(_), Some(written)) => written.to_string(),
        (Content::Scalar(value), None) => value.to_string(),
    };
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Checker {
    /// Reads a number with at most `decimals` decimals, in its smallest parts.
    pub(super) fn number(
        &mut self,
        at: At<'_>,
        what: &str,
        decimals: u8,
        most: u64,
        least: Least,
        or: &str,
    ) -> Option<u128> {
        let of = |digits: &str| decimal(digits, decimals);
        let scale = 10_u128.saturating_pow(decimals.into());
        let read = at.node.literal().map_or(Err(NoDecimal::Syntax), of).and_then(|parts| match parts {
            0 if least == Least::Part => Err(NoDecimal::Syntax),
            parts if parts > u128::from(most).saturating_mul(scale) => Err(NoDecimal::TooLarge),
            parts => Ok(parts),
        });
        let example = match (decimals, least) {
            (0 | QUANTITY_DECIMALS, _) => "1000000".to_owned(),
            (PRICE_DECIMALS, _) => "0.0004".to_owned(),
            (decimals, _) => format!("49.{:0<1$}", "", usize::from(decimals)),
        };
        let or = if or.is_empty() { String::new() } else { format!(", {or}") };
        let why = match read {
            Ok(parts) => return Some(parts),
            Err(NoDecimal::Syntax) if least == Least::Part => {
                format!("write a number above 0, like {example}{or}")
            }
            Err(NoDecimal::Syntax) => format!("write a number like {example}{or}"),
            Err(NoDecimal::Negative) => format!("it is negative; write 0 or more, like {example}{or}"),
            Err(NoDecimal::TooFine) if decimals == 0 => {
                format!("write it without decimals, like {example}{or}")
            }
            Err(NoDecimal::TooFine) => format!("write at most {decimals} decimals, like {example}{or}"),
            Err(NoDecimal::TooLarge) => format!("it is too large; write at most {most}{or}"),
        };
        self.wrong(at, format!("{} is not {what}; {why}", shown(at.node)));
        None
    }

    /// Reads a number of units.
    pub(super) fn quantity(&mut self, at: At<'_>, what: &str, or: &str, least: Least) -> Option<Quantity> {
        self.number(at, what, QUANTITY_DECIMALS, MAX_UNITS, least, or).map(Quantity)
    }

    /// Reads the price of a unit.
    pub(super) fn price(&mut self, at: At<'_>, advice: &str) -> Option<Price> {
        if at.node.literal().is_none() {
            self.wrong(at, format!("{} is not a price of a unit; write {advice}", shown(at.node)));
            return None;
        }
        self.number(at, "a price of a unit", PRICE_DECIMALS, MAX_PRICE, Least::Zero, "")?;
        // What is such a number is a price.
        at.node.literal()?.parse::<Price>().ok()
    }

    /// Reads a text of 1 to `longest` bytes.
    pub(super) fn text(&mut self, at: At<'_>, what: &str, longest: usize) -> Option<String> {
        let text = at.node.text().filter(|text| !text.trim().is_empty() && text.len() <= longest);
        if text.is_none() {
            let quoted = if at.node.written.is_some() { " in quotes" } else { "" };
            self.wrong(
                at,
                format!("{} is not {what}; write a text of 1 to {longest} bytes{quoted}", shown(at.node)),
            );
        }
        text.map(str::to_owned)
    }

    /// Reads a month.
    pub(super) fn month(&mut self, at: At<'_>) -> Option<Month> {
        let month = at.node.text().and_then(Month::parse);
        if month.is_none() {
            self.wrong(
                at,
                format!("{} is not a month; write the year and the month: 2026-11", shown(at.node)),
            );
        }
        month
    }
}
