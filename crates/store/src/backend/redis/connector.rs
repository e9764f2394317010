//! Makes connections.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisError, TlsCertificates, Value,
};

use super::fault::ConnectionError;
use super::target::{Address, Login, Target, Tls, UrlError};

/// How to connect to any server of one Redis.
#[derive(Clone)]
pub(super) struct Connector {
    login: Login,
    database: i64,
    tls: Option<TlsCertificates>,
    connect_timeout: Duration,
    /// The longest time of a command.
    pub command_timeout: Duration,
}

/// Where a connection goes.
#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    /// To this server.
    Server(Address),
    /// To the server that these Sentinels call the master of the service.
    Master { sentinels: Vec<Address>, service: String, login: Login },
}

impl Connector {
    /// Reads the certificates that `target` names.
    pub fn new(target: &Target, database: i64) -> Result<Self, UrlError> {
        Ok(Self {
            login: target.login.clone(),
            database,
            tls: target.tls.as_ref().map(certificates).transpose()?,
            connect_timeout: target.connect_timeout,
            command_timeout: target.command_timeout,
        })
    }

    /// Connects, or says why not, for the log and for callers.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<MultiplexedConnection, ConnectionError> {
        match endpoint {
            Endpoint::Server(host) => {
                let mut connection = self.reach(host, &self.login, self.database).await?;
                // The operating system also connects to a server that hangs, and a server that still loads its data is
                // of no use.
                self.query(&mut connection, &redis::cmd("PING")).await?;
                Ok(connection)
            }
            Endpoint::Master { sentinels, service, login } => {
                self.find_master(sentinels, service, login).await
            }
        }
    }

    async fn find_master(
        &self,
        sentinels: &[Address],
        service: &str,
        login: &Login,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        let mut why = Vec::new();
        for sentinel in sentinels {
            match self.ask_sentinel(sentinel, service, login).await {
                Ok(connection) => return Ok(connection),
                Err(error) => why.push((sentinel.clone(), error)),
            }
        }
        Err(ConnectionError::NoMaster { service: service.to_owned(), sentinels: why })
    }

    async fn ask_sentinel(
        &self,
        sentinel: &Address,
        service: &str,
        login: &Login,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        let mut asked = self.reach(sentinel, login, 0).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let place = self.query(&mut asked, &command).await?;
        let place: Option<(String, u16)> =
            redis::from_redis_value(place).map_err(|error| ConnectionError::Broken(error.into()))?;
        let (name, port) = place.ok_or(ConnectionError::UnknownService)?;
        let master = Address { name, port };
        let mut connection = self.reach(&master, &self.login, self.database).await?;
        // A Sentinel may not know yet that its master was demoted.
        match self.query(&mut connection, &redis::cmd("ROLE")).await? {
            Value::Array(role) if matches!(role.first(), Some(Value::BulkString(name)) if name == b"master") => {
                Ok(connection)
            }
            _ => Err(ConnectionError::NotMaster(master)),
        }
    }

    async fn query(
        &self,
        connection: &mut MultiplexedConnection,
        command: &redis::Cmd,
    ) -> Result<Value, ConnectionError> {
        let answer =
            tokio::time::timeout(self.command_timeout, connection.send_packed_command(command)).await;
        match answer {
            Ok(Ok(Value::ServerError(error))) => Err(ConnectionError::Refused(error)),
            Ok(answer) => answer.map_err(ConnectionError::Broken),
            Err(_) => Err(ConnectionError::NoAnswer(self.command_timeout)),
        }
    }

    async fn reach(
        &self,
        host: &Address,
        login: &Login,
        database: i64,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        let client = self
            .client(host, login, database)
            .map_err(|error| ConnectionError::Unreachable(host.clone(), error))?;
        // The timeout covers everything: looking up the name, the handshakes, AUTH and SELECT.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(ConnectionError::Unreachable(host.clone(), error)),
            Err(_) => Err(ConnectionError::NoConnection(host.clone(), self.connect_timeout)),
        }
    }

    fn client(&self, host: &Address, login: &Login, database: i64) -> Result<Client, RedisError> {
        let (name, port) = (host.name.clone(), host.port);
        let address = match &self.tls {
            Some(_) => tls_address(name, port),
            None => ConnectionAddr::Tcp(name, port),
        };
        let mut settings = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password);
        }
        let info = address.into_connection_info()?.set_redis_settings(settings);
        match &self.tls {
            Some(tls) => Client::build_with_tls(info, tls.clone()),
            None => Client::open(info),
        }
    }
}

fn tls_address(host: String, port: u16) -> ConnectionAddr {
    ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
}

fn certificates(tls: &Tls) -> Result<TlsCertificates, UrlError> {
    // Another part of the program may have chosen a provider before, and any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read = |path: &String| {
        std::fs::read(path).map_err(|error| UrlError(format!("{path} cannot be read: {error}")))
    };
    let client_tls = match &tls.client {
        Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: tls.ca.as_ref().map(read).transpose()? })
}
