//! The `tollgate` command: its arguments, and what it prints. The work is in the library of this crate.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tollgate_billing::prices::Prices;
use tollgate_cli::invoice::{self, Done, Invoice};
use tollgate_cli::lint::{self, Kind};
use tollgate_cli::policies;
use tollgate_core::policy::Visible;
use tollgate_store::serve;
use tollgate_store::settings::Settings;

/// Rate limits and quotas for API gateways.
#[derive(Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks the policies or prices in files: what is wrong, and what to write instead
    ///
    /// A file is a policy, a declarative configuration of Kong or a bootstrap configuration of Envoy, in YAML or JSON.
    /// Every filter or plugin of Tollgate in it is checked. A file with `currency`, `credits` or tiers with prices has
    /// the prices of `tollgate invoice`. Mistakes go to standard error, one per line: `file:line:
    /// path: what is wrong, what to write instead`; in prices a column follows the line.
    ///
    /// Exit status: 0 if every policy is valid, 1 if something is wrong, 2 if a file cannot be read.
    Check(Check),
    /// Runs the store: it lends budget to gateways, and keeps what consumers have used
    ///
    /// It stops on SIGTERM or SIGINT, after the running requests have ended.
    ///
    /// Exit status: 0 if it was told to stop, 1 if it cannot start.
    Store(Box<Settings>),
    /// Makes a month's invoices from a store's usage and a file of prices
    ///
    /// Until an hour after the month's end by the store's clock they are drafts without numbers. With --seal the result
    /// is kept, and later runs refuse another one.
    ///
    /// Exit status: 0 if the invoices are written, 1 if something is wrong, 2 for wrong flags and files that cannot be
    /// read, 3 if the month is sealed with another result, 4 with --strict if something that was used is on no invoice.
    Invoice(Box<Invoice>),
    /// Prints the file that Kong reads beside the filter: tollgate.meta.json
    Meta,
}

#[derive(Args)]
struct Check {
    /// The files to check
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print nothing about valid policies
    #[arg(short, long, env = "TOLLGATE_QUIET", value_parser = clap::builder::FalseyValueParser::new())]
    quiet: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Check(what) => check_files(&what),
        Command::Store(settings) => run_store(*settings),
        Command::Invoice(settings) => make_invoices(&settings),
        Command::Meta => print_meta(),
    };
    // The output is closed, so nobody can be told.
    done.unwrap_or(ExitCode::from(2))
}

/// Checks every file, and prints the report on each.
fn check_files(what: &Check) -> io::Result<ExitCode> {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let mut worst = 0;
    for file in &what.files {
        let name = file.display().to_string();
        let name = Visible(&name);
        let lines = match lint::read(file) {
            Ok(text) if Prices::are_in(&text) => {
                let is_right = check_prices(&name, &text, what.quiet, &mut out, &mut err)?;
                worst = worst.max(u8::from(!is_right));
                continue;
            }
            Ok(text) => lint::lint(&text),
            Err(error) => {
                writeln!(err, "{name}: cannot be read: {error}")?;
                worst = 2;
                continue;
            }
        };
        for line in lines {
            match line.kind {
                Kind::Wrong => {
                    worst = worst.max(1);
                    writeln!(err, "{name}:{line}")?;
                }
                Kind::Warning if !what.quiet => writeln!(err, "{name}:{line}")?,
                Kind::Passed if !what.quiet => writeln!(out, "{name}:{line}")?,
                Kind::Warning | Kind::Passed => {}
            }
        }
    }
    Ok(ExitCode::from(worst))
}

/// Checks a file of prices, and prints the report on it.
fn check_prices(
    name: &Visible<'_>,
    text: &[u8],
    quiet: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<bool> {
    match Prices::read(text) {
        Ok(prices) if !quiet => {
            let (currency, tiers) = (&prices.currency.code, prices.tiers.len());
            let end = if tiers == 1 { "" } else { "s" };
            writeln!(out, "{name}:1: ok: prices in {currency}, {tiers} tier{end}")?;
        }
        Ok(_) => {}
        Err(problems) => {
            for problem in problems {
                writeln!(err, "{name}:{problem}")?;
            }
            return Ok(false);
        }
    }
    Ok(true)
}

fn make_invoices(settings: &Invoice) -> io::Result<ExitCode> {
    let done = invoice::run(settings, &mut io::stdout().lock(), &mut io::stderr().lock());
    match done {
        Ok(Done::Well) => Ok(ExitCode::SUCCESS),
        Ok(Done::Unmapped) => Ok(ExitCode::from(4)),
        Err(failure) => {
            let said = failure.to_string();
            for line in said.lines() {
                writeln!(io::stderr(), "tollgate invoice: {line}")?;
            }
            Ok(ExitCode::from(failure.code()))
        }
    }
}

fn run_store(settings: Settings) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Err(why) = runtime.block_on(serve::run(settings, policies::read)) {
        writeln!(io::stderr(), "tollgate store: {why}")?;
        return Ok(ExitCode::FAILURE);
    }
    // Requests have had their time, so this does not wait for calls to the backend.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

fn print_meta() -> io::Result<ExitCode> {
    writeln!(io::stdout(), "{:#}", tollgate_core::policy::schema::meta())?;
    Ok(ExitCode::SUCCESS)
}
