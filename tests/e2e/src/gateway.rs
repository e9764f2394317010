//! The gateway under test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tollgate_testkit::envoy::{Config, Envoy};
use tollgate_testkit::http::{Client, Request};
use tollgate_testkit::store::Store;
use tollgate_testkit::upstream::Upstream;
use tollgate_testkit::{sample, wait};

use crate::caller::{Caller, Credential};

/// The kind of gateway. The contract is the same on both; their other answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kong, with `kong/kong.yml`.
    Kong,
    /// Envoy, with `envoy/envoy.yaml`.
    Envoy,
}

/// The processes that the suite started.
#[derive(Debug)]
struct Own {
    _envoy: Envoy,
    _upstream: Upstream,
    _store: Option<Store>,
}

/// A gateway with the sample policy, consumers and upstream.
#[derive(Debug)]
pub struct Gateway {
    /// Its name in the tests' names.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    address: SocketAddr,
    /// What the suite started, unless the gateway is external.
    own: Option<Own>,
    /// All callers share an address at an external gateway, so only one anonymous client may call at a time.
    anonymous: Mutex<()>,
    /// The last address 127.0.1.x that an anonymous client has at the suite's own gateway.
    addresses: AtomicU8,
}

impl Gateway {
    /// Starts an Envoy alone.
    ///
    /// # Errors
    /// When it does not start.
    pub fn envoy(workers: u32) -> anyhow::Result<Self> {
        let upstream = Upstream::on_loopback()?;
        let config = Config::sample(upstream.address())?;
        let name = format!("envoy_with_{workers}_worker{}", if workers == 1 { "" } else { "s" });
        Self::start(name, &config, workers, upstream, None)
    }

    /// Starts an Envoy with a store.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn envoy_with_store(workers: u32) -> anyhow::Result<Self> {
        let (upstream, store) = (Upstream::on_loopback()?, Store::start("redb")?);
        // A busy machine must not look like a store that is away.
        let config = Config::shared(upstream.address(), store.address())?
            .policy(|policy| policy["store"]["timeout"] = "2s".into());
        Self::start("envoy_with_a_store".into(), &config, workers, upstream, Some(store))
    }

    /// Starts an Envoy whose store does not run.
    ///
    /// # Errors
    /// When it does not start.
    pub fn envoy_without_its_store(workers: u32) -> anyhow::Result<Self> {
        let (upstream, mut store) = (Upstream::on_loopback()?, Store::start("memory")?);
        let config = Config::shared(upstream.address(), store.address())?;
        store.kill();
        Self::start("envoy_without_its_store".into(), &config, workers, upstream, Some(store))
    }

    fn start(
        name: String,
        config: &Config,
        workers: u32,
        upstream: Upstream,
        store: Option<Store>,
    ) -> anyhow::Result<Self> {
        let envoy = Envoy::start(config, workers)?;
        let address = envoy.address();
        let own = Own { _envoy: envoy, _upstream: upstream, _store: store };
        Ok(Self::at(address, name, Kind::Envoy, Some(own)))
    }

    /// An external gateway at `http://host:port`. `kind` is `kong` or `envoy`; if it is `None`, its answers tell.
    ///
    /// # Errors
    /// If it does not answer, or its kind cannot be told.
    pub fn external(url: &str, kind: Option<&str>) -> anyhow::Result<Self> {
        let host = url.strip_prefix("http://").context("GATEWAY_URL: write http://host:port")?;
        let host = host.trim_end_matches('/');
        let mut addresses = host.to_socket_addrs().with_context(|| format!("GATEWAY_URL: {host}"))?;
        let address = addresses.next().with_context(|| format!("GATEWAY_URL: {host} has no address"))?;
        let server = wait::until("the gateway to answer", Duration::from_secs(60), || {
            let answer = Client::to(address).get("/health").ok()?;
            (answer.status == 200).then(|| answer.all("via").chain(answer.all("server")).collect::<String>())
        })?;
        let kind = match kind.filter(|kind| !kind.is_empty()).unwrap_or(&server).to_ascii_lowercase() {
            said if said.contains("kong") => Kind::Kong,
            said if said.contains("envoy") => Kind::Envoy,
            said => {
                anyhow::bail!("neither Kong nor Envoy ({said}): set GATEWAY_KIND=kong or GATEWAY_KIND=envoy")
            }
        };
        Ok(Self::at(address, format!("{kind:?}").to_lowercase(), kind, None))
    }

    fn at(address: SocketAddr, name: String, kind: Kind, own: Option<Own>) -> Self {
        Self { name, kind, address, own, anonymous: Mutex::new(()), addresses: AtomicU8::new(0) }
    }

    /// Whether the suite started it, so that every bucket is full.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// A client without credentials.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// A sample consumer with a full bucket. Every test uses its own.
    #[must_use]
    pub fn consumer(&self, name: &str) -> Caller<'_> {
        self.rested(Caller::new(self.client(), Credential::Key(name.into())))
    }

    /// A sample consumer with a token and a full bucket.
    #[must_use]
    pub fn bearer(&self, name: &str) -> Caller<'_> {
        let token = sample::token(name, sample::in_an_hour());
        self.rested(Caller::new(self.client(), Credential::Token(token)))
    }

    /// An anonymous client with a full bucket: from an address of its own, or else as the only one that calls.
    #[must_use]
    pub fn anonymous(&self) -> Caller<'_> {
        let anonymous = Caller::new(self.client(), Credential::None);
        if self.is_own() {
            let last = self.addresses.fetch_add(1, Ordering::Relaxed);
            return anonymous.from(IpAddr::V4(Ipv4Addr::new(127, 0, 1, last)));
        }
        // A test that failed with it left nothing half done.
        let alone = self.anonymous.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.rested(anonymous.alone(alone))
    }

    /// Waits until a caller's bucket is full again after what earlier runs took from it.
    fn rested<'a>(&self, mut caller: Caller<'a>) -> Caller<'a> {
        if !self.is_own() {
            let response = caller.send(&Request::get("/identify"));
            if let Some(wait) = crate::standing::until_full(&response) {
                wait::pass(wait);
            }
        }
        caller
    }
}
