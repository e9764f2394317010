use proptest::prelude::*;

use super::*;
use crate::invoice::{Kind, Line};
use crate::table;

const PRICES: &str = "currency: EUR
tiers:
  free: { month: 0, included: 1000, overage: 0.01 }
  pro:
    month: 49.00
    included: 1000000
    overage:
      - { up_to: 1000000, price: 0.0004 }
      - { up_to: 1500000, price: 0.000333333333 }
      - { price: 0.0002 }
  partner: { month: 1500, included: unlimited }
credits:
  - { customer: cus_1, amount: 10.00, from: 2026-11, until: 2026-12, reason: =launch }
  - { customer: cus_1, amount: 100.00, from: 2026-11, reason: apology }
  - { customer: idle, amount: 1.00, reason: gift }
";

/// A day after November's end.
fn later() -> UnixNanos {
    Month::parse("2026-11").unwrap().end().after(Nanos::from_seconds(86_400))
}

/// What `consumer` used, in thousandths; nobody pays if `customer` is empty.
pub fn one(customer: &str, consumer: &str, tier: &str, used: u64) -> Use {
    let customer = Some(customer.to_owned()).filter(|name| !name.is_empty());
    Use { customer, consumer: consumer.into(), tier: tier.into(), used: Quantity(used.into()) }
}

fn at(now: UnixNanos, uses: &[Use]) -> Result<Statement, NoStatement> {
    let prices = Prices::read(PRICES.as_bytes()).unwrap();
    let occasion = Occasion { namespace: "n", month: Month::parse("2026-11").unwrap(), now };
    Statement::of(occasion, &prices, PRICES.as_bytes(), uses.to_vec())
}

/// The final statement of November.
pub fn made(uses: &[Use]) -> Statement {
    at(later(), uses).unwrap()
}

fn amounts(invoice: &Invoice) -> Vec<(Kind, String, String)> {
    invoice.lines().map(|(_, line)| (line.kind, line.quantity.to_string(), line.amount.to_string())).collect()
}

#[test]
fn a_tier_is_its_month_what_is_included_and_the_steps_beyond() {
    let statement = made(&[one("cus_2", "acme", "pro", 2_700_000_500)]);
    let line = |kind, quantity: &str, amount: &str| (kind, quantity.to_owned(), amount.to_owned());
    assert_eq!(
        amounts(&statement.invoices[0]),
        [
            line(Kind::Month, "1", "49.00"),
            line(Kind::Included, "1000000", "0.00"),
            line(Kind::Overage, "1000000", "400.00"),
            line(Kind::Overage, "500000", "166.67"),
            line(Kind::Overage, "200000.5", "40.00"),
        ]
    );
    assert_eq!(statement.invoices[0].total.to_string(), "655.67");
    assert_eq!(statement.total, statement.invoices[0].total);
}

#[test]
fn exactly_what_is_included_costs_nothing_more_and_a_part_more_does() {
    let lines = |used| made(&[one("c", "x", "free", used)]).invoices[0].lines().count();
    assert_eq!((lines(0), lines(1), lines(1_000_000), lines(1_000_001)), (1, 2, 2, 3));
    let partner = made(&[one("c", "x", "partner", u64::MAX)]);
    assert_eq!(partner.invoices[0].total.to_string(), "1500.00");
}

