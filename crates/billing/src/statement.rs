//! All invoices of a month. Its JSON is the command's, and its schema is stable: `version` grows if a field changes its meaning.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_core::limit::{Day, Month};
use tollgate_core::policy::Visible;
use tollgate_core::units::{NANOS_PER_SECOND, Nanos, UnixNanos};

use crate::currency::Currency;
use crate::invoice::{ConsumerUse, Invoice, section};
use crate::money::{Amount, Quantity};
use crate::prices::{Credit, Prices};

/// The version of the JSON.
pub const VERSION: u32 = 1;

/// How long after its end a month is final: gateways report the last use within it.
pub const SETTLING: Nanos = Nanos(3_600 * NANOS_PER_SECOND);

/// The most missing tiers that an error names.
const NAMED: usize = 20;

/// What one consumer used and who pays for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Use {
    /// Who pays; `None` if nobody does yet.
    pub customer: Option<String>,
    /// The consumer's name, as the store writes it.
    pub consumer: String,
    /// The tier.
    pub tier: String,
    /// Cost units.
    pub used: Quantity,
}

/// Whether an invoice can still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The month runs, or has just ended.
    Draft,
    /// Everything has been counted.
    Final,
}

impl Status {
    /// The status of `month` at `now` by the store's clock.
    #[must_use]
    pub fn of(month: Month, now: UnixNanos) -> Self {
        if now < month.end().after(SETTLING) { Self::Draft } else { Self::Final }
    }

    /// Its name in JSON and CSV.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Final => "final",
        }
    }
}

/// All invoices of one namespace and month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// [`VERSION`].
    pub version: u32,
    /// Whether this result is kept, so that it cannot change.
    pub sealed: bool,
    /// The namespace.
    pub namespace: String,
    /// Such as `2026-11`, UTC.
    pub month: String,
    /// Whether it can still change.
    pub status: Status,
    /// The day on which it was made, by the store's clock.
    pub issued: Day,
    /// What amounts are in.
    pub currency: String,
    /// The decimals of amounts.
    pub decimals: u8,
    /// Who sells.
    pub seller: Option<String>,
    /// What invoices say at their end.
    pub note: Option<String>,
    /// What the result was made of.
    pub digests: Digests,
    /// The invoices in the order of the customers' names.
    pub invoices: Vec<Invoice>,
    /// Use that nobody pays for yet.
    pub unmapped: Vec<Unmapped>,
    /// The sum of the invoices' totals.
    pub total: Amount,
}

/// SHA-256 of the input, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digests {
    /// Of the file of prices.
    pub prices: String,
    /// Of the use of all consumers, with who pays for them.
    pub usage: String,
}

/// Use that nobody pays for yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unmapped {
    /// The consumer.
    pub consumer: String,
    /// Its tier.
    pub tier: String,
    /// Cost units.
    pub used: Quantity,
}

/// Why there are no invoices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStatement {
    /// Tiers without a price were used.
    #[error("{}", without_price(.0))]
    Unpriced(BTreeMap<String, String>),
    /// An amount is too large to be kept.
    #[error("what customer {} used costs more than can be counted", Visible(.0))]
    Overflow(String),
}

/// Names each tier with one of its consumers.
fn without_price(tiers: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (tier, consumer) in tiers.iter().take(NAMED) {
        let end = if text.is_empty() { "" } else { "\n" };
        let (tier, consumer) = (Visible(tier), Visible(consumer));
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "{end}tier {tier} (consumer {consumer}) has no price; add tiers.{tier} to the prices"
        );
    }
    let more = tiers.len().saturating_sub(NAMED);
    if more > 0 {
        let _ = write!(text, "\nand {more} more tiers");
    }
    text
}

/// What the invoices are made for.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The month.
    pub month: Month,
    /// The store's clock.
    pub now: UnixNanos,
}

type Tiers = BTreeMap<String, BTreeMap<String, Quantity>>;

