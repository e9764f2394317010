//! What a month's use was, and who pays for it, as the store says it.

use std::collections::{BTreeMap, HashMap};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_billing::money::Quantity;
use tollgate_billing::payers::{Payer, Period, on, payer};
use tollgate_billing::statement::{Status, Use};
use tollgate_core::limit::{Day, Month};
use tollgate_core::units::UnixNanos;

use super::client::{Answer, Client, ClientError};
use super::stream::{document, rows};

/// How many consumers a page of customers has.
const PAGE: usize = 500;
/// The most bytes of a page.
const PAGE_BYTES: u64 = 64 << 20;
/// The most bytes of one consumer's days.
const DAYS_BYTES: u64 = 64 << 10;

/// What RFC 3986 lets stand in a segment of a path and in a query.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// All use of a month.
pub struct Gathered {
    /// One entry per consumer, or several if who pays changes.
    pub uses: Vec<Use>,
    /// The store's clock.
    pub now: UnixNanos,
    /// What does not add up.
    pub warnings: Vec<String>,
}

/// A row of `GET /v1/usage/{namespace}`.
#[derive(Deserialize)]
struct Row {
    namespace: String,
    consumer: String,
    tier: String,
    month: String,
    used: Box<RawValue>,
}

#[derive(Deserialize)]
struct Page {
    customers: Vec<Mapped>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Mapped {
    consumer: String,
    periods: Vec<Period>,
}

#[derive(Deserialize)]
struct Days {
    days: Vec<OfDay>,
}

#[derive(Deserialize)]
struct OfDay {
    day: Day,
    used: Box<RawValue>,
}

/// A consumer whose customer changes inside the month.
struct Changing {
    consumer: String,
    tier: String,
    used: Quantity,
}

/// Asks the store.
///
/// # Errors
/// The store cannot be asked, or its answer cannot be used.
pub fn gather(client: &mut Client, namespace: &str, month: Month) -> Result<Gathered, ClientError> {
    let customers = customers(client, namespace)?;
    let path = format!("/v1/usage/{namespace}?month={month}&format=json");
    let call = format!("GET {path}");
    let answer = client.get(&path)?;
    let now = answer.date.ok_or_else(|| {
        ClientError::Wrong(
            call.clone(),
            "the answer has no Date, so nobody knows whether the month is over".to_owned(),
        )
    })?;
    let (mut uses, mut changing) = (Vec::new(), Vec::new());
    let done = rows(answer, |row: Row| {
        if row.namespace != namespace || row.month != month.to_string() {
            return Err(format!("a row is of {} and namespace {}", row.month, row.namespace));
        }
        let Row { consumer, tier, used, .. } = row;
        let used = quantity(&used).ok_or_else(|| format!("{} is not an amount of cost units", used.get()))?;
        let periods = customers.get(&consumer).map(Vec::as_slice).unwrap_or_default();
        let paying = payer(periods, month).map_err(|both| {
            format!("consumer {consumer} has two customers on {}; correct its periods", both.0)
        })?;
        let customer = match paying {
            Payer::Nobody => None,
            Payer::One(customer) => Some(customer.to_owned()),
            Payer::Changes => {
                changing.push(Changing { consumer, tier, used });
                return Ok(());
            }
        };
        uses.push(Use { customer, consumer, tier, used });
        Ok(())
    });
    done.map_err(|why| unusable(&call, &why))?;
    let (is_final, mut warnings) = (Status::of(month, now) == Status::Final, Vec::new());
    for one in changing {
        let periods = customers.get(&one.consumer).map(Vec::as_slice).unwrap_or_default();
        uses.extend(split(client, namespace, month, periods, &one, is_final, &mut warnings)?);
    }
    Ok(Gathered { uses, now, warnings })
}

/// All periods by the consumers' names.
fn customers(client: &mut Client, namespace: &str) -> Result<HashMap<String, Vec<Period>>, ClientError> {
    let mut all: HashMap<String, Vec<Period>> = HashMap::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/customers/{namespace}?limit={PAGE}{after}");
        let call = format!("GET {path}");
        let answer = get(client, &path)?;
        let page: Page = document(answer, PAGE_BYTES).map_err(|why| unusable(&call, &why))?;
        let is_empty = page.customers.is_empty();
        for Mapped { consumer, periods } in page.customers {
            all.entry(consumer).or_default().extend(periods);
        }
        let Some(next) = page.next else { return Ok(all) };
        let next = format!("&after={}", utf8_percent_encode(&next, RESERVED));
        if next == after || is_empty {
            return Err(ClientError::Wrong(call, "its pages do not end".to_owned()));
        }
        after = next;
    }
}