#[test]
fn each_tier_of_a_customer_has_its_section() {
    let statement =
        made(&[one("c", "y", "pro", 1), one("c", "x", "free", 1_100_000), one("c", "x", "pro", 1)]);
    let sections = &statement.invoices[0].sections;
    assert_eq!(sections.iter().map(|section| section.tier.as_str()).collect::<Vec<_>>(), ["free", "pro"]);
    assert_eq!(sections[1].consumers.iter().map(|one| one.consumer.as_str()).collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(statement.total.to_string(), "50.00");
}

#[test]
fn credits_are_taken_in_their_order_and_never_below_zero() {
    let statement = made(&[one("cus_1", "x", "pro", 1)]);
    let credits: Vec<_> = statement.invoices[0].credits.iter().map(|line| line.amount.to_string()).collect();
    assert_eq!(
        (credits, statement.total.to_string()),
        (vec!["-10.00".into(), "-39.00".into()], "0.00".into())
    );
    let free = made(&[one("cus_1", "x", "free", 1)]);
    assert!(free.invoices[0].credits.is_empty());
    let prices = Prices::read(PRICES.as_bytes()).unwrap();
    let month = Month::parse("2026-11").unwrap();
    assert_eq!(statement.without_invoice(&prices, month).into_iter().collect::<Vec<_>>(), ["idle"]);
}

#[test]
fn use_without_a_customer_is_listed_and_on_no_invoice() {
    let statement =
        made(&[one("", "new", "no such tier", 5), one("", "idle", "free", 0), one("c", "x", "free", 1)]);
    assert_eq!(statement.unmapped.len(), 1);
    assert_eq!((statement.unmapped[0].consumer.as_str(), statement.unmapped[0].used), ("new", Quantity(5)));
    assert_eq!(statement.invoices.len(), 1);
}

#[test]
fn a_tier_without_a_price_is_named_with_what_to_write() {
    let error = at(later(), &[one("c", "x", "gold", 1), one("c", "y", "tin\u{1b}", 0)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tier gold (consumer x) has no price; add tiers.gold to the prices\n\
         tier tin\\u{1b} (consumer y) has no price; add tiers.tin\\u{1b} to the prices"
    );
}

#[test]
fn numbers_are_given_an_hour_after_the_months_end_in_the_order_of_names() {
    let uses = [one("b", "1", "free", 1), one("ä", "2", "free", 1), one("a", "3", "free", 1)];
    let end = Month::parse("2026-11").unwrap().end();
    for (now, status) in [
        (end, Status::Draft),
        (UnixNanos(end.after(SETTLING).0 - 1), Status::Draft),
        (end.after(SETTLING), Status::Final),
    ] {
        let statement = at(now, &uses).unwrap();
        assert_eq!(statement.status, status);
        let numbers: Vec<_> = statement
            .invoices
            .iter()
            .map(|invoice| (invoice.customer.as_str(), invoice.number.as_deref()))
            .collect();
        let number = |number| (status == Status::Final).then_some(number);
        assert_eq!(
            numbers,
            [
                ("a", number("n-2026-11-0001")),
                ("b", number("n-2026-11-0002")),
                ("ä", number("n-2026-11-0003"))
            ]
        );
    }
    let only = made(&uses).only("b").unwrap();
    assert_eq!(only.invoices[0].number.as_deref(), Some("n-2026-11-0002"));
    assert_eq!(made(&uses).only("c"), None);
}

#[test]
fn the_digests_are_sha_256_of_the_file_and_the_use() {
    assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let uses = [one("c", "x", "free", 1), one("", "y", "free", 2)];
    let (first, second) = (made(&uses), made(&[uses[1].clone(), uses[0].clone()]));
    assert_eq!(first.digests, second.digests);
    assert_ne!(
        first.digests.usage,
        made(&[one("c", "x", "free", 1), one("c", "y", "free", 2)]).digests.usage
    );
    assert_eq!(first.digests.prices, digest(PRICES.as_bytes()));
}

#[test]
fn json_is_read_as_it_is_written_and_has_no_floating_point() {
    let statement = made(&[one("cus_1", "x", "pro", 2_700_000_500), one("", "y", "free", 7)]);
    let json = serde_json::to_string_pretty(&statement).unwrap();
    assert_eq!(serde_json::from_str::<Statement>(&json).unwrap(), statement);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["invoices"][0]["sections"][0]["lines"][3]["unit_price"], "0.000333333333");
    assert_eq!(value["invoices"][0]["credits"][0]["amount"], "-10.00");
    assert_eq!(
        (&value["total"], &value["currency"], &value["decimals"]),
        (&"545.67".into(), &"EUR".into(), &2.into())
    );
    assert_eq!(value["unmapped"][0]["used"], "0.007");
}

#[test]
fn a_table_has_a_row_per_line_and_no_formulas() {
    let statement =
        made(&[one("=cmd()", "x", "free", 1), one("cus_1", "@y,\"z\"", "pro", 1), one("", "+u", "free", 7)]);
    let mut text = Vec::new();
    table::write(&statement, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(rows.len(), 2 + 2 + 2 + 1);
    assert_eq!(
        rows[0],
        [
            "n",
            "2026-11",
            "final",
            "n-2026-11-0001",
            "'=cmd()",
            "free",
            "month",
            "Tier free",
            "1",
            "",
            "0.00",
            "EUR"
        ]
    );
    assert_eq!(rows[4][6..11], ["credit", "'=launch", "1", "", "-10.00"]);
    assert_eq!(rows[6], ["n", "2026-11", "final", "", "", "free", "unmapped", "'+u", "0.007", "", "", "EUR"]);
    assert!(
        text.starts_with("namespace,month,")
            && text.ends_with("\r\n")
            && !text.replace("\r\n", "").contains('\n')
    );
}

fn uses() -> impl Strategy<Value = Vec<Use>> {
    let names = |names: &'static [&'static str]| prop::sample::select(names).prop_map(str::to_owned);
    let used = prop_oneof![0..5_000_000_000_u64, any::<u64>()];
    let one = (
        names(&["cus_1", "b", "c", ""]),
        names(&["x", "y", "z", "w"]),
        names(&["free", "pro", "partner"]),
        used,
    );
    prop::collection::vec(
        one.prop_map(|(customer, consumer, tier, used)| self::one(&customer, &consumer, &tier, used)),
        0..12,
    )
}

/// Everything about the money, and nothing about the consumers' names.
fn money(statement: &Statement) -> Vec<(String, Vec<Line>, Amount)> {
    let of = |invoice: &Invoice| {
        let lines = invoice.lines().map(|(_, line)| line.clone()).collect();
        (invoice.customer.clone(), lines, invoice.total)
    };
    statement.invoices.iter().map(of).collect()
}

proptest! {
    #[test]
    fn lines_add_up_to_the_totals_and_nothing_overflows(uses in uses()) {
        let statement = made(&uses);
        let mut total = 0;
        for invoice in &statement.invoices {
            let sum: i128 = invoice.lines().map(|(_, line)| line.amount.minor).sum();
            prop_assert_eq!(invoice.total.minor, sum);
            prop_assert!(sum >= 0);
            for section in &invoice.sections {
                prop_assert_eq!(section.subtotal.minor, section.lines.iter().map(|line| line.amount.minor).sum::<i128>());
                let units: u128 = section.lines.iter().filter(|line| line.kind != Kind::Month).map(|line| line.quantity.0).sum();
                prop_assert_eq!(units, section.used.0);
                prop_assert_eq!(units, section.consumers.iter().map(|one| one.used.0).sum::<u128>());
            }
            total += sum;
        }
        prop_assert_eq!(statement.total.minor, total);
    }

    #[test]
    fn every_unit_is_on_an_invoice_or_unmapped(uses in uses()) {
        let statement = made(&uses);
        let on_invoices = statement.invoices.iter().flat_map(|invoice| &invoice.sections).map(|section| section.used.0);
        let unmapped = statement.unmapped.iter().map(|one| one.used.0);
        prop_assert_eq!(on_invoices.chain(unmapped).sum::<u128>(), uses.iter().map(|one| one.used.0).sum::<u128>());
    }

    #[test]
    fn splitting_a_customers_use_over_consumers_changes_nothing(uses in uses(), parts in 1..4_u128) {
        let split: Vec<Use> = uses.iter().flat_map(|whole| {
            (0..parts).map(move |part| {
                // The first part has what does not divide.
                let rest = if part == 0 { whole.used.0 % parts } else { 0 };
                let used = Quantity(whole.used.0 / parts + rest);
                Use { consumer: format!("{}-{part}", whole.consumer), used, ..whole.clone() }
            })
        }).collect();
        prop_assert_eq!(money(&made(&split)), money(&made(&uses)));
    }

    #[test]
    fn the_order_changes_nothing(uses in uses(), seed in any::<usize>()) {
        let mut other = uses.clone();
        other.reverse();
        if !other.is_empty() {
            let middle = seed % other.len();
            other.rotate_left(middle);
        }
        prop_assert_eq!(made(&other), made(&uses));
    }

    #[test]
    fn more_use_never_costs_less(uses in uses(), at in any::<usize>(), more in any::<u64>()) {
        prop_assume!(!uses.is_empty());
        let mut after = uses.clone();
        let at = at % after.len();
        after[at].used.0 += u128::from(more);
        let (before, after) = (made(&uses), made(&after));
        for (before, after) in before.invoices.iter().zip(&after.invoices) {
            prop_assert!(after.total >= before.total);
        }
        prop_assert!(after.total >= before.total);
    }
}
