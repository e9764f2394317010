//! The operator's settings: flags, each of which is also an environment variable.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::app::access::Tokens;
use crate::app::state::Bounds;

/// The shortest token, in characters: long enough not to be guessed.
const MIN_TOKEN: usize = 16;

/// Flags of `tollgate store`.
#[derive(Args, Clone)]
pub struct Settings {
    /// The IP address and port to listen on; beyond loopback both tokens are needed
    #[arg(long, env = "TOLLGATE_LISTEN", default_value = "127.0.0.1:7600")]
    pub listen: SocketAddr,
    /// Where accounts are kept: memory, redb:PATH, redis://, rediss://, redis+sentinel:// or redis-cluster://
    #[arg(
        long,
        env = "TOLLGATE_BACKEND",
        value_name = "URL",
        default_value = "redb:tollgate.redb",
        hide_env_values = true
    )]
    pub backend: String,
    /// A policy, or a kong.yml or envoy.yaml with policies: the store then knows its namespace's tiers and prices
    /// before any gateway calls. Repeatable; in the variable, `:` separates files. SIGHUP rereads them
    #[arg(long, env = "TOLLGATE_POLICY", value_name = "FILE", value_delimiter = ':')]
    pub policy: Vec<PathBuf>,
    /// The gateways' token, at least 16 characters
    #[arg(long, env = "TOLLGATE_GATEWAY_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub gateway_token: Option<String>,
    /// A file with the gateways' token; unlike a flag, it is not in the list of processes
    #[arg(long, env = "TOLLGATE_GATEWAY_TOKEN_FILE", value_name = "FILE", conflicts_with = "gateway_token")]
    pub gateway_token_file: Option<PathBuf>,
    /// The admins' token, at least 16 characters
    #[arg(long, env = "TOLLGATE_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    /// A file with the admins' token
    #[arg(long, env = "TOLLGATE_ADMIN_TOKEN_FILE", value_name = "FILE", conflicts_with = "admin_token")]
    pub admin_token_file: Option<PathBuf>,
    /// A certificate with its signers, PEM; the store then speaks TLS. It is reread when the file changes
    #[arg(long, env = "TOLLGATE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, env = "TOLLGATE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The format of log lines, which go to standard error
    #[arg(long, env = "TOLLGATE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// The level of log lines: error, warn, info, debug, trace, or directives such as info,hyper=debug
    #[arg(long, env = "TOLLGATE_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// The most concurrent requests; more get 503
    #[arg(long, env = "TOLLGATE_MAX_REQUESTS", value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    pub max_requests: usize,
    /// The most connections; for more, connections without a token are closed
    #[arg(long, env = "TOLLGATE_MAX_CONNECTIONS", value_name = "N", default_value_t = 4096, value_parser = at_least_one)]
    pub max_connections: usize,
    /// The longest time until a response's headers, in milliseconds
    #[arg(long, env = "TOLLGATE_REQUEST_TIMEOUT", value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub request_timeout: u64,
    /// The longest time of one call to the backend, in milliseconds
    #[arg(long, env = "TOLLGATE_BACKEND_TIMEOUT", value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub backend_timeout: u64,
    /// The longest time to send a request's headers, to be idle, or to read nothing of a response, in milliseconds
    #[arg(long, env = "TOLLGATE_HEADER_TIMEOUT", value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub header_timeout: u64,
    /// How long running requests may go on after a signal to stop, in milliseconds
    #[arg(long, env = "TOLLGATE_DRAIN_TIMEOUT", value_name = "MS", default_value_t = 10_000)]
    pub drain_timeout: u64,
}

