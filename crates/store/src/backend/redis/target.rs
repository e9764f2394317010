//! The URL of a Redis, parsed.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// How long to wait for a connection if the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait for an answer if the URL does not say.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a URL names no Redis. It never contains the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Redis URL: {0}")]
pub struct UrlError(pub(super) String);

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    /// A name, or an IP address without brackets.
    pub name: String,
    pub port: u16,
}

/// The user and the password for a server.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
}

/// The PEM files for a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    /// The certificate authority to trust, or `None` for the system's.
    pub ca: Option<String>,
    /// The client's certificate and its key.
    pub client: Option<(String, String)>,
}

/// How to find the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One server.
    Single { host: Address, database: i64 },
    /// Sentinels know the master of `service`.
    Sentinel { hosts: Vec<Address>, service: String, database: i64, login: Login },
    /// Some nodes of a cluster, which know the others.
    Cluster { hosts: Vec<Address> },
}

/// Everything that a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub layout: Layout,
    pub login: Login,
    /// `None` means a connection without TLS.
    pub tls: Option<Tls>,
    pub connect_timeout: Duration,
    pub command_timeout: Duration,
    /// How many replicas must have a write before it is answered.
    pub replicas: u32,
}

impl Target {
    /// Parses `url`.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong(SCHEMES))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let query = Query::parse(query)?;
        let (is_tls, kind) = match scheme {
            "redis" => (false, Kind::Single),
            "rediss" => (true, Kind::Single),
            "redis+sentinel" => (false, Kind::Sentinel),
            "rediss+sentinel" => (true, Kind::Sentinel),
            "redis-cluster" => (false, Kind::Cluster),
            "rediss-cluster" => (true, Kind::Cluster),
            _ => return Err(wrong(SCHEMES)),
        };
        if !is_tls && query.tls != Tls::default() {
            return Err(wrong("ca, cert and key need TLS: write rediss… for redis…"));
        }
        let default_port = if kind == Kind::Sentinel { 26_379 } else { 6_379 };
        let hosts =
            hosts.split(',').map(|host| Address::parse(host, default_port)).collect::<Result<Vec<_>, _>>()?;
        let layout = match kind {
            Kind::Single => {
                let [host] = <[Address; 1]>::try_from(hosts).map_err(|_| {
                    wrong("one host for redis://; several are redis-cluster:// or redis+sentinel://")
                })?;
                Layout::Single { host, database: database(path)? }
            }
            Kind::Sentinel => {
                let (service, path) = path.split_once('/').unwrap_or((path, ""));
                if service.is_empty() {
                    return Err(wrong(
                        "name the Sentinels' service: redis+sentinel://host:26379,host:26379/mymaster/0",
                    ));
                }
                let (service, database) = (decode(service)?, database(path)?);
                Layout::Sentinel { hosts, service, database, login: query.sentinel_login }
            }
            Kind::Cluster if path.is_empty() || path == "0" => Layout::Cluster { hosts },
            Kind::Cluster => return Err(wrong("a cluster has no databases; leave the path out")),
        };
        Ok(Self {
            layout,
            login: Login::parse(login)?,
            tls: is_tls.then_some(query.tls),
            connect_timeout: query.connect_timeout,
            command_timeout: query.command_timeout,
            replicas: query.replicas,
        })
    }
}

const SCHEMES: &str = "it starts with redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis-cluster:// or rediss-cluster://";

const PARAMETERS: &str = "its parameters are ca, cert, key (files in PEM), connect_timeout and timeout (500ms, 2s), replicas, sentinel_user and sentinel_password";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

impl Address {
    pub fn parse(text: &str, default_port: u16) -> Result<Self, UrlError> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("an IPv6 address ends in a bracket: [::1]:6379"))?;
                (name, port.strip_prefix(':'))
            }
            None => match text.rsplit_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port =
            port.map_or(Ok(default_port), str::parse).map_err(|_| wrong("a port is a number up to 65535"))?;
        if name.is_empty() {
            return Err(wrong("a host is missing: redis://host:6379"));
        }
        Ok(Self { name: name.to_owned(), port })
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, UrlError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (user, password) = text
            .split_once(':')
            .ok_or_else(|| wrong("a login is user:password@, or :password@ for the default user"))?;
        let user = decode(user)?;
        Ok(Self { user: Some(user).filter(|user| !user.is_empty()), password: Some(decode(password)?) })
    }
}

/// The part behind the question mark.
struct Query {
    tls: Tls,
    connect_timeout: Duration,
    command_timeout: Duration,
    replicas: u32,
    sentinel_login: Login,
}