impl Statement {
    /// The invoices over `uses`, which may be in any order. `file` is the text that `prices` was read from.
    ///
    /// # Errors
    /// See [`NoStatement`].
    pub fn of(
        occasion: Occasion<'_>,
        prices: &Prices,
        file: &[u8],
        mut uses: Vec<Use>,
    ) -> Result<Self, NoStatement> {
        uses.sort_unstable();
        let usage = digest_of_uses(&uses);
        let (customers, unmapped) = by_customer(uses);
        let missing = customers.values().flatten().filter(|(tier, _)| !prices.tiers.contains_key(*tier));
        let missing: BTreeMap<_, _> = missing
            .map(|(tier, consumers)| (tier.clone(), consumers.keys().next().cloned().unwrap_or_default()))
            .collect();
        if !missing.is_empty() {
            return Err(NoStatement::Unpriced(missing));
        }
        let status = Status::of(occasion.month, occasion.now);
        let credits = credits_of(&prices.credits);
        let Currency { code, decimals } = prices.currency.clone();
        let mut invoices = Vec::with_capacity(customers.len());
        let mut total = Amount::zero(decimals);
        for (customer, tiers) in customers {
            let credits = credits.get(customer.as_str()).map(Vec::as_slice).unwrap_or_default();
            let made = made(customer.clone(), tiers, credits, prices, occasion.month);
            let invoice = made.ok_or_else(|| NoStatement::Overflow(customer.clone()))?;
            total = total.plus(invoice.total).ok_or(NoStatement::Overflow(customer))?;
            let place = invoices.len().saturating_add(1);
            let number = (status == Status::Final).then(|| number(occasion, place));
            invoices.push(Invoice { number, ..invoice });
        }
        Ok(Self {
            version: VERSION,
            sealed: false,
            namespace: occasion.namespace.to_owned(),
            month: occasion.month.to_string(),
            status,
            issued: Day::of(occasion.now),
            currency: code,
            decimals,
            seller: prices.seller.clone(),
            note: prices.note.clone(),
            digests: Digests { prices: digest(file), usage },
            invoices,
            unmapped,
            total,
        })
    }

    /// The statement with the invoice of `customer` alone, under the number that it has among all; `None` if there is none.
    #[must_use]
    pub fn only(&self, customer: &str) -> Option<Self> {
        let invoice = self.invoices.iter().find(|invoice| invoice.customer == customer)?;
        Some(Self {
            invoices: vec![invoice.clone()],
            unmapped: Vec::new(),
            total: invoice.total,
            ..self.clone()
        })
    }

    /// The credits' customers that have no invoice.
    #[must_use]
    pub fn without_invoice<'a>(&self, prices: &'a Prices, month: Month) -> BTreeSet<&'a str> {
        let mut idle: BTreeSet<_> = prices
            .credits
            .iter()
            .filter(|credit| credit.counts_in(month))
            .map(|credit| credit.customer.as_str())
            .collect();
        for invoice in &self.invoices {
            idle.remove(invoice.customer.as_str());
        }
        idle
    }
}

/// The invoice's number: by the place of the customer's name among all.
fn number(occasion: Occasion<'_>, place: usize) -> String {
    format!("{}-{}-{place:04}", occasion.namespace, occasion.month)
}

fn made(
    customer: String,
    tiers: Tiers,
    credits: &[&Credit],
    prices: &Prices,
    month: Month,
) -> Option<Invoice> {
    let mut sections = Vec::with_capacity(tiers.len());
    for (name, consumers) in tiers {
        let tier = prices.tiers.get(&name)?;
        let consumers =
            consumers.into_iter().map(|(consumer, used)| ConsumerUse { consumer, used }).collect();
        sections.push(section(&name, tier, consumers)?);
    }
    Invoice::of(customer, sections, credits, prices, month)
}

fn by_customer(uses: Vec<Use>) -> (BTreeMap<String, Tiers>, Vec<Unmapped>) {
    let (mut customers, mut unmapped): (BTreeMap<String, Tiers>, Vec<Unmapped>) = Default::default();
    for Use { customer, consumer, tier, used } in uses {
        let Some(customer) = customer else {
            if used > Quantity::default() {
                unmapped.push(Unmapped { consumer, tier, used });
            }
            continue;
        };
        let consumers = customers.entry(customer).or_default().entry(tier).or_default();
        let sum = consumers.entry(consumer).or_default();
        *sum = sum.plus(used);
    }
    (customers, unmapped)
}

fn credits_of(credits: &[Credit]) -> HashMap<&str, Vec<&Credit>> {
    let mut of: HashMap<&str, Vec<&Credit>> = HashMap::new();
    for credit in credits {
        of.entry(&credit.customer).or_default().push(credit);
    }
    of
}

/// SHA-256 of `bytes`, as `sha256sum` prints it.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes).as_slice())
}

/// SHA-256 of sorted uses, each as a line of JSON.
fn digest_of_uses(uses: &[Use]) -> String {
    let mut hash = Sha256::new();
    for one in uses {
        hash.update(serde_json::json!([one.customer, one.consumer, one.tier, one.used]).to_string());
        hash.update("\n");
    }
    hexadecimal(hash.finalize().as_slice())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
pub(crate) mod tests;