/// Divides a consumer's use among those who pay on its days.
fn split(
    client: &mut Client,
    namespace: &str,
    month: Month,
    periods: &[Period],
    whole: &Changing,
    is_final: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<Use>, ClientError> {
    let consumer = &whole.consumer;
    let (first, after) = (Day::first_of(month), Day::after(month));
    let name = utf8_percent_encode(consumer, RESERVED);
    let path = format!("/v1/usage/{namespace}/{name}?from={first}&to={after}&by=day");
    let call = format!("GET {path}");
    let answer = get(client, &path)?;
    let Days { days } = document(answer, DAYS_BYTES).map_err(|why| unusable(&call, &why))?;
    let wrong = |text: String| ClientError::Wrong(call.clone(), text);
    let (mut sums, mut seen, mut sum) = (BTreeMap::new(), Vec::new(), Quantity::default());
    for OfDay { day, used } in days {
        if day.month() != month || seen.contains(&day) {
            return Err(wrong(format!("{day} is another month's, or is there twice")));
        }
        seen.push(day);
        let used =
            quantity(&used).ok_or_else(|| wrong(format!("{} is not an amount of cost units", used.get())))?;
        let of_payer = sums.entry(on(periods, day).map(str::to_owned)).or_insert_with(Quantity::default);
        *of_payer = of_payer.plus(used);
        sum = sum.plus(used);
    }
    // What the month has and no day is never dropped. While the month runs, it may go on between the two calls.
    let rest = whole.used.less(sum);
    if rest > Quantity::default() {
        warnings.push(format!(
            "consumer {consumer}: {rest} units of the month are on no day, so nobody pays for them"
        ));
        let nobody = sums.entry(None).or_insert_with(Quantity::default);
        *nobody = nobody.plus(rest);
    } else if is_final && sum > whole.used {
        warnings.push(format!(
            "consumer {consumer}: its days have {sum} units and its month {}; the days count",
            whole.used
        ));
    }
    let uses = sums.into_iter().filter(|(_, used)| *used > Quantity::default());
    Ok(uses
        .map(|(customer, used)| Use { customer, consumer: consumer.clone(), tier: whole.tier.clone(), used })
        .collect())
}

/// Calls what older stores do not know: there the path is unknown, or its query is.
fn get<'a>(client: &'a mut Client, path: &str) -> Result<Answer<'a>, ClientError> {
    client.get(path).map_err(|error| match error {
        ClientError::Refused(call, 404, _) => ClientError::TooOld(call),
        ClientError::Refused(call, 400, detail) if detail.contains("unknown field") => {
            ClientError::TooOld(call)
        }
        other => other,
    })
}

/// An amount that the store can count, from its digits.
fn quantity(digits: &RawValue) -> Option<Quantity> {
    digits.get().parse().ok().filter(|quantity: &Quantity| quantity.0 <= u64::MAX.into())
}

fn unusable(call: &str, why: &serde_json::Error) -> ClientError {
    if why.is_io() || why.is_eof() {
        return ClientError::Broken(call.to_owned(), why.to_string());
    }
    ClientError::Wrong(call.to_owned(), format!("the answer cannot be used: {why}"))
}