/// See [`Settings::log_format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// Everybody who reaches the port would be an admin.
    #[error(
        "--listen {0} is beyond loopback, and there is no {1} token: write --gateway-token-file and --admin-token-file \
         (or TOLLGATE_GATEWAY_TOKEN and TOLLGATE_ADMIN_TOKEN), or listen on 127.0.0.1"
    )]
    Open(SocketAddr, &'static str),
    /// The token could be guessed.
    #[error(
        "the {0} token has fewer than {MIN_TOKEN} characters, or other characters than visible ASCII; use `openssl rand -hex 32`"
    )]
    Weak(&'static str),
    /// Every gateway would be an admin.
    #[error("the gateway's and the admin's token are the same; use two different ones")]
    Same,
    /// The file cannot be read.
    #[error("the {0} token's file {1} cannot be read: {2}")]
    Unreadable(&'static str, String, String),
}

impl Settings {
    /// The tokens, if they are good enough for the address that the store listens on.
    ///
    /// # Errors
    /// They are not; the error says what to write instead.
    pub fn tokens(&self) -> Result<Tokens, SettingsError> {
        let tokens = Tokens {
            gateway: token("gateway", self.gateway_token.as_deref(), self.gateway_token_file.as_deref())?,
            admin: token("admin", self.admin_token.as_deref(), self.admin_token_file.as_deref())?,
        };
        if tokens.gateway.is_some() && tokens.gateway == tokens.admin {
            return Err(SettingsError::Same);
        }
        if !self.listen.ip().to_canonical().is_loopback() {
            let missing = [("gateway", &tokens.gateway), ("admin", &tokens.admin)];
            if let Some((which, _)) = missing.into_iter().find(|(_, token)| token.is_none()) {
                return Err(SettingsError::Open(self.listen, which));
            }
        }
        Ok(tokens)
    }

    /// The bounds of the app.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        Bounds {
            requests: self.max_requests,
            request_time: Duration::from_millis(self.request_timeout),
            backend_time: Duration::from_millis(self.backend_timeout),
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number >= 1).ok_or_else(|| "write a whole number from 1".to_owned())
}

fn token(
    which: &'static str,
    given: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<String>, SettingsError> {
    let read = |file: &Path| {
        std::fs::read_to_string(file)
            .map_err(|why| SettingsError::Unreadable(which, file.display().to_string(), why.to_string()))
    };
    let from_file = file.map(read).transpose()?;
    let Some(token) = from_file.as_deref().map(str::trim).or(given) else { return Ok(None) };
    if token.len() < MIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SettingsError::Weak(which));
    }
    Ok(Some(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn tokens(flags: &[&str]) -> Result<Tokens, SettingsError> {
        Line::try_parse_from(["store"].iter().chain(flags)).unwrap().settings.tokens()
    }

    #[test]
    fn beyond_loopback_both_tokens_are_needed() {
        let (gateway, admin) = ("--gateway-token=gateway-token-0001", "--admin-token=admin-token-000001");
        assert!(tokens(&[]).is_ok());
        assert!(tokens(&["--listen=[::1]:7600"]).is_ok());
        for listen in ["--listen=0.0.0.0:7600", "--listen=[::]:7600", "--listen=10.0.0.1:7600"] {
            assert!(matches!(tokens(&[listen]), Err(SettingsError::Open(_, "gateway"))), "{listen}");
            assert!(matches!(tokens(&[listen, gateway]), Err(SettingsError::Open(_, "admin"))), "{listen}");
            assert!(tokens(&[listen, gateway, admin]).is_ok(), "{listen}");
        }
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused() {
        for weak in ["", "short", "fifteen-letters", "with spaces in it, sixteen"] {
            let flag = format!("--admin-token={weak}");
            assert_eq!(tokens(&[&flag]).err(), Some(SettingsError::Weak("admin")), "{weak}");
        }
        let same = ["--gateway-token=0123456789abcdef", "--admin-token=0123456789abcdef"];
        assert_eq!(tokens(&same).err(), Some(SettingsError::Same));
        let missing = tokens(&["--admin-token-file=/nowhere/at/all"]);
        assert!(matches!(missing.err(), Some(SettingsError::Unreadable("admin", ..))));
    }

    #[test]
    fn every_flag_is_an_environment_variable_too() {
        use clap::CommandFactory;
        for flag in Line::command().get_arguments() {
            let name = flag.get_id().as_str().to_uppercase();
            assert_eq!(flag.get_env().unwrap().to_str().unwrap(), format!("TOLLGATE_{name}"));
        }
    }

    #[test]
    fn every_flag_is_written_about_with_its_default() {
        use clap::CommandFactory;
        let document = include_str!("../../../docs/store.md");
        for flag in Line::command().get_arguments() {
            let name = format!("`--{}`", flag.get_long().unwrap());
            let row = document.lines().find(|line| line.starts_with('|') && line.contains(&name));
            let row = row.unwrap_or_else(|| panic!("{name} has no row"));
            for default in flag.get_default_values() {
                assert!(row.contains(&format!("`{}`", default.to_str().unwrap())), "{row}");
            }
        }
    }
}
