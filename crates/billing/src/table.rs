//! The invoices as a table (RFC 4180): a row per line of an invoice, and one per consumer that nobody pays for.

use std::io;

use tollgate_core::spreadsheet::inert;

use crate::statement::Statement;

/// The header line's fields.
pub const COLUMNS: [&str; 12] = [
    "namespace",
    "month",
    "status",
    "number",
    "customer",
    "tier",
    "kind",
    "text",
    "quantity",
    "unit_price",
    "amount",
    "currency",
];

/// The kind of a row that belongs to no invoice: its text is the consumer.
pub const UNMAPPED: &str = "unmapped";

/// Writes the table. Names that spreadsheets would take for formulas get an apostrophe in front.
///
/// # Errors
/// `out` cannot be written.
pub fn write(statement: &Statement, out: impl io::Write) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    let status = statement.status.name();
    writer.write_record(COLUMNS)?;
    let head = [statement.namespace.as_str(), &statement.month, status];
    for invoice in &statement.invoices {
        let number = invoice.number.as_deref().unwrap_or_default();
        for (tier, line) in invoice.lines() {
            let row = [
                &inert(number),
                &inert(&invoice.customer),
                &inert(tier),
                line.kind.name(),
                &inert(&line.text),
                &line.quantity.to_string(),
                &line.unit_price.map(|price| price.to_string()).unwrap_or_default(),
                &line.amount.to_string(),
                &statement.currency,
            ];
            writer.write_record(head.iter().chain(&row))?;
        }
    }
    for one in &statement.unmapped {
        let row = [
            "",
            "",
            &inert(&one.tier),
            UNMAPPED,
            &inert(&one.consumer),
            &one.used.to_string(),
            "",
            "",
            &statement.currency,
        ];
        writer.write_record(head.iter().chain(&row))?;
    }
    writer.flush()
}
