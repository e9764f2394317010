//! A connection to one server that reconnects by itself. While the server is away, it fails at once.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connector::{Connector, Endpoint};
use super::fault::ConnectionError;
use crate::locks;

/// The pause before the second attempt to connect. It doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How long the return of a server may go unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// After a connection that worked for this long, the next one is made without a pause. A connection to a server that
/// refuses to serve, such as a replica, is given up at its first write, each time.
const GOOD_AFTER: Duration = Duration::from_secs(1);

/// How often an idle connection is tested, so that no request finds out that it has died silently.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A connection. Its own task keeps it up until this is dropped.
pub(super) struct Connection {
    shared: Arc<Shared>,
    keeper: AbortHandle,
}

struct Shared {
    endpoint: Endpoint,
    connector: Connector,
    state: RwLock<State>,
    /// Notified when the connection is found broken.
    broken: Notify,
    /// Notified when there is a connection, or the first attempt has failed.
    tried: Notify,
}

#[derive(Clone)]
enum State {
    New,
    Up { connection: MultiplexedConnection, number: u64 },
    Down { why: ConnectionError },
}

impl Connection {
    /// Starts to connect.
    pub fn start(connector: Connector, endpoint: Endpoint) -> Self {
        let shared = Arc::new(Shared {
            endpoint,
            connector,
            state: RwLock::new(State::New),
            broken: Notify::new(),
            tried: Notify::new(),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared))).abort_handle();
        Self { shared, keeper }
    }

    /// Waits for the first attempt to connect.
    pub async fn first_try(&self) {
        let tried = self.shared.tried.notified();
        tokio::pin!(tried);
        tried.as_mut().enable();
        if matches!(self.shared.state(), State::New) {
            // The connector's timeout bounds this.
            tried.await;
        }
    }

    /// Sends the commands of `pipeline` and waits for the answers, one per command. A server's errors are among them.
    ///
    /// # Errors
    /// No answers came back.
    pub async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, ConnectionError> {
        if matches!(self.shared.state(), State::New) {
            self.first_try().await;
        }
        let (mut connection, number) = match self.shared.state() {
            State::Up { connection, number } => (connection, number),
            State::Down { why } => return Err(why),
            State::New => return Err(ConnectionError::NotYet),
        };
        let limit = self.shared.connector.command_timeout;
        let sent = connection.send_packed_commands(pipeline, 0, pipeline.len());
        let why = match tokio::time::timeout(limit, sent).await {
            Ok(Ok(values)) => {
                if let Some(error) = values.iter().find_map(wrong_server) {
                    self.shared.give_up(number, error);
                }
                return Ok(values);
            }
            Ok(Err(error)) => ConnectionError::Broken(error),
            Err(_) => ConnectionError::NoAnswer(limit),
        };
        self.shared.give_up(number, why.clone());
        Err(why)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    fn state(&self) -> State {
        locks::read(&self.state).clone()
    }

    fn set(&self, state: State) {
        *locks::write(&self.state) = state;
    }

    /// Gives up connection number `number`. Callers get the reason until there is another one.
    fn give_up(&self, number: u64, why: ConnectionError) {
        let mut state = locks::write(&self.state);
        // Many calls notice at once, and the first one counts.
        if matches!(&*state, State::Up { number: current, .. } if *current == number) {
            *state = State::Down { why };
            self.broken.notify_one();
        }
    }
}

/// Why this server cannot serve, if its answer says that another one may.
fn wrong_server(value: &Value) -> Option<ConnectionError> {
    match value {
        Value::ServerError(error)
            if matches!(
                error.kind(),
                Some(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading)
            ) =>
        {
            Some(ConnectionError::Refused(error.clone()))
        }
        _ => None,
    }
}

async fn keep(shared: Arc<Shared>) {
    let mut number = 0_u64;
    let mut pause = FIRST_PAUSE;
    loop {
        match shared.connector.connect(&shared.endpoint).await {
            Ok(connection) => {
                number = number.wrapping_add(1);
                let began = Instant::now();
                shared.set(State::Up { connection: connection.clone(), number });
                shared.tried.notify_waiters();
                // `Instrumented` logs whether the backend is up. One server may have many connections.
                tracing::debug!("connected to {:?}", shared.endpoint);
                watch(&shared, connection, number).await;
                if began.elapsed() >= GOOD_AFTER {
                    pause = FIRST_PAUSE;
                    continue;
                }
            }
            Err(why) => {
                tracing::debug!("{why}");
                shared.set(State::Down { why });
                shared.tried.notify_waiters();
            }
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Returns when the connection is of no use any more.
async fn watch(shared: &Shared, mut connection: MultiplexedConnection, number: u64) {
    let ping = redis::cmd("PING");
    loop {
        tokio::select! {
            () = shared.broken.notified() => {}
            () = tokio::time::sleep(HEARTBEAT) => {
                let answer = tokio::time::timeout(shared.connector.command_timeout, connection.send_packed_command(&ping));
                let why = match answer.await {
                    Ok(Ok(_)) => continue,
                    Ok(Err(error)) => ConnectionError::Broken(error),
                    Err(_) => ConnectionError::NoAnswer(shared.connector.command_timeout),
                };
                shared.give_up(number, why);
            }
        }
        match shared.state() {
            State::Down { why } => tracing::debug!("lost {:?}: {why}", shared.endpoint),
            // The notice was about the previous connection.
            State::Up { number: current, .. } if current == number => continue,
            State::Up { .. } | State::New => {}
        }
        return;
    }
}
