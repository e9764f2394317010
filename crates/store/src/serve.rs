//! From settings to a running store: logs, backend, listener, and how it stops.

mod descriptors;
mod room;
pub mod tls;

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use self::room::{Place, Room};
use self::tls::{Tls, TlsError};
use crate::app;
use crate::app::check::Configured;
use crate::app::state::Store;
use crate::backend::open::{self, OpenError};
use crate::settings::{LogFormat, Settings, SettingsError};

/// The pause after a failed accept, for example without file descriptors. Other connections are closed meanwhile.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How many connections without a token are closed then, because many clients may be waiting.
const EVICTED_AT_ONCE: usize = 64;

/// A failed accept is logged again if none has failed for this long.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Bounds of the connections.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// The most connections. For more, connections that have shown no token are closed; if there are none, new ones
    /// wait.
    pub most: usize,
    /// The longest that a client may take to send a request's headers. It starts with the connection or the last
    /// response, so a connection may be idle for this long: gateways keep theirs. It is also the write timeout.
    pub header_time: Duration,
    /// How long running requests may go on when the store stops.
    pub drain_time: Duration,
}

/// Reads the policies in some files. The errors are lines for the operator, each with its file and line.
pub type ReadPolicies = fn(&[PathBuf]) -> Result<Configured, Vec<String>>;

/// Why the store cannot start, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log level is wrong.
    #[error("--log-level {0}: {1}; write error, warn, info, debug or trace")]
    LogLevel(String, ParseError),
    /// The tokens cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The operator's policies are wrong: the lines of the report.
    #[error("a policy is wrong:\n{}", .0.join("\n"))]
    Policies(Vec<String>),
    /// The process cannot wait for signals.
    #[error("signals cannot be waited for: {0}")]
    Signals(io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The backend cannot be opened.
    #[error(transparent)]
    Backend(#[from] OpenError),
    /// The metrics cannot be made.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// The store cannot listen on the address.
    #[error("cannot listen on {0}: {1}; write another --listen")]
    Listen(SocketAddr, io::Error),
    /// The address of the listener cannot be read.
    #[error("the address of the listener cannot be read: {0}")]
    Address(io::Error),
}

/// Runs the store until it is told to stop. `read` reads the policies that the settings name.
///
/// # Errors
/// The store cannot start; the error says what to change.
pub async fn run(settings: Settings, read: ReadPolicies) -> Result<(), StartError> {
    log(&settings)?;
    let tokens = settings.tokens()?;
    let policies = read(&settings.policy).map_err(StartError::Policies)?;
    let stop = stop().map_err(StartError::Signals)?;
    let hangups = if settings.policy.is_empty() {
        None
    } else {
        Some(signal(SignalKind::hangup()).map_err(StartError::Signals)?)
    };
    let tls = settings.tls_cert.as_deref().zip(settings.tls_key.as_deref());
    let tls = tls.map(|(certificate, key)| Tls::read(certificate, key)).transpose()?;
    let backend = open::open(&settings.backend).await?;
    let kind = backend.kind();
    if kind == "memory" {
        warn!(
            "the memory backend forgets every month's usage when it stops; use redb:PATH or redis:// to keep it"
        );
    }
    let store = Store::new(backend, tokens, settings.bounds())?;
    store.configure(policies);
    let listener =
        TcpListener::bind(settings.listen).await.map_err(|why| StartError::Listen(settings.listen, why))?;
    let address = listener.local_addr().map_err(StartError::Address)?;
    info!(%address, backend = kind, tls = tls.is_some(), "listening");
    let connections = Connections {
        most: descriptors::for_connections(settings.max_connections),
        header_time: Duration::from_millis(settings.header_timeout),
        drain_time: Duration::from_millis(settings.drain_timeout),
    };
    tokio::select! {
        () = serve(listener, tls.clone(), app::app(Arc::clone(&store)), connections, stop) => {}
        () = store.keep_up() => {}
        () = keep_certificate(tls.as_ref()) => {}
        () = read_again(hangups, &settings.policy, &store, read) => {}
    }
    // Tiers may have been learned since the last refresh.
    store.refresh().await;
    info!("stopped");
    Ok(())
}

/// Rereads the policies in `files` at every SIGHUP, for as long as it is polled. If one is wrong, the old ones stay.
async fn read_again(hangups: Option<Signal>, files: &[PathBuf], store: &Store, read: ReadPolicies) {
    let Some(mut hangups) = hangups else { return pending().await };
    while hangups.recv().await.is_some() {
        let files = files.to_vec();
        match spawn_blocking(move || read(&files)).await {
            Ok(Ok(policies)) => {
                info!(namespaces = policies.len(), "policies were reread");
                store.configure(policies);
            }
            Ok(Err(lines)) => {
                for line in lines {
                    error!("a policy is wrong, and the old policies stay: {line}");
                }
            }
            Err(why) => error!(%why, "policies could not be reread"),
        }
    }
    pending().await
}

/// Follows the certificate's files: see [`Tls::keep_up`]. Without a certificate it waits forever.
async fn keep_certificate(tls: Option<&Tls>) {
    match tls {
        Some(tls) => tls.keep_up().await,
        None => pending().await,
    }
}

/// Serves `app` until `stop`, then lets running requests end.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    app: Router,
    connections: Connections,
    stop: impl Future<Output = &'static str>,
) {
    let graceful = GracefulShutdown::new();
    let room = Room::new(connections.most);
    // A client that is still in its TLS handshake has asked for nothing, so the store does not wait for it.
    let (goes_on, is_stopping) = watch::channel(());
    let server = Server::new(tls, app, connections.header_time);
    let mut last_failure: Option<Instant> = None;
    tokio::pin!(stop);
    let signal = loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            signal = &mut stop => break signal,
        };
        match accepted {
            Ok((socket, Some(place))) => server.spawn(socket, place, graceful.watcher(), is_stopping.clone()),
            Ok((_, None)) => {}
            Err(why) => {
                if last_failure.is_none_or(|last| last.elapsed() > LOG_AGAIN_AFTER) {
                    warn!(%why, "connections cannot be accepted");
                }
                last_failure = Some(Instant::now());
                // As a rule the machine has run out of file descriptors, and each connection has one.
                (0..EVICTED_AT_ONCE).for_each(|_| room.evict_one());
                sleep(ACCEPT_AGAIN).await;
            }
        }
    };
    drop((listener, goes_on));
    info!(signal, "stopping: no new connections are accepted, running requests may end");
    if timeout(connections.drain_time, graceful.shutdown()).await.is_err() {
        warn!("some requests did not end in time and are cut off");
    }
}

