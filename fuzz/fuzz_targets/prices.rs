//! A file of prices is read, or says what is wrong; with prices that are read, invoices over any use add up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_billing::money::Quantity;
use tollgate_billing::prices::Prices;
use tollgate_billing::seal::differences;
use tollgate_billing::statement::{Occasion, Statement, Use};
use tollgate_billing::{page, table};
use tollgate_core::limit::Month;

fuzz_target!(|bytes: &[u8]| {
    let prices = match Prices::read(bytes) {
        Ok(prices) => prices,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= 100);
            for problem in problems {
                let said = problem.to_string();
                assert!(
                    problem.line >= 1 && problem.column >= 1 && !said.contains(char::is_control),
                    "{said:?}"
                );
            }
            return;
        }
    };
    let month = Month::parse("2026-11").unwrap();
    let occasion = Occasion { namespace: "n", month, now: Month(month.0 + 1).end() };
    // Each customer of a credit uses each tier, one of them more than a store can count in a year.
    let customers =
        prices.credits.iter().take(4).map(|credit| credit.customer.clone()).chain(["c".to_owned()]);
    let uses: Vec<Use> = customers
        .flat_map(|customer| prices.tiers.keys().map(move |tier| (customer.clone(), tier.clone())))
        .zip([u64::MAX, 0, 1, 1_000_000_001, 2_500_000_000].into_iter().cycle())
        .map(|((customer, tier), used)| {
            let used = Quantity(used.into());
            Use { customer: Some(customer), consumer: tier.clone(), tier, used }
        })
        .collect();
    let made = Statement::of(occasion, &prices, bytes, uses).unwrap();
    for invoice in &made.invoices {
        let sum: i128 = invoice.lines().map(|(_, line)| line.amount.minor).sum();
        assert!(invoice.total.minor == sum && sum >= 0);
        let shown = page::invoice(&made, invoice).unwrap();
        assert!(!shown.contains("<script") && !shown.contains("<img"));
    }
    table::write(&made, &mut Vec::new()).unwrap();
    let json = serde_json::to_string(&made).unwrap();
    assert!(differences(&serde_json::from_str(&json).unwrap(), &made).is_empty());
});
