//! The flags of `tollgate invoice`.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tollgate_core::limit::Month;
use tollgate_core::policy::Token;

use super::Failure;

/// The longest file with a token, in bytes.
const MAX_TOKEN_FILE: u64 = 4_096;

/// Flags of `tollgate invoice`.
#[derive(Args, Clone)]
pub struct Invoice {
    /// The month, UTC, such as 2026-11
    #[arg(long, value_name = "MONTH", value_parser = month)]
    pub month: Month,
    /// What units cost; `tollgate check` reads the same file
    #[arg(long, env = "TOLLGATE_PRICES", value_name = "FILE")]
    pub prices: PathBuf,
    /// Write the invoice of this customer alone; its number stays the one that it has among all
    #[arg(long, value_name = "CUSTOMER", conflicts_with = "seal")]
    pub customer: Option<String>,
    /// The policies' namespace
    #[arg(long, env = "TOLLGATE_NAMESPACE", value_name = "NAME", default_value = "default", value_parser = namespace)]
    pub namespace: String,
    /// The store's URL
    #[arg(long, env = "TOLLGATE_STORE", value_name = "URL", default_value = "http://127.0.0.1:7600")]
    pub store: String,
    /// The admins' token
    #[arg(long, env = "TOLLGATE_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    /// A file with the admins' token; unlike a flag, it is not in the list of processes
    #[arg(long, env = "TOLLGATE_ADMIN_TOKEN_FILE", value_name = "FILE", conflicts_with = "admin_token")]
    pub admin_token_file: Option<PathBuf>,
    /// The authority that signed the store's certificate, PEM; without it the system's authorities count
    #[arg(long, env = "TOLLGATE_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The format
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub format: Format,
    /// A directory, which is made if it ends with / or is needed, or a file; without it the standard output
    #[arg(long, value_name = "DIR|FILE")]
    pub output: Option<PathBuf>,
    /// Keep the result of a final month as invoices-MONTH.json in the output's directory; it then never changes
    #[arg(long, requires = "output")]
    pub seal: bool,
    /// Exit with 4, and seal nothing, if something that was used is on no invoice
    #[arg(long)]
    pub strict: bool,
}

/// See [`Invoice::format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One document.
    Json,
    /// A row per line of an invoice.
    Csv,
    /// A page to print per customer, and a list of them.
    Html,
}

impl Format {
    /// The extension of its files.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Html => "html",
        }
    }
}

fn month(text: &str) -> Result<Month, String> {
    Month::parse(text).ok_or_else(|| "write the year and the month: 2026-11".to_owned())
}

/// A namespace as policies have it. It becomes a part of files' names and of the URL.
fn namespace(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && text.len() <= 64 && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("write letters, digits, ., _ or -, 64 at most, the first a letter or digit".to_owned())
}

impl Invoice {
    /// The token, if there is one.
    ///
    /// # Errors
    /// Its file cannot be read, or it cannot be a token.
    pub fn token(&self) -> Result<Option<String>, Failure> {
        let token = match (&self.admin_token, &self.admin_token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) => {
                let unreadable = |why| Failure::Unreadable(file.display().to_string(), why);
                let opened = std::fs::File::open(file).map_err(unreadable)?;
                let mut text = String::new();
                opened.take(MAX_TOKEN_FILE).read_to_string(&mut text).map_err(unreadable)?;
                text.trim().to_owned()
            }
            (None, None) => return Ok(None),
        };
        if !Token::fits(&token) {
            let text = "the admin token has fewer than 16 characters, or other characters than visible ASCII; write the store's";
            return Err(Failure::Flag(text.to_owned()));
        }
        Ok(Some(token))
    }
}
