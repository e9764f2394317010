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
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use self::room::Room;
use self::tls::{Tls, TlsError};
use crate::app;
use crate::app::check::Configured;
use crate::app::state::Store;
use crate::backend::open::{self, OpenError};
use crate::settings::{LogFormat, Settings, SettingsError};

/// Pause after a failed accept, such as for want of file descriptors: another connection is being closed meanwhile.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// So many connections without a token make room then: more may be waiting.
const EVICTED_AT_ONCE: usize = 64;

/// It is logged again once it has gone well for so long.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Bounds of the connections.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// At once. For more, those make room on which no request has shown a token; where there are none, they have to wait.
    pub most: usize,
    /// The longest that a client may take to send a request's head. It runs from the beginning or the last answer, so that a
    /// connection may lie idle for so long: gateways keep theirs. It also is how long a client may take no byte of an answer.
    pub header_time: Duration,
    /// How long requests may go on once the store is to stop.
    pub drain_time: Duration,
}

/// Reads the policies in some files; the errors are lines for the operator, each with its file and line.
pub type ReadPolicies = fn(&[PathBuf]) -> Result<Configured, Vec<String>>;

/// Why the store cannot start, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log's level is none.
    #[error("--log-level {0}: {1}; write error, warn, info, debug or trace")]
    LogLevel(String, ParseError),
    /// The tokens cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The operator's policies cannot work: the report's lines.
    #[error("a policy cannot work:\n{}", .0.join("\n"))]
    Policies(Vec<String>),
    /// The process gets no signals.
    #[error("signals cannot be waited for: {0}")]
    Signals(io::Error),
    /// The certificate cannot be shown.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The backend cannot be opened.
    #[error(transparent)]
    Backend(#[from] OpenError),
    /// The metrics cannot be made.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}; write another --listen")]
    Listen(SocketAddr, io::Error),
    /// The address that is listened on cannot be read.
    #[error("the address of the listener cannot be read: {0}")]
    Address(io::Error),
}

/// Runs the store until it is told to stop. `read` reads the policies that the settings name.
///
/// # Errors
/// Why it cannot start, and what to change.
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
            "the memory backend forgets every month's usage when it stops; take redb:PATH or redis:// to keep it"
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
    // What was learned since the last look.
    store.refresh().await;
    info!("stopped");
    Ok(())
}

/// Reads the policies in `files` again at every SIGHUP, for as long as it is polled. Should one be wrong, those before
/// stay.
async fn read_again(hangups: Option<Signal>, files: &[PathBuf], store: &Store, read: ReadPolicies) {
    let Some(mut hangups) = hangups else { return pending().await };
    while hangups.recv().await.is_some() {
        let files = files.to_vec();
        match spawn_blocking(move || read(&files)).await {
            Ok(Ok(policies)) => {
                info!(namespaces = policies.len(), "policies were read again");
                store.configure(policies);
            }
            Ok(Err(lines)) => {
                for line in lines {
                    error!("a policy cannot work, and the one before stays: {line}");
                }
            }
            Err(why) => error!(%why, "policies could not be read again"),
        }
    }
    pending().await
}

/// See [`Tls::keep_up`]; without a certificate there is nothing to do.
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
    // HTTP/1.1 is what gateways speak with the store. HTTP/2 would be more to bound: streams, resets, windows.
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(connections.header_time);
    tokio::pin!(stop);
    // Whoever is still at its greeting has asked for nothing, and holds nobody up.
    let (goes_on, is_stopping) = watch::channel(());
    let mut last_failure: Option<Instant> = None;
    let signal = loop {
        let accept = async {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(why) => return Err(why),
            };
            Ok((socket, room.enter().await))
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            signal = &mut stop => break signal,
        };
        let (socket, place) = match accepted {
            Ok((socket, Some(place))) => (socket, place),
            Ok((_, None)) => continue,
            Err(why) => {
                if last_failure.is_none_or(|last| last.elapsed() > LOG_AGAIN_AFTER) {
                    warn!(%why, "connections cannot be accepted");
                }
                last_failure = Some(Instant::now());
                // What is wanting is file descriptors of the whole machine, as a rule: connections have one each.
                (0..EVICTED_AT_ONCE).for_each(|_| room.evict_one());
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        if let Err(why) = socket.set_nodelay(true) {
            debug!(%why, "small answers may wait");
        }
        let (app, peer) = (TowerToHyperService::new(app.clone()), Arc::clone(&place.peer));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let peer = Arc::clone(&peer);
            request.extensions_mut().insert(Arc::clone(&peer.caller));
            let answer = app.call(request);
            async move {
                peer.is_busy.store(true, Ordering::Relaxed);
                let answer = answer.await;
                peer.is_busy.store(false, Ordering::Relaxed);
                answer
            }
        });
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(Some(connections.header_time));
        let socket = Box::pin(socket);
        let (builder, watcher, tls) = (builder.clone(), graceful.watcher(), tls.clone());
        let mut is_stopping = is_stopping.clone();
        tokio::spawn(async move {
            let connection = async {
                let ended = match tls {
                    None => watcher.watch(builder.serve_connection(TokioIo::new(socket), service)).await,
                    Some(tls) => {
                        let greeted = tokio::select! {
                            greeted = timeout(connections.header_time, tls.greet(socket)) => greeted,
                            _ = is_stopping.changed() => return,
                        };
                        match greeted {
                            Ok(Ok(socket)) => {
                                watcher.watch(builder.serve_connection(TokioIo::new(socket), service)).await
                            }
                            Ok(Err(why)) => {
                                return debug!(%why, "a client speaks no TLS that this store does");
                            }
                            Err(_) => return debug!("a client took too long to begin with TLS"),
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
    };
    drop((listener, goes_on));
    info!(signal, "stopping: no new connections, running requests may end");
    if timeout(connections.drain_time, graceful.shutdown()).await.is_err() {
        warn!("some requests did not end in time, and are cut off");
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

/// Lines go to the standard error.
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
