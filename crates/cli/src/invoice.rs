//! `tollgate invoice`: asks a store what a month's use was and who pays for it, and writes the invoices.
//!
//! ```text
//! client (HTTP) ──stream──▶ uses ──tollgate_billing──▶ Statement ──output──▶ files, standard output
//! ```

mod client;
mod output;
mod settings;
mod stream;
mod uses;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tollgate_billing::prices::{Prices, Problem};
use tollgate_billing::statement::{NoStatement, Occasion, SETTLING, Statement, Status};
use tollgate_core::limit::Month;
use tollgate_core::policy::Visible;
use tollgate_store::accounts::MONTHS_KEPT;

use self::client::{Client, ClientError};
pub use self::settings::{Format, Invoice};
use self::uses::{Gathered, gather};
use crate::lint;

/// How many names a warning has.
const NAMED: usize = 10;

/// Why there are no invoices.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file of prices cannot be read.
    #[error("{file}: cannot be read: {1}", file = Visible(.0))]
    Unreadable(String, #[source] io::Error),
    /// The file of prices is wrong.
    #[error("{}", lines(.0, .1))]
    Prices(String, Vec<Problem>),
    /// A flag cannot work.
    #[error("{0}")]
    Flag(String),
    /// What was asked for cannot be had.
    #[error("{text}", text = Visible(.0))]
    Impossible(String),
    /// The store cannot be asked, or its answer cannot be used.
    #[error(transparent)]
    Store(#[from] ClientError),
    /// The prices do not fit what was used.
    #[error(transparent)]
    Statement(#[from] NoStatement),
    /// A file cannot be written or must not be.
    #[error("{file}: {1}", file = shown(.0))]
    File(PathBuf, String),
    /// The month is sealed, and the result is another one now.
    #[error("{file} is sealed, and the result is another one now; nothing was written:\n{}", .1.join("\n"), file = shown(.0))]
    Sealed(PathBuf, Vec<String>),
    /// Standard output is closed.
    #[error("the output cannot be written: {0}")]
    Output(#[source] io::Error),
}

impl Failure {
    /// The command's exit status.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Unreadable(..) | Self::Flag(_) => 2,
            Self::Sealed(..) => 3,
            _ => 1,
        }
    }
}

fn shown(file: &Path) -> String {
    Visible(&file.display().to_string()).to_string()
}

fn lines(file: &str, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("{}:{problem}", Visible(file))).collect();
    lines.join("\n")
}

/// How a run that wrote invoices ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Everything that was used is on an invoice, or nobody minds.
    Well,
    /// With `--strict`: something is on no invoice. Nothing was sealed.
    Unmapped,
}

/// Makes the invoices. Warnings go to `err`, and what has no file to `out`.
///
/// # Errors
/// See [`Failure`].
pub fn run(settings: &Invoice, out: &mut dyn Write, err: &mut dyn Write) -> Result<Done, Failure> {
    let name = settings.prices.display().to_string();
    let file = lint::read(&settings.prices).map_err(|why| Failure::Unreadable(name.clone(), why))?;
    let prices = Prices::read(&file).map_err(|problems| Failure::Prices(name, problems))?;
    let target = output::target(settings)?;
    let mut client = Client::new(&settings.store, settings.token()?, settings.ca.as_deref())?;
    let Gathered { uses, now, warnings } = gather(&mut client, &settings.namespace, settings.month)?;
    in_reach(settings.month, Month::of(now))?;
    let occasion = Occasion { namespace: &settings.namespace, month: settings.month, now };
    let statement = Statement::of(occasion, &prices, &file, uses)?;

    let mut warn =
        |text: &str| writeln!(err, "tollgate invoice: warning: {}", Visible(text)).map_err(Failure::Output);
    for warning in &warnings {
        warn(warning)?;
    }
    for warning in about(&statement, &prices, settings) {
        warn(&warning)?;
    }
    let is_whole = statement.unmapped.is_empty() && warnings.is_empty();
    if settings.seal && statement.status == Status::Draft {
        let final_from = settings.month.end().after(SETTLING).micros();
        let moment = tollgate_store::app::moment::rfc3339(final_from);
        return Err(Failure::Impossible(format!(
            "{} can still change by the store's clock; seal it after {moment}",
            settings.month
        )));
    }
    let ends_well = is_whole || !settings.strict;
    output::write(settings, &target, statement, settings.seal && ends_well, out)?;
    Ok(if ends_well { Done::Well } else { Done::Unmapped })
}

/// What a reader of the invoices should know.
fn about(statement: &Statement, prices: &Prices, settings: &Invoice) -> Vec<String> {
    let mut said = Vec::new();
    if !statement.unmapped.is_empty() {
        let names: Vec<&str> = statement.unmapped.iter().map(|one| one.consumer.as_str()).collect();
        let sum = statement
            .unmapped
            .iter()
            .fold(Default::default(), |sum: tollgate_billing::money::Quantity, one| sum.plus(one.used));
        said.push(format!(
            "{sum} units are on no invoice, as nobody pays for {}",
            listed("consumer", &names)
        ));
    }
    let idle: Vec<&str> = statement.without_invoice(prices, settings.month).into_iter().collect();
    if !idle.is_empty() {
        said.push(format!("there are credits, but no use, of {}", listed("customer", &idle)));
    }
    if statement.invoices.is_empty() && statement.unmapped.is_empty() {
        said.push(format!("nothing was used in {} of namespace {}", statement.month, statement.namespace));
    }
    said
}

fn listed(what: &str, names: &[&str]) -> String {
    let end = if names.len() == 1 { "" } else { "s" };
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown: Vec<&str> = names.iter().take(NAMED).copied().collect();
    format!("{} {what}{end}: {}{more}", names.len(), shown.join(", "))
}

/// Refuses months that the store has forgotten or that have not begun: their empty lists would look like no use.
fn in_reach(month: Month, current: Month) -> Result<(), Failure> {
    if month > current {
        return Err(Failure::Impossible(format!(
            "{month} has not begun by the store's clock, which is in {current}"
        )));
    }
    if current.0.saturating_sub(month.0) >= MONTHS_KEPT {
        return Err(Failure::Impossible(format!(
            "{month} is too long ago: the store keeps {MONTHS_KEPT} months, and it is {current}"
        )));
    }
    Ok(())
}
