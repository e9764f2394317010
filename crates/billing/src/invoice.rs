//! The lines of one customer's month.
//!
//! A customer's use in one tier is added up before it is priced, so it does not matter how many consumers it comes from: the
//! month's price and the included units count once per customer and tier, and so do the steps.

use serde::{Deserialize, Serialize};
use tollgate_core::limit::Month;

use crate::money::{Amount, Price, Quantity, charge};
use crate::prices::{Credit, Prices, Tier};

/// The invoice of one customer for one month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoice {
    /// The invoice's number; null in a draft.
    pub number: Option<String>,
    /// Who pays.
    pub customer: String,
    /// A section per tier, in the order of the tiers' names.
    pub sections: Vec<Section>,
    /// What is taken off.
    pub credits: Vec<Line>,
    /// The sum of all lines, without tax.
    pub total: Amount,
}

/// What a customer's consumers in one tier cost together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The tier.
    pub tier: String,
    /// The use of all of its consumers.
    pub used: Quantity,
    /// The consumers in the order of their names.
    pub consumers: Vec<ConsumerUse>,
    /// What it costs.
    pub lines: Vec<Line>,
    /// The sum of the lines.
    pub subtotal: Amount,
}

/// What one consumer used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerUse {
    /// Its name, as the store writes it.
    pub consumer: String,
    /// Cost units.
    pub used: Quantity,
}

/// The kinds of [`Line`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The price of the month.
    Month,
    /// Units that cost nothing more.
    Included,
    /// Units beyond those.
    Overage,
    /// What is taken off.
    Credit,
}

impl Kind {
    /// Its name in JSON and CSV.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Included => "included",
            Self::Overage => "overage",
            Self::Credit => "credit",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What kind of line it is.
    pub kind: Kind,
    /// What it is for.
    pub text: String,
    /// How many units.
    pub quantity: Quantity,
    /// The price of a unit; null where the amount is not one of units.
    pub unit_price: Option<Price>,
    /// What it costs, rounded; negative for a credit.
    pub amount: Amount,
}

/// The section of `tier`, whose consumers used `consumers`; `None` if an amount is beyond the range.
#[must_use]
pub fn section(name: &str, tier: &Tier, consumers: Vec<ConsumerUse>) -> Option<Section> {
    let decimals = tier.month.decimals;
    let used = consumers.iter().fold(Quantity::default(), |used, one| used.plus(one.used));
    let mut lines = vec![Line {
        kind: Kind::Month,
        text: format!("Tier {name}"),
        quantity: Quantity::ONE,
        unit_price: None,
        amount: tier.month,
    }];
    let included = tier.included.map_or(used, |included| included.min(used));
    if included > Quantity::default() {
        lines.push(Line {
            kind: Kind::Included,
            text: "Included units".to_owned(),
            quantity: included,
            unit_price: Some(Price::default()),
            amount: Amount::zero(decimals),
        });
    }
    let beyond = used.less(included);
    let mut reached = Quantity::default();
    for step in &tier.overage {
        let end = step.up_to.map_or(beyond, |end| end.min(beyond));
        let quantity = end.less(reached);
        if quantity > Quantity::default() {
            let text = match step.up_to {
                Some(end) => format!("Units beyond the included ones, up to {end}"),
                None if reached == Quantity::default() => "Units beyond the included ones".to_owned(),
                None => format!("Units beyond the included ones, above {reached}"),
            };
            let amount = charge(quantity, step.price, decimals)?;
            lines.push(Line { kind: Kind::Overage, text, quantity, unit_price: Some(step.price), amount });
        }
        reached = end;
    }
    let subtotal = Amount::sum(lines.iter().map(|line| line.amount), decimals)?;
    Some(Section { tier: name.to_owned(), used, consumers, lines, subtotal })
}

/// The credits of `customer` in `month`: each takes off what it can, in the file's order, and nothing goes below zero.
#[must_use]
pub fn credits<'a>(prices: impl IntoIterator<Item = &'a Credit>, month: Month, charged: Amount) -> Vec<Line> {
    let mut left = charged;
    let mut lines = Vec::new();
    for credit in prices.into_iter().filter(|credit| credit.counts_in(month)) {
        let taken = credit.amount.minor.min(left.minor);
        if taken <= 0 {
            break;
        }
        left.minor = left.minor.saturating_sub(taken);
        lines.push(Line {
            kind: Kind::Credit,
            text: credit.reason.clone(),
            quantity: Quantity::ONE,
            unit_price: None,
            amount: Amount { minor: taken.saturating_neg(), ..charged },
        });
    }
    lines
}

impl Invoice {
    /// The invoice over `sections`, without a number; `None` if an amount is beyond the range.
    #[must_use]
    pub fn of(
        customer: String,
        sections: Vec<Section>,
        credits: &[&Credit],
        prices: &Prices,
        month: Month,
    ) -> Option<Self> {
        let decimals = prices.currency.decimals;
        let charged = Amount::sum(sections.iter().map(|section| section.subtotal), decimals)?;
        let credits = self::credits(credits.iter().copied(), month, charged);
        let total = credits.iter().try_fold(charged, |total, line| total.plus(line.amount))?;
        Some(Self { number: None, customer, sections, credits, total })
    }

    /// All lines, each with its tier; a credit has none.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &Line)> {
        let sections = self.sections.iter();
        let lines =
            sections.flat_map(|section| section.lines.iter().map(|line| (section.tier.as_str(), line)));
        lines.chain(self.credits.iter().map(|line| ("", line)))
    }
}
