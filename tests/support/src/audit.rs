//! What a store's audit log says of changes of customers.

use std::collections::BTreeMap;

use serde_json::Value;

/// Each consumer's periods after all of `lines`, oldest first, of which each names the periods that are gone and those
/// that are new. Other lines are passed over.
///
/// # Errors
/// A line takes away what was not there: a change has no line, or a line no change.
pub fn customers(lines: &[Value]) -> anyhow::Result<BTreeMap<String, Vec<Value>>> {
    let mut customers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let list = |line: &Value, name: &str| line[name].as_array().cloned().unwrap_or_default();
    for line in lines {
        if !matches!(line["action"].as_str(), Some("customer_set" | "customer_removed")) {
            continue;
        }
        let periods = customers.entry(line["consumer"].as_str().unwrap_or_default().to_owned()).or_default();
        for gone in list(line, "before") {
            let place = periods.iter().position(|period| *period == gone);
            let place = place.ok_or_else(|| anyhow::anyhow!("{line} takes {gone} away from {periods:?}"))?;
            periods.remove(place);
        }
        periods.extend(list(line, "after"));
        periods.sort_by_key(|period| period["starts"].as_str().unwrap_or_default().to_owned());
    }
    Ok(customers)
}