impl Query {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let mut query = Self {
            tls: Tls::default(),
            connect_timeout: CONNECT_TIMEOUT,
            command_timeout: COMMAND_TIMEOUT,
            replicas: 0,
            sentinel_login: Login::default(),
        };
        let (mut cert, mut key) = (None, None);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| wrong(PARAMETERS))?;
            let value = decode(value)?;
            match name {
                "ca" => query.tls.ca = Some(value),
                "cert" => cert = Some(value),
                "key" => key = Some(value),
                "connect_timeout" => query.connect_timeout = duration(&value)?,
                "timeout" => query.command_timeout = duration(&value)?,
                "replicas" => {
                    query.replicas = value.parse().map_err(|_| wrong("replicas is a whole number"))?;
                }
                "sentinel_user" => query.sentinel_login.user = Some(value),
                "sentinel_password" => query.sentinel_login.password = Some(value),
                _ => return Err(wrong(PARAMETERS)),
            }
        }
        query.tls.client = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(wrong("cert and key go together")),
        };
        Ok(query)
    }
}

fn duration(text: &str) -> Result<Duration, UrlError> {
    let wrong = || wrong("a timeout is a whole number of ms or s, above 0: 500ms, 2s");
    let millis = match text.strip_suffix("ms") {
        Some(number) => number.parse::<u32>().ok(),
        None => text.strip_suffix('s').and_then(|number| number.parse::<u32>().ok()?.checked_mul(1_000)),
    };
    millis.filter(|millis| *millis > 0).map(|millis| Duration::from_millis(millis.into())).ok_or_else(wrong)
}

fn database(path: &str) -> Result<i64, UrlError> {
    if path.is_empty() {
        return Ok(0);
    }
    path.parse()
        .ok()
        .filter(|number| *number >= 0)
        .ok_or_else(|| wrong("a database is a number: redis://host:6379/0"))
}

fn decode(text: &str) -> Result<String, UrlError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| wrong("it is not UTF-8"))?;
    Ok(decoded.into_owned())
}

fn wrong(what: &str) -> UrlError {
    UrlError(what.to_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(out, "[{}]:{}", self.name, self.port)
        } else {
            write!(out, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Address {
        Address { name: name.into(), port }
    }

    #[test]
    fn every_kind_of_url_says_where_to_go() {
        let plain = Target::parse("redis://localhost").unwrap();
        assert_eq!(plain.layout, Layout::Single { host: host("localhost", 6_379), database: 0 });
        assert_eq!(plain.login, Login::default());
        let tls = Target::parse(
            "rediss://us%40er:p%3Aw%2F@[::1]:7000/3?ca=/etc/ca.pem&timeout=50ms&connect_timeout=2s",
        )
        .unwrap();
        assert_eq!(tls.layout, Layout::Single { host: host("::1", 7_000), database: 3 });
        assert_eq!(tls.login, Login { user: Some("us@er".into()), password: Some("p:w/".into()) });
        assert_eq!(tls.tls.unwrap().ca.unwrap(), "/etc/ca.pem");
        assert_eq!(
            (tls.command_timeout, tls.connect_timeout),
            (Duration::from_millis(50), Duration::from_secs(2))
        );
        let sentinel = Target::parse("redis+sentinel://:pw@a,b:1/mymaster/2").unwrap();
        let hosts = vec![host("a", 26_379), host("b", 1)];
        let service = "mymaster".into();
        assert_eq!(
            sentinel.layout,
            Layout::Sentinel { hosts, service, database: 2, login: Login::default() }
        );
        let cluster = Target::parse("rediss-cluster://u:p@a:1,b:2?cert=c&key=k").unwrap();
        assert_eq!(cluster.layout, Layout::Cluster { hosts: vec![host("a", 1), host("b", 2)] });
        assert_eq!(cluster.tls.unwrap().client, Some(("c".into(), "k".into())));
    }

    #[test]
    fn a_wrong_url_is_answered_with_what_to_write_and_never_with_the_password() {
        for (url, word) in [
            ("localhost:6379", "starts with redis://"),
            ("http://u:secret@a", "starts with redis://"),
            ("redis://u:secret@a,b", "redis-cluster://"),
            ("redis+sentinel://u:secret@a", "name the Sentinels' service"),
            ("redis-cluster://u:secret@a/1", "no databases"),
            ("redis://u:secret@a/x", "a database is a number"),
            ("redis://u:secret@a:99999", "a port is"),
            ("redis://u:secret@", "a host is missing"),
            ("redis://secret@a", "user:password@"),
            ("redis://u:secret@a?ca=x", "need TLS"),
            ("rediss://u:secret@a?cert=x", "go together"),
            ("redis://u:secret@a?timeout=0ms", "above 0"),
            ("redis://u:secret@a?password=secret", "its parameters are"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
            assert!(!error.contains("secret"), "{url}: {error}");
        }
        let shown = format!("{:?}", Target::parse("redis://u:secret@a").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
