//! Reads the tree of a file of prices.

use std::collections::BTreeMap;

use tollgate_core::limit::Month;
use tollgate_yaml::{Field, Node, join, step};

use super::value::{Least, shown};
use super::{Credit, MAX_CREDITS, MAX_STEPS, MAX_TIERS, Prices, Problem, Step, Tier};
use crate::currency::{Currency, MAX_DECIMALS};
use crate::money::{Amount, Quantity};

/// The most problems that are told about one file.
const MAX_PROBLEMS: usize = 100;

/// The smallest file, for messages to users who have none yet.
const MINIMAL: &str =
    "currency: EUR and tiers: { pro: { month: 49.00, included: 1000000, overage: 0.0004 } }";

const ALL: &str =
    "all of the use is included, so nothing is beyond it; remove overage, or write included: 1000000";

/// A value, where it is in the file, and its path.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub node: &'a Node,
    pub path: &'a str,
    line: usize,
    column: usize,
}

impl<'a> At<'a> {
    const fn root(node: &'a Node) -> Self {
        Self { node, path: "", line: node.line, column: node.column }
    }
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Checker {
    problems: Vec<Problem>,
}

/// See [`Prices::read`].
pub(super) fn read(bytes: &[u8]) -> Result<Prices, Vec<Problem>> {
    let whole = |line, column, message: String| vec![Problem { line, column, path: String::new(), message }];
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        whole(line, 1, "the file is not UTF-8 text; save it as UTF-8".to_owned())
    })?;
    let file = tollgate_yaml::read(text).map_err(|fault| whole(fault.line, fault.column, fault.message))?;
    let root = match file.documents.as_slice() {
        [] => return Err(whole(1, 1, format!("there are no prices here; write {MINIMAL}"))),
        [root] => root,
        [_, second, ..] => {
            let message = "a second document begins here; write one document per file".to_owned();
            return Err(whole(second.line, second.column, message));
        }
    };
    let mut checker = Checker::default();
    for twice in &file.twice {
        checker.add(twice.line, twice.column, &twice.path, "is written twice; keep one of them".to_owned());
    }
    let prices = checker.prices(At::root(root));
    checker.problems.sort_by_key(|problem| (problem.line, problem.column));
    match prices {
        Some(prices) if checker.problems.is_empty() => Ok(prices),
        _ => Err(checker.problems),
    }
}