/// The next connection, and its place once there is one.
async fn accept(listener: &TcpListener, room: &Room) -> io::Result<(TcpStream, Option<Place>)> {
    let (socket, _) = listener.accept().await?;
    Ok((socket, room.enter().await))
}

/// What every connection is served with.
struct Server {
    tls: Option<Tls>,
    app: Router,
    builder: Builder,
    header_time: Duration,
}

impl Server {
    fn new(tls: Option<Tls>, app: Router, header_time: Duration) -> Self {
        // Gateways speak HTTP/1.1 with the store. HTTP/2 would need more bounds: on streams, resets and windows.
        let mut builder = Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(header_time);
        Self { tls, app, builder, header_time }
    }

    /// Serves one connection in a task of its own, until it ends or its place is needed.
    fn spawn(&self, socket: TcpStream, place: Place, watcher: Watcher, mut is_stopping: watch::Receiver<()>) {
        if let Err(why) = socket.set_nodelay(true) {
            debug!(%why, "small responses may be delayed");
        }
        let (app, peer) = (TowerToHyperService::new(self.app.clone()), Arc::clone(&place.peer));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let peer = Arc::clone(&peer);
            request.extensions_mut().insert(Arc::clone(&peer.caller));
            let response = app.call(request);
            async move {
                peer.is_busy.store(true, Ordering::Relaxed);
                let response = response.await;
                peer.is_busy.store(false, Ordering::Relaxed);
                response
            }
        });
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(Some(self.header_time));
        let socket = Box::pin(socket);
        let (builder, tls, header_time) = (self.builder.clone(), self.tls.clone(), self.header_time);
        tokio::spawn(async move {
            let connection = async {
                let ended = match tls {
                    None => watcher.watch(builder.serve_connection(TokioIo::new(socket), service)).await,
                    Some(tls) => {
                        let greeted = tokio::select! {
                            greeted = timeout(header_time, tls.greet(socket)) => greeted,
                            _ = is_stopping.changed() => return,
                        };
                        match greeted {
                            Ok(Ok(socket)) => {
                                watcher.watch(builder.serve_connection(TokioIo::new(socket), service)).await
                            }
                            Ok(Err(why)) => return debug!(%why, "a TLS handshake failed"),
                            Err(_) => return debug!("a client took too long for the TLS handshake"),
                        }
                    }
                };
                if let Err(why) = ended {
                    debug!(%why, "a connection broke off");
                }
            };
            tokio::select! {
                () = connection => {}
                () = place.peer.is_to_go() => debug!("a connection without a token made room"),
            }
        });
    }
}

/// The signal that says to stop.
fn stop() -> io::Result<impl Future<Output = &'static str>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            Some(()) = terminate.recv() => "SIGTERM",
            Some(()) = interrupt.recv() => "SIGINT",
            else => pending().await,
        }
    })
}

/// Sets up the log, which goes to standard error.
fn log(settings: &Settings) -> Result<(), StartError> {
    let level = &settings.log_level;
    let filter = EnvFilter::try_new(level).map_err(|why| StartError::LogLevel(level.clone(), why))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let set = match settings.log_format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|why| error!(%why, "logs were set up before")).or(Ok(()))
}

#[cfg(test)]
mod tests;
