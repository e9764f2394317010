//! What differs between a sealed month and a new result. A sealed month never changes, so any difference is a refusal.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_core::policy::Visible;

use crate::invoice::Invoice;
use crate::statement::Statement;

/// The most differences that are told.
const TOLD: usize = 20;

/// What is different in `now`, in sentences; empty if the result is the same.
///
/// The digests, the day and the seller's texts may differ: prices of later months change the file, and the sealed texts stay.
#[must_use]
pub fn differences(sealed: &Statement, now: &Statement) -> Vec<String> {
    let mut said = Vec::new();
    let whole = [
        ("namespace", &sealed.namespace, &now.namespace),
        ("month", &sealed.month, &now.month),
        ("currency", &sealed.currency, &now.currency),
        ("decimals", &sealed.decimals.to_string(), &now.decimals.to_string()),
        ("total", &sealed.total.to_string(), &now.total.to_string()),
    ];
    for (what, then, now) in whole {
        if then != now {
            said.push(format!("{what}: sealed as {}, now {}", Visible(then), Visible(now)));
        }
    }
    of_customers(sealed, now, &mut said);
    of_unmapped(sealed, now, &mut said);
    if !said.is_empty() && sealed.digests.prices != now.digests.prices {
        said.push("the file of prices is another one than at the sealing".to_owned());
    }
    let more = said.len().saturating_sub(TOLD);
    if more > 0 {
        said.truncate(TOLD);
        said.push(format!("and {more} more differences"));
    }
    said
}

fn of_customers(sealed: &Statement, now: &Statement, said: &mut Vec<String>) {
    let by_name = |statement: &'_ Statement| -> BTreeMap<String, Invoice> {
        statement.invoices.iter().map(|invoice| (invoice.customer.clone(), invoice.clone())).collect()
    };
    let (then, mut now) = (by_name(sealed), by_name(now));
    for (customer, then) in then {
        let name = Visible(&customer);
        match now.remove(&customer) {
            None => said.push(format!("customer {name}: sealed with {}, now without an invoice", then.total)),
            Some(now) if now.total != then.total => {
                said.push(format!("customer {name}: sealed with {}, now {}", then.total, now.total));
            }
            Some(now) if now.number != then.number => {
                let number = |invoice: &Invoice| invoice.number.clone().unwrap_or_else(|| "none".to_owned());
                said.push(format!(
                    "customer {name}: sealed as {}, now {}",
                    Visible(&number(&then)),
                    Visible(&number(&now))
                ));
            }
            Some(now) if now != then => {
                said.push(format!("customer {name}: other lines, with the same total"))
            }
            Some(_) => {}
        }
    }
    said.extend(now.values().map(|invoice| {
        format!("customer {}: sealed without an invoice, now {}", Visible(&invoice.customer), invoice.total)
    }));
}

fn of_unmapped(sealed: &Statement, now: &Statement, said: &mut Vec<String>) {
    let then: BTreeSet<_> = sealed.unmapped.iter().collect();
    let now: BTreeSet<_> = now.unmapped.iter().collect();
    said.extend(then.difference(&now).map(|one| {
        format!("consumer {}: sealed with {} units that nobody paid for", Visible(&one.consumer), one.used)
    }));
    said.extend(now.difference(&then).map(|one| {
        format!("consumer {}: now with {} units that nobody pays for", Visible(&one.consumer), one.used)
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::tests::{made, one};

    #[test]
    fn the_same_result_has_no_difference_whatever_the_files_digest_and_the_day() {
        let sealed = made(&[one("a", "x", "pro", 5)]);
        let mut now = sealed.clone();
        now.digests.prices = "another".into();
        now.issued = now.issued.next();
        assert_eq!(differences(&sealed, &now), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_told() {
        let sealed = made(&[
            one("a", "x", "pro", 2_000_000_000),
            one("b", "y", "pro", 5),
            one("c", "z", "pro", 5),
            one("", "u", "pro", 7),
        ]);
        let now = made(&[
            one("a", "x", "pro", 3_000_000_000),
            one("aa", "y", "pro", 5),
            one("c", "zz", "pro", 5),
            one("", "v", "pro", 7),
        ]);
        assert_eq!(
            differences(&sealed, &now),
            [
                "total: sealed as 547.00, now 813.67",
                "customer a: sealed with 449.00, now 715.67",
                "customer b: sealed with 49.00, now without an invoice",
                "customer c: other lines, with the same total",
                "customer aa: sealed without an invoice, now 49.00",
                "consumer u: sealed with 0.007 units that nobody paid for",
                "consumer v: now with 0.007 units that nobody pays for",
            ]
        );
        let before = made(&[one("0", "0", "pro", 1), one("b", "y", "pro", 5)]);
        let said = differences(&made(&[one("b", "y", "pro", 5)]), &before);
        assert!(
            said.contains(&"customer b: sealed as n-2026-11-0001, now n-2026-11-0002".to_owned()),
            "{said:?}"
        );
    }

    #[test]
    fn a_thousand_differences_are_a_readable_list() {
        let many: Vec<_> = (0..1_000).map(|number| one(&format!("c{number}"), "x", "pro", 1)).collect();
        let said = differences(&made(&[]), &made(&many));
        assert_eq!((said.len(), said[20].as_str()), (21, "and 981 more differences"));
    }
}
