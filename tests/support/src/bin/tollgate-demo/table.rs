//! The visits as a table.

use crate::visit::Visit;

/// The width of a column.
const WIDTH: usize = 9;

const HEAD: [&str; WIDTH] = [
    "X-Quota-Tier",
    "consumer",
    "request",
    "status",
    "Limit",
    "Remaining",
    "Monthly",
    "used",
    "at the limit",
];

/// The table's text. Limit, Remaining and Monthly are `X-RateLimit-Limit`, `X-RateLimit-Remaining` and
/// `X-Quota-Monthly-Remaining` of the first answer; used is the store's count at the end; a dot means that there is no value.
#[must_use]
pub fn of(visits: &[Visit]) -> String {
    let rows: Vec<[String; WIDTH]> =
        [HEAD.map(str::to_owned)].into_iter().chain(visits.iter().map(row)).collect();
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn row(visit: &Visit) -> [String; WIDTH] {
    let header = |name| visit.first.header(name).unwrap_or("·").to_owned();
    [
        header("x-quota-tier"),
        visit.who.into(),
        visit.target.into(),
        visit.first.status.to_string(),
        header("x-ratelimit-limit"),
        header("x-ratelimit-remaining"),
        header("x-quota-monthly-remaining"),
        visit.used.map_or("·".into(), |used| used.to_string()),
        visit.end.clone(),
    ]
}

fn line(row: &[String; WIDTH], widths: &[usize]) -> String {
    let cells: Vec<String> = row.iter().zip(widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
    format!("{}\n", cells.join("  ").trim_end())
}
