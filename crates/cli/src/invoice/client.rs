//! The store's client: one connection, kept alive, that reads answers as a stream.
//!
//! It follows no redirect and knows no proxy, so the token goes to the store and nowhere else.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, DATE, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tollgate_core::policy::Visible;
use tollgate_core::units::UnixNanos;

/// The longest time to connect.
const CONNECTING: Duration = Duration::from_secs(10);
/// The longest time without a byte of an answer.
const WAITING: Duration = Duration::from_secs(60);
/// How much of a refusal is read, in bytes.
const REFUSAL: u64 = 64 << 10;

/// Why the store's answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot work.
    #[error("--store {} is not a store's URL; write http://HOST:PORT or https://HOST:PORT", Visible(.0))]
    Url(String),
    /// The authority's file cannot be used.
    #[error("--ca {file}: {1}", file = Visible(.0))]
    Authority(String, String),
    /// The store cannot be reached.
    #[error("the store at {0} cannot be reached: {1}")]
    Away(String, String),
    /// The connection broke, or nothing came.
    #[error("{call}: the answer broke off: {why}", call = .0, why = Visible(.1))]
    Broken(String, String),
    /// The store refuses.
    #[error("{0}: the store answers {1}: {detail}", detail = Visible(.2))]
    Refused(String, u16, String),
    /// The store does not know the call.
    #[error("{0}: the store does not know this call, so it is too old for invoices; upgrade it")]
    TooOld(String),
    /// The answer has something that it must not have.
    #[error("{0}: {text}", text = Visible(.1))]
    Wrong(String, String),
}

/// A client of one store.
pub struct Client {
    runtime: Runtime,
    host: String,
    port: u16,
    authority: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    path: String,
    token: Option<HeaderValue>,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

/// An answer with status 200; reading it reads the body.
pub struct Answer<'a> {
    runtime: &'a Runtime,
    body: Incoming,
    part: Bytes,
    /// When it was made, by the store's clock.
    pub date: Option<UnixNanos>,
}

impl Client {
    /// A client of the store at `url`. It connects when it is used.
    ///
    /// # Errors
    /// The URL or the authority's file cannot be used.
    pub fn new(url: &str, token: Option<String>, ca: Option<&Path>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Url(without_secrets(url));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        if uri.query().is_some() {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = if is_tls {
            let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
            Some((TlsConnector::from(Arc::new(tls(ca)?)), name))
        } else {
            None
        };
        let away = |why: io::Error| ClientError::Away(authority.to_string(), why.to_string());
        let mut token = token
            .map(|token| HeaderValue::try_from(format!("Bearer {token}")))
            .transpose()
            .map_err(|why| ClientError::Away(authority.to_string(), why.to_string()))?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(away)?,
            host,
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: HeaderValue::try_from(authority.as_str()).map_err(|_| wrong())?,
            tls,
            path: uri.path().trim_end_matches('/').to_owned(),
            token,
            connection: None,
        })
    }

    /// Asks for `path`, which begins with `/v1`.
    ///
    /// # Errors
    /// There is no answer, or one with another status than 200.
    pub fn get(&mut self, path: &str) -> Result<Answer<'_>, ClientError> {
        let call = format!("GET {path}");
        let mut response = self.send(path);
        if matches!(response, Err(ClientError::Broken(..))) {
            // The store may have closed a connection that was idle; the calls only read, so a second one does no harm.
            self.connection = None;
            response = self.send(path);
        }
        let response = response?;
        let (head, body) = response.into_parts();
        let date = head.headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(moment);
        let answer = Answer { runtime: &self.runtime, body, part: Bytes::new(), date };
        if head.status == StatusCode::OK {
            return Ok(answer);
        }
        let mut text = Vec::new();
        // What cannot be read of a refusal is only its reason.
        let _ = answer.take(REFUSAL).read_to_end(&mut text);
        Err(ClientError::Refused(call, head.status.as_u16(), detail(&text)))
    }

    fn send(&mut self, path: &str) -> Result<hyper::Response<Incoming>, ClientError> {
        let call = format!("GET {path}");
        let broken = |why: String| ClientError::Broken(call.clone(), why);
        let mut request = Request::get(format!("{}{path}", self.path)).header(HOST, self.authority.clone());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let request = request.body(Empty::new()).map_err(|why| broken(why.to_string()))?;
        let kept = self.connection.take().filter(|connection| !connection.is_closed());
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let sending = async {
            connection.ready().await?;
            connection.send_request(request).await
        };
        // A timeout begins where it is made, which has to be within the runtime.
        let sent = self.runtime.block_on(async { timeout(WAITING, sending).await });
        let response = sent.map_err(|_| broken("nothing came for a minute".to_owned()))?;
        self.connection = Some(connection);
        response.map_err(|why| broken(why.to_string()))
    }

    fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, ClientError> {
        let name = String::from_utf8_lossy(self.authority.as_bytes()).into_owned();
        let opening = async {
            let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
            let Some((tls, host)) = &self.tls else {
                return opened(TokioIo::new(socket)).await;
            };
            opened(TokioIo::new(tls.connect(host.clone(), socket).await?)).await
        };
        let connected = self.runtime.block_on(async { timeout(CONNECTING, opening).await });
        let connected = connected.unwrap_or_else(|_| Err(io::Error::other("it took more than 10 s")));
        connected.map_err(|why| ClientError::Away(name, why.to_string()))
    }
}

/// Speaks HTTP on a connection; the runtime drives it while something is awaited.
async fn opened<T>(socket: TokioIo<T>) -> io::Result<SendRequest<Empty<Bytes>>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(socket).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Read for Answer<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            let next = self.runtime.block_on(async { timeout(WAITING, self.body.frame()).await });
            let Ok(next) = next else {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came for a minute"));
            };
            let Some(frame) = next.transpose().map_err(io::Error::other)? else { return Ok(0) };
            self.part = frame.into_data().unwrap_or_default();
        }
        let count = self.part.len().min(out.len());
        self.part.copy_to_slice(out.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let wrong = |why: String| ClientError::Authority(file.display().to_string(), why);
            let certificates = CertificateDer::pem_file_iter(file).map_err(|why| wrong(why.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|why| wrong(why.to_string()))?;
                roots.add(certificate).map_err(|why| wrong(why.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("it contains no certificate; it takes an authority's in PEM".to_owned()));
            }
        }
        // Some of a system's certificates may be odd; a missing one shows when the store's is checked.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|why| ClientError::Authority(String::new(), why.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A URL without what may be a password in it.
fn without_secrets(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => url.to_owned(),
    }
}

fn moment(date: &str) -> Option<UnixNanos> {
    let date = httpdate::parse_http_date(date).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(UnixNanos::from_seconds(since.as_secs()))
}

/// What a problem document says, or else the beginning of the text.
fn detail(text: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    let told = document.as_ref().and_then(|document| document.get("detail")?.as_str());
    let told = told.map_or_else(|| String::from_utf8_lossy(text), Into::into);
    told.chars().take(500).collect()
}
