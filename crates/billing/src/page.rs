//! The invoices as pages for people and printers: each is one file that needs nothing else and runs nothing.
//!
//! Names come from others. The templates escape them, and what is invisible or turns the writing direction is written out.

use askama::Template;
use tollgate_core::policy::Visible;

use crate::invoice::Invoice;
use crate::statement::{Statement, Status};

/// The name of the index.
pub const INDEX: &str = "index.html";

#[derive(Template)]
#[template(path = "invoice.html")]
struct InvoicePage<'a> {
    statement: &'a Statement,
    invoice: &'a Invoice,
    is_draft: bool,
}

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage<'a> {
    statement: &'a Statement,
    rows: Vec<(String, &'a Invoice)>,
    is_draft: bool,
}

/// The beginning of the names of a month's drafts.
#[must_use]
pub fn draft_prefix(statement: &Statement) -> String {
    format!("draft-{}-{}-", statement.namespace, statement.month)
}

/// The file's name of the invoice at `place`, counted from 0, without its extension: its number, or in a draft the place.
#[must_use]
pub fn name(statement: &Statement, place: usize) -> String {
    let number = statement.invoices.get(place).and_then(|invoice| invoice.number.clone());
    number.unwrap_or_else(|| format!("{}{:04}", draft_prefix(statement), place.saturating_add(1)))
}

/// The page of one invoice.
///
/// # Errors
/// The template fails, which is a mistake in it.
pub fn invoice(statement: &Statement, invoice: &Invoice) -> Result<String, askama::Error> {
    InvoicePage { statement, invoice, is_draft: statement.status == Status::Draft }.render()
}

/// The page that lists all invoices, and what nobody pays for.
///
/// # Errors
/// The template fails, which is a mistake in it.
pub fn index(statement: &Statement) -> Result<String, askama::Error> {
    let rows = statement.invoices.iter().enumerate();
    let rows = rows.map(|(place, invoice)| (format!("{}.html", name(statement, place)), invoice)).collect();
    IndexPage { statement, rows, is_draft: statement.status == Status::Draft }.render()
}

/// What the templates write of the lines of a text, or of a name.
fn lines(text: &str) -> impl Iterator<Item = Visible<'_>> {
    text.lines().map(Visible)
}

#[cfg(test)]
mod tests;
