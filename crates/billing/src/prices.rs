//! What units cost: `prices.yaml`, checked.
//!
//! Like a policy, a file of prices is read as a whole: every mistake is told in one run, with its line, its column, and what to
//! write instead. What has been read cannot be wrong.

mod parse;
mod value;

use std::collections::BTreeMap;
use std::fmt;

use tollgate_core::limit::Month;
use tollgate_core::policy::Visible;
use tollgate_yaml::Node;

use crate::currency::Currency;
use crate::money::{Amount, Price, Quantity};

/// The most tiers in a file.
pub const MAX_TIERS: usize = 1_000;
/// The most steps of one tier.
pub const MAX_STEPS: usize = 100;
/// The most credits in a file.
pub const MAX_CREDITS: usize = 100_000;

/// All prices.
#[derive(Clone, Debug)]
pub struct Prices {
    /// What they are in.
    pub currency: Currency,
    /// Who sells, as the head of an invoice shows it: name, address, tax number.
    pub seller: Option<String>,
    /// What an invoice says at its end, such as when to pay.
    pub note: Option<String>,
    /// By the tier's name.
    pub tiers: BTreeMap<String, Tier>,
    /// In the file's order, which is the order in which they are used.
    pub credits: Vec<Credit>,
}

/// What a customer in a tier pays.
#[derive(Clone, Debug)]
pub struct Tier {
    /// The price of a month, however much is used.
    pub month: Amount,
    /// How much of a month's use costs nothing more; `None` if all of it.
    pub included: Option<Quantity>,
    /// What use beyond that costs, from the first unit on. The last step has no end; without `included` there is none.
    pub overage: Vec<Step>,
}

/// A range of use with one price per unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it ends, counted from the first unit that is not included; `None`: it does not.
    pub up_to: Option<Quantity>,
    /// The price of a unit.
    pub price: Price,
}

/// What is taken off a customer's invoices.
#[derive(Clone, Debug)]
pub struct Credit {
    /// Whose.
    pub customer: String,
    /// How much per month at most; an invoice is never below zero.
    pub amount: Amount,
    /// The first month; without one it was always so.
    pub from: Option<Month>,
    /// The last month; without one it does not end.
    pub until: Option<Month>,
    /// Why, as the invoice says it.
    pub reason: String,
}

impl Credit {
    /// Whether it counts in `month`.
    #[must_use]
    pub fn counts_in(&self, month: Month) -> bool {
        self.from.is_none_or(|from| from <= month) && self.until.is_none_or(|until| month <= until)
    }
}

/// One thing that is wrong with a file of prices, displayed as `3:12: tiers.pro.month: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The place, such as `tiers.pro.month`; empty for the whole file.
    pub path: String,
    /// What is wrong there, and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(out, "{}: ", Visible(&self.path))?;
        }
        write!(out, "{}", Visible(&self.message))
    }
}

impl Prices {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its lines.
    pub fn read(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        parse::read(bytes)
    }

    /// Whether `bytes` are meant to be prices and not a policy: they have a `currency`, `credits`, or a tier with a price, and
    /// neither `default_tier` nor `anonymous`, which every policy has.
    #[must_use]
    pub fn are_in(bytes: &[u8]) -> bool {
        let text = std::str::from_utf8(bytes);
        let Some(file) = text.ok().and_then(|text| tollgate_yaml::read(text).ok()) else { return false };
        let Some(root) = file.documents.first() else { return false };
        let has = |node: &Node, names: &[&str]| names.iter().any(|name| node.get(name).is_some());
        let tiers = root.get("tiers").map(Node::fields).unwrap_or_default();
        let has_prices = || tiers.iter().any(|tier| has(&tier.value, &["month", "included", "overage"]));
        !has(root, &["default_tier", "anonymous"]) && (has(root, &["currency", "credits"]) || has_prices())
    }
}

#[cfg(test)]
mod tests;
