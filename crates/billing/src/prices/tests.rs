use proptest::prelude::*;

use super::*;

const GOOD: &str = "currency: EUR
seller: |
  Example GmbH
  Ring 1, Bonn
note: Payable within 14 days.
tiers:
  free: { month: 0, included: 1000, overage: 0 }
  pro:
    month: 49.00
    included: 1000000
    overage:
      - { up_to: 1000000, price: 0.0004 }
      - { price: 0.000200000001 }
  partner: { month: '1500', included: unlimited }
credits:
  - { customer: cus_1, amount: 10.00, from: 2026-11, until: 2027-01, reason: launch offer }
";

fn problems(text: &str) -> Vec<String> {
    Prices::read(text.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
}

/// What is wrong after `old` in the good file was replaced by `new`.
#[track_caller]
fn wrong(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    let said = problems(&GOOD.replace(old, new));
    assert_eq!(said.len(), 1, "{said:#?}");
    said[0].clone()
}

#[test]
fn a_good_file_is_read_exactly() {
    let prices = Prices::read(GOOD.as_bytes()).unwrap();
    assert_eq!(prices.currency, Currency { code: "EUR".into(), decimals: 2 });
    assert_eq!(prices.seller.as_deref(), Some("Example GmbH\nRing 1, Bonn\n"));
    let pro = &prices.tiers["pro"];
    assert_eq!((pro.month.to_string(), pro.included), ("49.00".into(), Some(Quantity(1_000_000_000))));
    assert_eq!(pro.overage[1].price.to_string(), "0.000200000001");
    assert_eq!(prices.tiers["partner"].included, None);
    assert_eq!(prices.tiers["free"].overage, [Step { up_to: None, price: Price::default() }]);
    let credit = &prices.credits[0];
    let counts = |month| credit.counts_in(Month::parse(month).unwrap());
    assert_eq!(["2026-10", "2026-11", "2027-01", "2027-02"].map(counts), [false, true, true, false]);
    assert!(Prices::are_in(GOOD.as_bytes()));
    let json = r#"{"currency": "JPY", "tiers": {"a": {"month": 500, "overage": 0.5}}}"#;
    assert_eq!(Prices::read(json.as_bytes()).unwrap().currency.decimals, 0);
}

#[test]
fn every_mistake_has_its_place_and_what_to_write() {
    for (old, new, said) in [
        (
            "EUR",
            "EURO",
            "1:11: currency: \"EURO\" is not a currency; write a code of ISO 4217, such as EUR, USD or JPY",
        ),
        (
            "month: 0,",
            "month: -1,",
            "7:18: tiers.free.month: -1 is not a price of a month; it is negative; write 0 or more, like 49.00",
        ),
        (
            "month: 49.00",
            "month: 49.001",
            "9:12: tiers.pro.month: 49.001 is not a price of a month; write at most 2 decimals, like 49.00",
        ),
        (
            "month: 49.00",
            "month: 1e3",
            "9:12: tiers.pro.month: \"1e3\" is not a price of a month; write a number like 49.00",
        ),
        (
            "month: 49.00",
            "month: 1000000000000.01",
            "9:12: tiers.pro.month: 1000000000000.01 is not a price of a month; it is too large; write at most 1000000000000",
        ),
        ("month: 49.00\n    ", "", "9:5: tiers.pro.month: is missing; write month: 49.00, or month: 0"),
        (
            "included: 1000000",
            "included: all",
            "10:15: tiers.pro.included: \"all\" is not a number of included units; write a number like 1000000, or unlimited",
        ),
        (
            "included: 1000000",
            "include: 1000000",
            "10:5: tiers.pro.include: is not a field; write one of month, included, overage, or remove it",
        ),
        (
            ", overage: 0 }",
            " }",
            "7:9: tiers.free.overage: is missing; write overage: 0.0004, or included: unlimited",
        ),
        (
            "included: unlimited }",
            "included: unlimited, overage: 1 }",
            "14:59: tiers.partner.overage: all of the use is included, so nothing is beyond it; remove overage, \
             or write included: 1000000",
        ),
        (
            "price: 0.000200000001",
            "price: 0.0002000000001",
            "13:18: tiers.pro.overage[1].price: 0.0002000000001 is not a price of a unit; write at most 12 decimals, like 0.0004",
        ),
        (
            "{ price: 0.000200000001 }",
            "{ up_to: 2, price: 1 }",
            "13:18: tiers.pro.overage[1].up_to: the last step has no end; remove up_to, or add a step { price: … } after it",
        ),
        (
            "{ up_to: 1000000, price: 0.0004 }",
            "{ price: 0.0004 }",
            "12:9: tiers.pro.overage[0].up_to: is missing; write up_to: 1000000, or make this step the last one",
        ),
        (
            "{ up_to: 1000000, price: 0.0004 }",
            "{ up_to: 0, price: 0.0004 }",
            "12:18: tiers.pro.overage[0].up_to: 0 is not a number of units; write a number above 0, like 1000000",
        ),
        (
            "- { price: 0.000200000001 }",
            "- { up_to: 1000000, price: 1 }\n      - { price: 1 }",
            "13:18: tiers.pro.overage[1].up_to: 1000000 is not beyond 1000000, where the step before it ends; \
             write the steps in order",
        ),
        (
            "until: 2027-01",
            "until: 2026-10",
            "16:5: credits[0]: the last month, 2026-10, is before the first, 2026-11; exchange from and until",
        ),
        (
            "from: 2026-11",
            "from: 2026-11-01",
            "16:45: credits[0].from: \"2026-11-01\" is not a month; write the year and the month: 2026-11",
        ),
        (
            "customer: cus_1",
            "customer: 4711",
            "16:17: credits[0].customer: 4711 is not a customer; write a text of 1 to 1024 bytes in quotes",
        ),
        (", reason: launch offer", "", "16:5: credits[0].reason: is missing; write reason: launch offer"),
        (
            "amount: 10.00",
            "amount: 0",
            "16:32: credits[0].amount: 0 is not an amount; write a number above 0, like 49.00",
        ),
        ("note: Payable within 14 days.", "seller: x", "5:1: seller: is written twice; keep one of them"),
        (
            "note:",
            "vat:",
            "5:1: vat: is not a field; write one of currency, decimals, seller, note, tiers, credits, or remove it",
        ),
        (
            "seller: |",
            "decimals: 7\nseller: |",
            "2:11: decimals: 7 is not a number of decimals; write a whole number from 0 to 6",
        ),
    ] {
        assert_eq!(wrong(old, new), said);
    }
}

#[test]
fn files_that_are_no_prices_say_what_to_write() {
    for (text, said) in [
        ("", "1:1: there are no prices here; write currency: EUR and tiers:"),
        ("- 1\n", "1:1: a list is not a mapping with prices; write currency: EUR and tiers:"),
        ("currency: EUR\n", "1:1: tiers: is missing; write tiers:"),
        ("currency: EUR\ntiers: {}\n", "2:8: tiers: there is no tier; write tiers:"),
        ("currency: EUR\ntiers: { a: 1 }\n", "2:13: tiers.a: 1 is not a tier's prices; write { month:"),
        ("tiers: { a: { month: 1, overage: 0 } }\n", "1:1: currency: is missing; write currency: EUR"),
        ("currency: EUR\n---\ncurrency: EUR\n", "3:1: a second document begins here"),
        ("currency: *a\n", "1:11: "),
    ] {
        let problems = problems(text);
        assert!(problems[0].starts_with(said), "{text}: {problems:?}");
    }
    let said = Prices::read(b"currency: EUR\n\xff").unwrap_err();
    assert_eq!(said[0].to_string(), "2:1: the file is not UTF-8 text; save it as UTF-8");
}

#[test]
fn all_mistakes_are_told_at_once_but_not_a_million_of_them() {
    let many: String = (0..1_000).map(|number| format!("  t{number}: {{ month: x }}\n")).collect();
    let said = problems(&format!("currency: EUR\ntiers:\n{many}"));
    assert_eq!(said.len(), 100);
    let said = problems("currency: E\ntiers: { a: { month: x, included: y, overage: z } }\n");
    assert_eq!(said.len(), 4, "{said:?}");
}

#[test]
fn a_policy_is_not_taken_for_prices() {
    assert!(!Prices::are_in(
        b"tiers: { free: { rate: 1/day, monthly: 5 } }\ndefault_tier: free\nanonymous: { rate: 1/day }\n"
    ));
    assert!(!Prices::are_in(b"tiers: { free: { rate: 1/day } }\n"));
    assert!(
        !Prices::are_in(b"- 1\n")
            && !Prices::are_in(b"")
            && !Prices::are_in(b"\xff")
            && !Prices::are_in(b"a: *b")
    );
    assert!(Prices::are_in(b"tiers: { free: { month: 1 } }\n"));
    assert!(Prices::are_in(b"credits: []\n"));
}

/// Texts of what files of prices consist of.
const TEXTS: &str = "([ \n]{0,4}(currency|EUR|decimals|tiers|a|month|included|overage|up_to|price|credits|customer|amount|from|\
                     until|reason|2026-11|-1|0|12|unlimited|-|:|\\{|\\}|\\[|\\]|,|\"|&a|\\*a) ?){0,40}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics_and_every_refusal_says_why(text in TEXTS) {
        if let Err(problems) = Prices::read(text.as_bytes()) {
            prop_assert!(!problems.is_empty());
        }
    }
}