impl Checker {
    fn add(&mut self, line: usize, column: usize, path: &str, message: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { line, column, path: path.to_owned(), message });
        }
    }

    /// Reports what is wrong with the value at `at`.
    pub(super) fn wrong(&mut self, at: At<'_>, message: String) {
        self.add(at.line, at.column, at.path, message);
    }

    /// Calls `each` with every field of a mapping, its path and its place, and reports fields that are not in `known`.
    fn fields(
        &mut self,
        at: At<'_>,
        known: &[&str],
        what: &str,
        mut each: impl FnMut(&mut Self, &str, At<'_>),
    ) {
        if at.node.fields().is_empty() && !matches!(at.node.content, tollgate_yaml::Content::Map(_)) {
            return self.wrong(at, format!("{} is not {what}", shown(at.node)));
        }
        for Field { name, line, column, value } in at.node.fields() {
            let path = join(at.path, &step(name));
            if known.is_empty() || known.contains(&name.as_str()) {
                each(self, name, At { node: value, path: &path, line: value.line, column: value.column });
            } else {
                let message = format!("is not a field; write one of {}, or remove it", known.join(", "));
                self.add(*line, *column, &path, message);
            }
        }
    }

    fn missing(&mut self, at: At<'_>, name: &str, advice: &str) {
        self.add(at.line, at.column, &join(at.path, name), format!("is missing; write {advice}"));
    }

    fn prices(&mut self, root: At<'_>) -> Option<Prices> {
        const KNOWN: [&str; 6] = ["currency", "decimals", "seller", "note", "tiers", "credits"];
        let currency = self.currency(root);
        let decimals = currency.as_ref().map_or(2, |currency| currency.decimals);
        let (mut seller, mut note, mut tiers, mut credits) = (None, None, None, Vec::new());
        let what = format!("a mapping with prices; write {MINIMAL}");
        self.fields(root, &KNOWN, &what, |this, name, at| match name {
            "seller" => seller = this.text(at, "a seller", 2_000),
            "note" => note = this.text(at, "a note", 2_000),
            "tiers" => tiers = Some(this.tiers(at, decimals)),
            "credits" => credits = this.credits(at, decimals),
            _ => {}
        });
        if tiers.is_none() {
            self.missing(
                root,
                "tiers",
                "tiers: { pro: { month: 49.00, included: 1000000, overage: 0.0004 } }",
            );
        }
        Some(Prices { currency: currency?, seller, note, tiers: tiers?, credits })
    }

    fn currency(&mut self, root: At<'_>) -> Option<Currency> {
        let (mut currency, mut decimals, mut is_there) = (None, None, false);
        // Amounts need it, so it is read before them; `prices` reports what is unknown.
        for field in root.node.fields() {
            let at = At {
                node: &field.value,
                path: &field.name,
                line: field.value.line,
                column: field.value.column,
            };
            match field.name.as_str() {
                "currency" => {
                    is_there = true;
                    currency = at.node.text().and_then(Currency::of);
                    if currency.is_none() {
                        let message = "is not a currency; write a code of ISO 4217, such as EUR, USD or JPY";
                        self.wrong(at, format!("{} {message}", shown(at.node)));
                    }
                }
                "decimals" => {
                    let given = at.node.literal().and_then(|text| text.parse::<u8>().ok());
                    decimals = given.filter(|decimals| *decimals <= MAX_DECIMALS);
                    if decimals.is_none() {
                        let message = format!(
                            "is not a number of decimals; write a whole number from 0 to {MAX_DECIMALS}"
                        );
                        self.wrong(at, format!("{} {message}", shown(at.node)));
                    }
                }
                _ => {}
            }
        }
        if !is_there && !root.node.fields().is_empty() {
            self.missing(root, "currency", "currency: EUR, or another code of ISO 4217");
        }
        let currency = currency?;
        Some(Currency { decimals: decimals.unwrap_or(currency.decimals), ..currency })
    }

    fn tiers(&mut self, at: At<'_>, decimals: u8) -> BTreeMap<String, Tier> {
        let mut tiers = BTreeMap::new();
        let what =
            "a mapping of tiers; write tiers: { pro: { month: 49.00, included: 1000000, overage: 0.0004 } }";
        match at.node.fields().len() {
            0 => self.wrong(
                at,
                format!("there is no tier; {}", what.split_once("; ").map_or("", |(_, advice)| advice)),
            ),
            1..=MAX_TIERS => self.fields(at, &[], what, |this, name, at| {
                let tier = this.tier(at, decimals);
                tiers.extend(tier.map(|tier| (name.to_owned(), tier)));
            }),
            many => self.wrong(at, format!("there are {many} tiers; at most {MAX_TIERS} are allowed")),
        }
        tiers
    }

    fn tier(&mut self, at: At<'_>, decimals: u8) -> Option<Tier> {
        let what = "a tier's prices; write { month: 49.00, included: 1000000, overage: 0.0004 }";
        let (mut month, mut included, mut overage) = (None, Some(Some(Quantity(0))), None);
        let mut overage_at = None;
        let (mut has_month, before) = (false, self.problems.len());
        self.fields(at, &["month", "included", "overage"], what, |this, name, at| match name {
            "month" => {
                has_month = true;
                month = this.amount(at, "a price of a month", decimals, Least::Zero);
            }
            "included" => included = this.included(at),
            _ => {
                overage_at = Some((at.line, at.column, at.path.to_owned()));
                overage = this.overage(at);
            }
        });
        if !has_month && before == self.problems.len() {
            self.missing(at, "month", "month: 49.00, or month: 0");
        }
        match (included, &overage_at) {
            (Some(None), Some((line, column, path))) => self.add(*line, *column, path, ALL.to_owned()),
            (Some(Some(_)), None) if before == self.problems.len() => {
                self.missing(at, "overage", "overage: 0.0004, or included: unlimited");
            }
            _ => {}
        }
        Some(Tier { month: month?, included: included?, overage: overage.unwrap_or_default() })
    }

    /// `Some(None)` is all of the use.
    fn included(&mut self, at: At<'_>) -> Option<Option<Quantity>> {
        if at.node.text() == Some("unlimited") {
            return Some(None);
        }
        self.quantity(at, "a number of included units", "or unlimited", Least::Zero).map(Some)
    }

    fn overage(&mut self, at: At<'_>) -> Option<Vec<Step>> {
        let steps = at.node.entries();
        if steps.is_empty() {
            let price = self.price(
                at,
                "0.0004, or a list of steps: [{ up_to: 1000000, price: 0.0004 }, { price: 0.0002 }]",
            )?;
            return Some(vec![Step { up_to: None, price }]);
        }
        if steps.len() > MAX_STEPS {
            self.wrong(at, format!("there are {} steps; at most {MAX_STEPS} are allowed", steps.len()));
            return None;
        }
        let last = steps.len().saturating_sub(1);
        let (mut read, mut reached) = (Vec::new(), Quantity(0));
        for (index, node) in steps.iter().enumerate() {
            let path = format!("{}[{index}]", at.path);
            let here = At { node, path: &path, line: node.line, column: node.column };
            let step = self.step(here, index == last, &mut reached);
            read.push(step);
        }
        read.into_iter().collect()
    }

    fn step(&mut self, at: At<'_>, is_last: bool, reached: &mut Quantity) -> Option<Step> {
        let (mut price, mut up_to, before) = (None, None, self.problems.len());
        let what = "a step; write { up_to: 1000000, price: 0.0004 }";
        let (mut has_price, mut has_end) = (false, false);
        self.fields(at, &["up_to", "price"], what, |this, name, at| {
            if name == "price" {
                has_price = true;
                price = this.price(at, "a number like 0.0004");
                return;
            }
            has_end = true;
            if is_last {
                let message = "the last step has no end; remove up_to, or add a step { price: … } after it";
                return this.wrong(at, message.to_owned());
            }
            up_to = this.quantity(at, "a number of units", "", Least::Part);
            match up_to {
                Some(end) if end <= *reached => {
                    let order = "where the step before it ends; write the steps in order";
                    let message = format!("{end} is not beyond {reached}, {order}");
                    this.wrong(at, message);
                }
                Some(end) => *reached = end,
                None => {}
            }
        });
        if !has_price && before == self.problems.len() {
            self.missing(at, "price", "price: 0.0004");
        }
        if !has_end && !is_last && before == self.problems.len() {
            self.missing(at, "up_to", "up_to: 1000000, or make this step the last one");
        }
        Some(Step { up_to, price: price? })
    }

    fn credits(&mut self, at: At<'_>, decimals: u8) -> Vec<Credit> {
        let credits = at.node.entries();
        if credits.len() > MAX_CREDITS {
            self.wrong(at, format!("there are {} credits; at most {MAX_CREDITS} are allowed", credits.len()));
            return Vec::new();
        }
        if credits.is_empty() && !matches!(at.node.content, tollgate_yaml::Content::List(_)) {
            let advice = "write - { customer: cus_1, amount: 10.00, reason: … } per credit, or remove it";
            self.wrong(at, format!("{} is not a list of credits; {advice}", shown(at.node)));
        }
        let mut read = Vec::new();
        for (index, node) in credits.iter().enumerate() {
            let path = format!("{}[{index}]", at.path);
            read.extend(
                self.credit(At { node, path: &path, line: node.line, column: node.column }, decimals),
            );
        }
        read
    }

    fn credit(&mut self, at: At<'_>, decimals: u8) -> Option<Credit> {
        const KNOWN: [&str; 5] = ["customer", "amount", "from", "until", "reason"];
        let (mut customer, mut amount, mut reason) = (None, None, None);
        let (mut from, mut until): (Option<Month>, Option<Month>) = (None, None);
        let (mut seen, before) = (Vec::new(), self.problems.len());
        let what = "a credit; write { customer: cus_1, amount: 10.00, reason: … }";
        self.fields(at, &KNOWN, what, |this, name, at| {
            seen.push(name.to_owned());
            match name {
                "customer" => customer = this.text(at, "a customer", 1_024),
                "amount" => amount = this.amount(at, "an amount", decimals, Least::Part),
                "reason" => reason = this.text(at, "a reason", 200),
                "from" => from = this.month(at),
                _ => until = this.month(at),
            }
        });
        for (name, advice) in
            [("customer", "customer: cus_1"), ("amount", "amount: 10.00"), ("reason", "reason: launch offer")]
        {
            if before == self.problems.len() && seen.iter().all(|seen| seen != name) {
                self.missing(at, name, advice);
            }
        }
        if let (Some(from), Some(until)) = (from, until)
            && until < from
        {
            let message =
                format!("the last month, {until}, is before the first, {from}; exchange from and until");
            self.wrong(at, message);
        }
        Some(Credit { customer: customer?, amount: amount?, from, until, reason: reason? })
    }

    /// An amount of the currency.
    fn amount(&mut self, at: At<'_>, what: &str, decimals: u8, least: Least) -> Option<Amount> {
        let parts = self.number(at, what, decimals, crate::money::MAX_AMOUNT, least, "")?;
        Some(Amount { minor: i128::try_from(parts).ok()?, decimals })
    }
}
